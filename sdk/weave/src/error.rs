//! What can go wrong inside the service, as opposed to what clients do wrong.

use holon_unit::durable::NotDurable;
use holon_unit::server::ServerError;

/// The service cannot start, go on or stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options contradict themselves.
    #[error("{0}")]
    Options(String),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] fjall::Error),
    /// A file or folder of the store cannot be used.
    #[error("the store cannot be used: {0}")]
    Io(#[from] std::io::Error),
    /// The store holds something that this version cannot read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// A write did not reach the disk.
    #[error(transparent)]
    NotDurable(#[from] NotDurable),
    /// The HTTP server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A blocking task was lost.
    #[error("a worker was lost: {0}")]
    Worker(#[from] tokio::task::JoinError),
    /// Background tasks did not end in time.
    #[error("background tasks did not end within {0} seconds")]
    Stuck(u64),
}
