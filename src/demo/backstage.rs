//! A thread beside the one that serves operators, with a runtime of its own, that ends when it is told to.

use std::{io, thread};

use tokio::sync::watch;

/// A running thread. It is stopped and waited for when the value is dropped.
#[derive(Debug)]
pub(super) struct Backstage {
    stop: watch::Sender<bool>,
    /// Says nothing; closed when the work has ended.
    ended: watch::Receiver<()>,
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
        let (working, ended) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(work(Stop(stopped)));
            drop(working);
        })?;
        Ok(Self { stop, ended, thread: Some(thread) })
    }

    /// Asks the work to end, and waits until it has.
    pub(super) async fn end(&self) {
        self.stop.send_replace(true);
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for Backstage {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by the thread itself.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_ends_when_it_is_asked_to_and_is_waited_for() {
        let work = async |mut stop: Stop| stop.asked().await;
        let backstage = Backstage::start("work", work).unwrap();
        assert!(backstage.ended.has_changed().is_ok(), "it has ended by itself");
        backstage.end().await;
        assert!(backstage.ended.has_changed().is_err(), "it goes on");
        drop(Backstage::start("work", work).unwrap());
    }
}
