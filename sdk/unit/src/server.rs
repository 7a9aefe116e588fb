//! An actix server that starts on a given listener and stops in order.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_cors::Cors;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServerHandle, Service, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::middleware::{NormalizePath, TrailingSlash};
use actix_web::web::{Bytes, ServiceConfig};
use actix_web::{App, HttpResponse, HttpServer};

use crate::durations::Served;

/// How often a stopping server looks whether requests are still running.
const DRAIN_TICK: Duration = Duration::from_millis(10);
/// How long no request must have been running before a stopping server cuts idle connections: long enough for the last
/// answer to leave.
const DRAIN_QUIET: Duration = Duration::from_millis(50);

/// How long a browser may remember that it may call, in seconds.
const PREFLIGHT_SECONDS: usize = 3600;

/// How a server runs.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Worker threads.
    pub workers: usize,
    /// How long running requests may take to finish once the server stops.
    pub shutdown_timeout: Duration,
    /// Whether a request ends with its client's connection: for services whose requests only wait for work that others do and may be
    /// given up at any moment. Otherwise a request that has begun is carried out, whoever is still there.
    pub ends_with_client: bool,
    /// Whether `OPTIONS` of any path is answered with 204 instead of 200, as the messenger's specification asks for.
    pub empty_options: bool,
    /// Whether every answer says that pages of any origin may read it, also to those who name none, and carries the
    /// headers that keep browsers from making more of it than it is, as the compute unit's specification asks for.
    pub guarded: bool,
    /// Whether JSON says that it is in UTF-8, as the messenger's specification asks for.
    pub charset: bool,
    /// Where it is counted how long requests take.
    pub served: Option<Served>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            workers: 2,
            shutdown_timeout: Duration::from_secs(5),
            ends_with_client: false,
            empty_options: false,
            guarded: false,
            charset: false,
            served: None,
        }
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
    running: Arc<AtomicUsize>,
    shutdown_timeout: Duration,
}

/// Counts a request while it runs, also when its client goes away.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
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

    /// Stops accepting, lets running requests finish within the timeout, then cuts idle connections and returns.
    ///
    /// actix's own graceful stop waits for kept-alive connections too, which clients hold open for seconds.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.handle.pause().await;
        let drained = async {
            let mut quiet = Duration::ZERO;
            while quiet < DRAIN_QUIET {
                tokio::time::sleep(DRAIN_TICK).await;
                quiet = if self.running.load(Ordering::Acquire) == 0 { quiet + DRAIN_TICK } else { Duration::ZERO };
            }
        };
        if tokio::time::timeout(self.shutdown_timeout, drained).await.is_err() {
            tracing::warn!(requests = self.running.load(Ordering::Acquire), "stopping with requests still running");
        }
        self.handle.stop(false).await;
        match self.joined.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(ServerError::Io(std::io::Error::other(error))),
        }
    }
}

impl Server {
    /// Cuts every connection at once, in the middle of whatever is being answered.
    pub async fn kill(self) -> Result<(), ServerError> {
        self.handle.stop(false).await;
        match self.joined.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(ServerError::Io(std::io::Error::other(error))),
        }
    }
}

/// Pages of any origin may call, with any method and header, and read every header; their credentials are nobody's
/// business here. They are told their own name, or `*` where every answer says that.
fn open_to_pages(wildcard: bool) -> Cors {
    let cors = Cors::default()
        .allow_any_origin()
        .allow_any_method()
        .allow_any_header()
        .expose_any_header()
        .max_age(PREFLIGHT_SECONDS);
    if wildcard { cors.send_wildcard() } else { cors }
}

/// What answers of a guarded server carry unless they say something else: they are what their type says, no page may frame them
/// or be told of them, and what is no page loads nothing.
const GUARDS: [(HeaderName, &str); 5] = [
    (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "SAMEORIGIN"),
    (REFERRER_POLICY, "no-referrer"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'self'"),
];

fn guard(headers: &mut HeaderMap) {
    for (name, value) in GUARDS {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// The body of an answer to `HEAD`: as large as that to `GET`, but nobody makes or reads it. An endless one would keep the
/// connection for ever.
struct Unsent(BodySize);

impl MessageBody for Unsent {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}

/// The content type of JSON that says its encoding.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// The methods that pages may use, for whoever asks without saying which one.
const METHODS: &str = "GET,HEAD,PUT,PATCH,POST,DELETE";

/// 204 with the headers of an answer to `OPTIONS`, and what pages may do if it does not say so.
fn without_body(answer: ServiceResponse) -> ServiceResponse {
    let mut empty = HttpResponse::NoContent().finish();
    for (name, value) in answer.headers() {
        if *name != CONTENT_TYPE && *name != CONTENT_LENGTH {
            empty.headers_mut().append(name.clone(), value.clone());
        }
    }
    for (name, value) in [(ACCESS_CONTROL_ALLOW_ORIGIN, "*"), (ACCESS_CONTROL_ALLOW_METHODS, METHODS)] {
        if !empty.headers().contains_key(&name) {
            empty.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    answer.into_response(empty)
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
    let running = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&running);
    let HttpOptions { empty_options, guarded, charset, .. } = *options;
    let served = options.served.clone();
    let server = HttpServer::new(move || {
        let (count, served) = (Arc::clone(&count), served.clone());
        App::new()
            .wrap(NormalizePath::new(TrailingSlash::MergeOnly))
            .wrap(open_to_pages(guarded))
            .wrap_fn(move |request, routes| {
                let running = Running::new(&count);
                let emptied = empty_options && *request.method() == Method::OPTIONS;
                let head = *request.method() == Method::HEAD;
                let timed = served.clone().map(|served| (served, request.method().clone(), Instant::now()));
                let answer = routes.call(request);
                async move {
                    let _running = running;
                    let mut answer = answer.await?.map_into_boxed_body();
                    if charset && answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json") {
                        answer.headers_mut().insert(CONTENT_TYPE, JSON);
                    }
                    if let Some((served, method, begun)) = timed {
                        let route = answer.request().match_pattern().unwrap_or_else(|| "none".into());
                        served.observe(method.as_str(), route, answer.status().as_u16(), begun.elapsed());
                    }
                    if guarded {
                        guard(answer.headers_mut());
                    }
                    if head {
                        answer = answer.map_body(|_, body| Unsent(body.size()).boxed());
                    }
                    Ok(if emptied { without_body(answer) } else { answer })
                }
            })
            .configure(routes.clone())
    })
    .workers(options.workers)
    // A client that closes its half of a connection is, for all that can be seen, one that has gone.
    .h1_allow_half_closed(!options.ends_with_client)
    .shutdown_timeout(options.shutdown_timeout.as_secs())
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    let joined = tokio::spawn(server);
    Ok(Server { address, handle, joined, running, shutdown_timeout: options.shutdown_timeout })
}
