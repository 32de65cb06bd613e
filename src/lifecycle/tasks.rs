//! Supervised spawning: a task that panics, or ends though it should not, is never lost in silence.
//!
//! A panic ends only the task it happened in. Who made the [`Tasks`] hears of it through a callback, which must not block:
//! it runs on the task's own thread.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::task::JoinHandle;

const FIRST_RESTART: Duration = Duration::from_millis(100);
const SLOWEST_RESTART: Duration = Duration::from_secs(10);

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEnd {
    /// It came to its end.
    Returned,
    /// It panicked, with this message.
    Panicked(String),
}

/// A task that ended as it should not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFailure {
    /// What it was for.
    pub name: &'static str,
    /// How it ended.
    pub end: TaskEnd,
    /// After which time it is started again; `None`: it is not.
    pub restart_in: Option<Duration>,
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            TaskEnd::Returned => write!(f, "task {} ended unexpectedly", self.name)?,
            TaskEnd::Panicked(message) => write!(f, "task {} panicked: {message}", self.name)?,
        }
        match self.restart_in {
            Some(wait) => write!(f, "; it starts again in {} ms", wait.as_millis()),
            None => Ok(()),
        }
    }
}

/// Spawns tasks and reports those that fail.
#[derive(Clone)]
pub struct Tasks {
    report: Arc<dyn Fn(TaskFailure) + Send + Sync>,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}

impl Tasks {
    /// Tasks whose failures go to `report`.
    pub fn new(report: impl Fn(TaskFailure) + Send + Sync + 'static) -> Self {
        Self { report: Arc::new(report) }
    }

    /// Runs `future` to its end; only a panic is a failure.
    #[allow(clippy::disallowed_methods)]
    pub fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        tokio::spawn(self.clone().watch_over(name, Box::pin(future)))
    }

    /// [`Tasks::spawn`] for a future that stays on this thread; needs a local task set or a local runtime.
    #[allow(clippy::disallowed_methods)]
    pub fn spawn_local(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) -> JoinHandle<()> {
        tokio::task::spawn_local(self.clone().watch_over(name, Box::pin(future)))
    }

    /// Runs the futures of `make` one after the other for ever: each end is a failure, followed by a pause that doubles
    /// with each of them.
    #[allow(clippy::disallowed_methods)]
    pub fn keep<F>(
        &self,
        name: &'static str,
        make: impl FnMut() -> F + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(self.clone().keep_alive(name, make))
    }

    /// [`Tasks::keep`] for futures that stay on this thread; needs a local task set or a local runtime.
    #[allow(clippy::disallowed_methods)]
    pub fn keep_local<F>(
        &self,
        name: &'static str,
        make: impl FnMut() -> F + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + 'static,
    {
        tokio::task::spawn_local(self.clone().keep_alive(name, make))
    }

    // Boxed, so that what is around the future neither moves it on nor holds it several times: a task would be as large.
    async fn watch_over(self, name: &'static str, future: Pin<Box<impl Future<Output = ()>>>) {
        let end = outcome_of(future).await;
        if end != TaskEnd::Returned {
            (self.report)(TaskFailure { name, end, restart_in: None });
        }
    }

    async fn keep_alive<F: Future<Output = ()>>(
        self,
        name: &'static str,
        mut make: impl FnMut() -> F,
    ) {
        let mut wait = FIRST_RESTART;
        loop {
            let end = outcome_of(make()).await;
            (self.report)(TaskFailure { name, end, restart_in: Some(wait) });
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(SLOWEST_RESTART);
        }
    }
}

// A future that panicked is not polled again, so what the panic left half done is never seen.
async fn outcome_of(future: impl Future<Output = ()>) -> TaskEnd {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(|()| TaskEnd::Returned),
            Err(payload) => Poll::Ready(TaskEnd::Panicked(message_of(payload.as_ref()))),
        }
    })
    .await
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn tasks() -> (Tasks, mpsc::Receiver<TaskFailure>) {
        let (sender, receiver) = mpsc::channel(8);
        (Tasks::new(move |failure| sender.try_send(failure).unwrap()), receiver)
    }

    #[tokio::test]
    async fn a_panic_is_reported_and_ends_only_its_task() {
        let (tasks, mut failures) = tasks();
        let other = tasks.spawn("other", async { tokio::task::yield_now().await });
        tasks.spawn("parser", async { panic!("row {}", 7) }).await.unwrap();
        let failure = failures.recv().await.unwrap();
        assert_eq!(failure.to_string(), "task parser panicked: row 7");
        other.await.unwrap();
        assert!(failures.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_kept_task_starts_again_after_every_end() {
        let (tasks, mut failures) = tasks();
        let mut round = 0;
        let kept = tasks.keep("watcher", move || {
            round += 1;
            let panics = round == 1;
            async move { assert!(!panics, "first round") }
        });
        let first = failures.recv().await.unwrap();
        assert_eq!(first.end, TaskEnd::Panicked("first round".into()));
        let second = failures.recv().await.unwrap();
        assert_eq!(second.end, TaskEnd::Returned);
        assert!(second.restart_in > first.restart_in);
        kept.abort();
    }

    #[tokio::test]
    async fn local_futures_are_watched_too() {
        let (tasks, mut failures) = tasks();
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async { tasks.spawn_local("page", async { panic!("no") }).await.unwrap() })
            .await;
        assert_eq!(failures.recv().await.unwrap().name, "page");
    }
}
