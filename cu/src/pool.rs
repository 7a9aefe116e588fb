//! Threads that evaluate Wasm: a fixed number, with the large native stacks that guests need, fed in order of arrival.
//!
//! Jobs are turns of bounded length, so arrival order is also fairness between processes. A job that panics takes
//! nothing but itself with it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Native stack of a thread; address space only, pages are used as they are touched.
pub const STACK_BYTES: usize = 64 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// The job did not end in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// As many jobs wait as may.
    #[error("the queue is full")]
    Full,
    /// The pool has been closed.
    #[error("the evaluation threads have stopped")]
    Closed,
    /// The job panicked; a bug.
    #[error("the evaluation panicked")]
    Panicked,
}

/// A pool of threads; they end when it is closed or dropped.
#[derive(Debug)]
pub struct Pool {
    queue: Arc<Queue>,
    limit: usize,
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    open: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts `threads` threads; at most `limit` jobs wait for one.
    pub fn new(name: &str, threads: usize, limit: usize) -> std::io::Result<Self> {
        let state = State { jobs: VecDeque::new(), open: true };
        let pool = Self { queue: Arc::new(Queue { state: Mutex::new(state), changed: Condvar::new() }), limit };
        for number in 0..threads.max(1) {
            let queue = pool.queue.clone();
            std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .stack_size(STACK_BYTES)
                .spawn(move || queue.work())?;
        }
        Ok(pool)
    }

    /// Runs `job` on a thread of the pool. If the caller goes away while it waits for one, it is not run at all.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, PoolError> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move || {
            // Whoever asked may have gone away, before or meanwhile.
            if !sender.is_closed() {
                let _ = sender.send(job());
            }
        });
        {
            let mut state = self.queue.state.lock().unwrap_or_else(PoisonError::into_inner);
            if !state.open {
                return Err(PoolError::Closed);
            }
            if state.jobs.len() >= self.limit {
                return Err(PoolError::Full);
            }
            state.jobs.push_back(job);
        }
        self.queue.changed.notify_one();
        receiver.await.map_err(|_| if self.is_open() { PoolError::Panicked } else { PoolError::Closed })
    }

    /// Jobs that wait for a thread.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.queue.state.lock().unwrap_or_else(PoisonError::into_inner).jobs.len()
    }

    /// Ends the threads after the jobs they are running; waiting jobs are dropped.
    pub fn close(&self) {
        let mut state = self.queue.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open = false;
        state.jobs.clear();
        drop(state);
        self.queue.changed.notify_all();
    }

    fn is_open(&self) -> bool {
        self.queue.state.lock().unwrap_or_else(PoisonError::into_inner).open
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    fn work(&self) {
        loop {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if !state.open {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("an evaluation panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_job_harms_no_other() {
        let pool = Pool::new("test", 1, 10).unwrap();
        assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(PoolError::Panicked));
        assert_eq!(pool.run(|| 7).await, Ok(7));
        pool.close();
        assert_eq!(pool.run(|| 7).await, Err(PoolError::Closed));
    }

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_is_not_run() {
        let pool = Arc::new(Pool::new("test", 1, 10).unwrap());
        let (started, begun) = std::sync::mpsc::channel();
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let busy = tokio::spawn({
            let pool = pool.clone();
            async move {
                let job = move || {
                    started.send(()).unwrap();
                    gate.recv().unwrap();
                };
                pool.run(job).await
            }
        });
        tokio::task::spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
        let (ran, runs) = std::sync::mpsc::channel::<()>();
        // Polled once, so that it waits, and dropped.
        let abandoned = pool.run(move || ran.send(()).unwrap());
        let deadline = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(deadline, abandoned).await.is_err());
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert_eq!(pool.run(|| 3).await, Ok(3));
        assert!(runs.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_full_queue_refuses() {
        let pool = Arc::new(Pool::new("test", 1, 1).unwrap());
        let (started, begun) = std::sync::mpsc::channel();
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let busy = tokio::spawn({
            let pool = pool.clone();
            async move {
                let job = move || {
                    started.send(()).unwrap();
                    gate.recv().unwrap();
                };
                pool.run(job).await
            }
        });
        tokio::task::spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(|| 1).await }
        });
        while pool.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|| 2).await, Err(PoolError::Full));
        release.send(()).unwrap();
        assert_eq!((busy.await.unwrap(), waiting.await.unwrap()), (Ok(()), Ok(1)));
    }
}
