//! Threads for work that burns CPU or waits for the disk: verifying, signing, reading the log. HTTP workers only wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads that take jobs first come, first served. They end with the last clone.
#[derive(Debug, Clone)]
pub struct Pool {
    jobs: mpsc::Sender<Job>,
}

/// The job did not finish: it panicked or the pool has ended.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the scheduler is stopping")]
pub struct PoolEnded;

impl Pool {
    /// Starts `threads` threads. A job that panics cancels `stop`: half-done work must not go on unnoticed.
    pub fn start(
        name: &str,
        threads: usize,
        stop: CancellationToken,
    ) -> std::io::Result<(Self, Vec<thread::JoinHandle<()>>)> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let mut handles = Vec::new();
        for index in 0..threads.max(1) {
            let (queue, stop) = (queue.clone(), stop.clone());
            handles.push(thread::Builder::new().name(format!("{name}-{index}")).spawn(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    if catch_unwind(AssertUnwindSafe(job)).is_err() {
                        tracing::error!("a job panicked; stopping the service");
                        stop.cancel();
                    }
                }
            })?);
        }
        Ok((Self { jobs }, handles))
    }

    /// Runs `job` on some thread.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        // The receiver lives as long as the threads, which live as long as this sender.
        let _ = self.jobs.send(Box::new(job));
    }

    /// Runs `job` on some thread and waits for its value.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, PoolEnded> {
        let (sender, receiver) = oneshot::channel();
        self.spawn(move || {
            // Whoever asked may have gone.
            let _ = sender.send(job());
        });
        receiver.await.map_err(|_| PoolEnded)
    }
}
