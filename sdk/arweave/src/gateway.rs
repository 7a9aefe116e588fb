//! Reading from a gateway (spec 03 §3, §4, §7.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use holon_protocol::deep_hash::BlobHash;
use holon_protocol::{BlockHeight, ItemId, Tags};
use reqwest::header::{ACCEPT_ENCODING, RANGE};
use reqwest::redirect;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use crate::Error;
use crate::graphql::{Block, Connection, MAX_PAGE, NODE_FIELDS, Node, NodePage, PLACED_NODE_FIELDS, Query, Tagged};
use crate::guard::{GuardedResolver, UrlPolicy};
use crate::http::{self, Attempts, CONNECT_TIMEOUT};

/// Largest data read in one piece, in bytes.
pub const MAX_DATA_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Largest JSON answer, in bytes.
pub const MAX_JSON_BYTES: u64 = 64 * 1024 * 1024;
/// Most redirects followed for one read.
pub const MAX_REDIRECTS: usize = 5;

/// How to reach a gateway.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Base URL, with or without a trailing slash.
    pub url: Url,
    /// GraphQL endpoint, with or without its trailing `/graphql`; `None` is `/graphql` under `url`.
    pub graphql: Option<Url>,
    /// Most attempts of one read; at least one is made.
    pub retries: u32,
    /// Wait after the first failed attempt, doubling with each further one.
    pub backoff: Duration,
    /// Longest a metadata read may take, and the longest silence while data streams.
    pub timeout: Duration,
}

impl GatewayOptions {
    /// The defaults of spec 03 §7.2: 5 attempts, 500 ms doubling, 60 s.
    pub fn new(url: Url) -> Self {
        Self { url, graphql: None, retries: 5, backoff: Duration::from_millis(500), timeout: Duration::from_secs(60) }
    }
}

/// Which of a gateway's two ways to an item's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataPath {
    /// `/{id}`, where a manifest is followed.
    Item,
    /// `/raw/{id}`, the bytes themselves.
    Raw,
}

impl DataPath {
    fn of(self, id: ItemId) -> String {
        match self {
            Self::Item => id.to_string(),
            Self::Raw => format!("raw/{id}"),
        }
    }
}

/// `GET /info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Newest block's height.
    pub height: BlockHeight,
    /// Newest block's id.
    pub current: String,
    /// Network name.
    pub network: String,
}

/// Where a base-layer transaction was mined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Confirmations {
    /// The block.
    pub block_height: BlockHeight,
    /// Blocks since then, its own included.
    #[serde(rename = "number_of_confirmations")]
    pub confirmations: u64,
}

/// Hears of every request to a gateway: its method, what it is for, the status of the answer or the kind of failure, and how long
/// that took.
pub type Watch = Arc<dyn Fn(&'static str, &'static str, Result<u16, &'static str>, Duration) + Send + Sync>;

#[derive(Clone, Default)]
struct Watched(Option<Watch>);

impl std::fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_some() { "watched" } else { "not watched" })
    }
}

/// A gateway. Cheap to clone.
///
/// Answers are never decompressed: items whose `Content-Encoding` tag a gateway turns into a header stay as they are.
#[derive(Debug, Clone)]
pub struct Gateway {
    url: Url,
    graphql: Url,
    attempts: Attempts,
    timeout: Duration,
    http: reqwest::Client,
    watched: Watched,
}

