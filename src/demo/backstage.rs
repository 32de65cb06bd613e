//! A thread beside the one that serves operators, with a runtime of its own, that ends when it is told to.

use std::{io, thread};

use tokio::sync::watch;

/// A running thread. It is stopped and waited for when the value is dropped.
#[derive(Debug)]
pub(super) struct Backstage {
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Tells work that its time has come.
#[derive(Debug, Clone)]
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until the work is to end.
    pub(super) async fn asked(&mut self) {
        // The owner gone is the same as the owner's word.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

impl Backstage {
    /// Begins `work` on a thread of that name.
    pub(super) fn start<W>(
        name: &str,
        work: impl FnOnce(Stop) -> W + Send + 'static,
    ) -> io::Result<Self>
    where
        W: Future<Output = ()>,
    {
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || runtime.block_on(work(Stop(stopped))))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Asks the work to end, without waiting for it.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Drop for Backstage {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by the thread itself.
            let _ = thread.join();
        }
    }
}
