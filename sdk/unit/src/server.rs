//! An actix server that starts on a given listener and stops in order.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use actix_cors::Cors;
use actix_web::dev::ServerHandle;
use actix_web::middleware::{NormalizePath, TrailingSlash};
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer};

/// How a server runs.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Worker threads.
    pub workers: usize,
    /// How long running requests may take to finish once the server stops.
    pub shutdown_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { workers: 2, shutdown_timeout: Duration::from_secs(5) }
    }
}

/// A server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The server failed.
    #[error("server failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Binds `address` (port 0 takes a free one).
pub fn bind(address: impl ToSocketAddrs + std::fmt::Debug) -> Result<TcpListener, ServerError> {
    TcpListener::bind(&address).map_err(|source| ServerError::Bind { address: format!("{address:?}"), source })
}

/// A server that is running; it stops when told, not when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    handle: ServerHandle,
    joined: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://<address>`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops accepting, lets running requests finish within the timeout, then returns.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.handle.stop(true).await;
        match self.joined.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(ServerError::Io(std::io::Error::other(error))),
        }
    }
}

/// Starts serving `routes` on `listener` with permissive CORS (every unit's spec asks for it) and with repeated slashes
/// in paths collapsed. Call it inside a tokio runtime.
///
/// `routes` runs once in every worker thread, so what it shares must be cheap to clone (`web::Data`).
pub fn start<F>(listener: TcpListener, options: &HttpOptions, routes: F) -> Result<Server, ServerError>
where
    F: Fn(&mut ServiceConfig) + Clone + Send + 'static,
{
    let address = listener.local_addr()?;
    let server = HttpServer::new(move || {
        App::new()
            .wrap(NormalizePath::new(TrailingSlash::MergeOnly))
            .wrap(Cors::permissive())
            .configure(routes.clone())
    })
    .workers(options.workers)
    .shutdown_timeout(options.shutdown_timeout.as_secs())
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    let joined = tokio::spawn(server);
    Ok(Server { address, handle, joined })
}