impl Gateway {
    /// A client for the gateway that `options` describe.
    pub fn new(options: GatewayOptions) -> Result<Self, Error> {
        let url = with_trailing_slash(options.url)?;
        let graphql = match options.graphql {
            Some(endpoint) if endpoint.path().trim_end_matches('/').ends_with("/graphql") => endpoint,
            Some(base) => join(&with_trailing_slash(base)?, "graphql")?,
            None => join(&url, "graphql")?,
        };
        let trusted = url.host_str().map(str::to_owned);
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(options.timeout)
            .redirect(redirects(trusted.clone()));
        // The operator's own gateway may be private; what it redirects to may not.
        if graphql.host_str() == trusted.as_deref() {
            builder = builder.dns_resolver(GuardedResolver { policy: UrlPolicy::default(), trusted });
        }
        if http::is_loopback(&url) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| Error::Options(error.to_string()))?;
        let attempts = Attempts { most: options.retries.max(1), backoff: options.backoff };
        Ok(Self { url, graphql, attempts, timeout: options.timeout, http, watched: Watched::default() })
    }

    /// The same gateway, whose metadata reads (GraphQL, `HEAD`, JSON) `watch` hears of, each attempt once its answer begins.
    #[must_use]
    pub fn watched_by(self, watch: Watch) -> Self {
        Self { watched: Watched(Some(watch)), ..self }
    }

    async fn send(
        &self,
        method: &'static str,
        operation: &'static str,
        request: reqwest::RequestBuilder,
        url: &Url,
    ) -> Result<reqwest::Response, Error> {
        let begun = Instant::now();
        let answer = http::send(request, url.as_str()).await;
        if let Watched(Some(watch)) = &self.watched {
            let outcome = answer.as_ref().map(|answer| answer.status().as_u16()).map_err(|_| "network");
            watch(method, operation, outcome, begun.elapsed());
        }
        answer
    }

    /// Base URL, with its trailing slash.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// GraphQL endpoint.
    pub fn graphql_url(&self) -> &Url {
        &self.graphql
    }

    /// The HTTP client, for calls to this gateway that have no method here.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The data of an item: `GET /raw/{id}`. The id is expected to exist, so 404 is retried too.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the gateway does not know the id after all attempts.
    pub async fn raw(&self, id: ItemId) -> Result<Bytes, Error> {
        self.raw_within(id, MAX_DATA_BYTES).await
    }

    /// The same, of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the data is larger; no more than `limit` bytes of it were held.
    pub async fn raw_within(&self, id: ItemId, limit: u64) -> Result<Bytes, Error> {
        let url = join(&self.url, &format!("raw/{id}"))?;
        let again = |error: &Error| error.retryable() || matches!(error, Error::NotFound(_));
        self.attempts.run(again, || async { http::body(self.data(id, &url).await?, url.as_str(), limit).await }).await
    }

    /// The hash of an item's data, of which none is kept. At most `limit` bytes are read.
    ///
    /// # Errors
    /// As [`Self::raw_within`].
    pub async fn digest_within(&self, id: ItemId, limit: u64) -> Result<BlobHash, Error> {
        let url = join(&self.url, &format!("raw/{id}"))?;
        let again = |error: &Error| error.retryable() || matches!(error, Error::NotFound(_));
        self.attempts.run(again, || async { http::digest(self.data(id, &url).await?, url.as_str(), limit).await }).await
    }

    /// The answer with an item's data.
    async fn data(&self, id: ItemId, url: &Url) -> Result<reqwest::Response, Error> {
        let request = self.http.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        let response = http::send(request, url.as_str()).await?;
        // 202: some gateways answer so while an item is pending.
        if http::is_absent(response.status()) || response.status() == 202 {
            return Err(Error::NotFound(id));
        }
        Ok(response)
    }

    /// Bytes `start..end` of an item's data; fewer when the data ends before.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the gateway does not know the id (not retried).
    pub async fn range(&self, id: ItemId, start: u64, end: u64) -> Result<Bytes, Error> {
        self.range_at(DataPath::Raw, id, start, end).await
    }

    /// The same, read where [`Self::located`] found it.
    ///
    /// # Errors
    /// As [`Self::range`].
    pub async fn range_at(&self, path: DataPath, id: ItemId, start: u64, end: u64) -> Result<Bytes, Error> {
        if start >= end {
            return Ok(Bytes::new());
        }
        let url = join(&self.url, &path.of(id))?;
        self.attempts
            .run(Error::retryable, || async {
                let request = self
                    .http
                    .get(url.clone())
                    .header(ACCEPT_ENCODING, "identity")
                    .header(RANGE, format!("bytes={start}-{}", end - 1));
                let response = http::send(request, url.as_str()).await?;
                match response.status().as_u16() {
                    404 | 410 => Err(Error::NotFound(id)),
                    // Nothing there: the data ends before `start`.
                    416 => Ok(Bytes::new()),
                    206 => http::body(response, url.as_str(), end - start).await,
                    // The server ignores ranges: pass over what comes before, and leave what comes after.
                    _ => http::cut(response, url.as_str(), start, end).await,
                }
            })
            .await
    }

    /// Size of an item's data in bytes, `None` when the gateway does not know the id.
    pub async fn size(&self, id: ItemId) -> Result<Option<u64>, Error> {
        Ok(self.located(id).await?.map(|(_, size)| size))
    }

    /// Where an item's data is found, and its size in bytes: under its id, or raw where the gateway does not say how long that
    /// is. `None` when the gateway does not know the id.
    pub async fn located(&self, id: ItemId) -> Result<Option<(DataPath, u64)>, Error> {
        let mut without_size = None;
        for path in [DataPath::Item, DataPath::Raw] {
            if let Some(response) = self.head(&path.of(id)).await? {
                match http::content_length(response.headers()) {
                    Some(size) => return Ok(Some((path, size))),
                    None => without_size = Some(response.url().to_string()),
                }
            }
        }
        match without_size {
            None => Ok(None),
            Some(url) => Err(Error::Malformed { url, reason: "no Content-Length".into() }),
        }
    }

    /// Whether the gateway knows the id: `HEAD /{id}`. An unknown id is an answer and not retried.
    pub async fn exists(&self, id: ItemId) -> Result<bool, Error> {
        Ok(self.head(&id.to_string()).await?.is_some())
    }

    async fn head(&self, path: &str) -> Result<Option<reqwest::Response>, Error> {
        let url = join(&self.url, path)?;
        self.attempts
            .run(Error::retryable, || async {
                let request = self.http.head(url.clone()).header(ACCEPT_ENCODING, "identity").timeout(self.timeout);
                let response = self.send("HEAD", "gateway-head", request, &url).await?;
                match response.status() {
                    status if status.is_success() => Ok(Some(response)),
                    status if http::is_absent(status) => Ok(None),
                    _ => Err(http::status_error(response, url.as_str()).await),
                }
            })
            .await
    }

    /// Height and id of the newest block: `GET /info`.
    pub async fn info(&self) -> Result<Info, Error> {
        #[derive(Deserialize)]
        struct Answer {
            height: i64,
            #[serde(default)]
            current: String,
            #[serde(default)]
            network: String,
        }
        let url = join(&self.url, "info")?;
        let answer: Answer = self.json(&url).await?;
        let height = u64::try_from(answer.height).map_err(|_| Error::Malformed {
            url: url.to_string(),
            reason: format!("height {}: the node has not joined", answer.height),
        })?;
        Ok(Info { height: BlockHeight(height), current: answer.current, network: answer.network })
    }

    /// Where a base-layer transaction was mined: `GET /tx/{id}/status`. `None` while it is pending or unknown.
    pub async fn status(&self, id: ItemId) -> Result<Option<Confirmations>, Error> {
        let url = join(&self.url, &format!("tx/{id}/status"))?;
        match self.text(&url).await? {
            // arlocal answers 200 with this text.
            Some(text) if text.trim_ascii() == b"Pending" => Ok(None),
            Some(text) => parse(&url, &text).map(Some),
            None => Ok(None),
        }
    }

    /// The JSON of a base-layer transaction: `GET /tx/{id}`; `None` when pending or unknown. Items have none.
    pub async fn transaction(&self, id: ItemId) -> Result<Option<Value>, Error> {
        let url = join(&self.url, &format!("tx/{id}"))?;
        self.text(&url).await?.map(|text| parse(&url, &text)).transpose()
    }

    /// The JSON of a block, as text: `GET /block/height/{height}`; `None` when there is no such block.
    pub async fn block(&self, height: BlockHeight) -> Result<Option<Bytes>, Error> {
        self.text(&join(&self.url, &format!("block/height/{height}"))?).await
    }

    /// Metadata of one item; `None` when no gateway index has it.
    pub async fn node(&self, id: ItemId) -> Result<Option<Node>, Error> {
        let page = self.nodes(&Query { first: Some(1), ..Query::ids([id]) }).await?;
        Ok(page.nodes.into_iter().next())
    }

    /// Metadata of one item that also says how large it is and where it is bundled; `None` when no gateway index has it.
    pub async fn placed_node(&self, id: ItemId) -> Result<Option<Node>, Error> {
        let page = self.placed_nodes(&Query { first: Some(1), ..Query::ids([id]) }).await?;
        Ok(page.nodes.into_iter().find(|node| node.id == id))
    }

    /// A page of metadata.
    pub async fn nodes(&self, query: &Query) -> Result<NodePage, Error> {
        self.node_page(query, NODE_FIELDS).await
    }

    /// A page of metadata that also says how large items are and where they are bundled.
    pub async fn placed_nodes(&self, query: &Query) -> Result<NodePage, Error> {
        self.node_page(query, PLACED_NODE_FIELDS).await
    }

    async fn node_page(&self, query: &Query, fields: &str) -> Result<NodePage, Error> {
        let found: Connection<Node> = self.connection(query.request(fields), "transactions").await?;
        let end_cursor = found.edges.last().and_then(|edge| edge.cursor.clone());
        let nodes = found.edges.into_iter().map(|edge| edge.node).collect();
        Ok(NodePage { nodes, end_cursor, has_next_page: found.page_info.has_next_page })
    }

    /// The tags of the first item that `query` finds.
    pub(crate) async fn first_tags(&self, query: Query) -> Result<Option<Tags>, Error> {
        let query = Query { first: Some(1), ..query };
        let found: Connection<Tagged> = self.connection(query.request("tags { name value }"), "transactions").await?;
        Ok(found.edges.into_iter().next().map(|edge| edge.node.tags))
    }

    /// At most `first` blocks from height `from` on, ascending.
    pub async fn blocks(&self, from: BlockHeight, first: u32) -> Result<Vec<Block>, Error> {
        let request = json!({
            "query": "query Blocks($min: Int, $first: Int) { blocks(height: { min: $min }, first: $first, sort: HEIGHT_ASC) \
                      { pageInfo { hasNextPage } edges { cursor node { timestamp height } } } }",
            "variables": { "min": from.0, "first": first.clamp(1, MAX_PAGE) },
        });
        let found: Connection<Block> = self.connection(request, "blocks").await?;
        Ok(found.edges.into_iter().map(|edge| edge.node).collect())
    }

    /// Any GraphQL request; the value of `data`.
    pub async fn graphql(&self, request: &Value) -> Result<Value, Error> {
        self.attempts
            .run(Error::retryable, || async {
                let request = self.http.post(self.graphql.clone()).timeout(self.timeout).json(request);
                let response = self.send("POST", "gateway-graphql", request, &self.graphql).await?;
                let body = http::body(response, self.graphql.as_str(), MAX_JSON_BYTES).await?;
                let mut answer: Value = parse(&self.graphql, &body)?;
                match answer.get_mut("data").map(Value::take) {
                    Some(data) if !data.is_null() => Ok(data),
                    _ => Err(Error::GraphQl { url: self.graphql.to_string(), message: graphql_message(&answer) }),
                }
            })
            .await
    }

    async fn connection<N: DeserializeOwned>(&self, request: Value, field: &str) -> Result<Connection<N>, Error> {
        let mut data = self.graphql(&request).await?;
        let value = data.get_mut(field).map(Value::take).unwrap_or_default();
        serde_json::from_value(value)
            .map_err(|error| Error::Malformed { url: self.graphql.to_string(), reason: error.to_string() })
    }

    async fn json<T: DeserializeOwned>(&self, url: &Url) -> Result<T, Error> {
        self.attempts
            .run(Error::retryable, || async {
                let request = self.http.get(url.clone()).timeout(self.timeout);
                let response = self.send("GET", "gateway-read", request, url).await?;
                parse(url, &http::body(response, url.as_str(), MAX_JSON_BYTES).await?)
            })
            .await
    }

    /// The text of an answer; `None` for 202 (pending) and for what does not exist.
    async fn text(&self, url: &Url) -> Result<Option<Bytes>, Error> {
        self.attempts
            .run(Error::retryable, || async {
                let request = self.http.get(url.clone()).timeout(self.timeout);
                let response = self.send("GET", "gateway-read", request, url).await?;
                if response.status() == 202 || http::is_absent(response.status()) {
                    return Ok(None);
                }
                http::body(response, url.as_str(), MAX_JSON_BYTES).await.map(Some)
            })
            .await
    }
}

fn parse<T: DeserializeOwned>(url: &Url, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Malformed { url: url.to_string(), reason: error.to_string() })
}

fn graphql_message(answer: &Value) -> String {
    let message = answer.pointer("/errors/0/message").and_then(Value::as_str);
    message.map_or_else(|| "no data".to_owned(), |text| crate::error::quote(text.as_bytes()))
}

fn join(base: &Url, path: &str) -> Result<Url, Error> {
    base.join(path).map_err(|error| Error::Options(format!("{base} and {path}: {error}")))
}

fn with_trailing_slash(mut url: Url) -> Result<Url, Error> {
    if url.cannot_be_a_base() || !matches!(url.scheme(), "http" | "https") {
        return Err(Error::Options(format!("{url}: an http or https URL is needed")));
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Gateways redirect to sandbox hosts: follow, but never from the configured host to an address inside.
fn redirects(trusted: Option<String>) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error("too many redirects");
        }
        if attempt.url().host_str() == trusted.as_deref() && matches!(attempt.url().scheme(), "http" | "https") {
            return attempt.follow();
        }
        match UrlPolicy::default().check(attempt.url()) {
            Ok(()) => attempt.follow(),
            Err(error) => attempt.error(error),
        }
    })
}
