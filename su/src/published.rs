//! Items that are on Arweave already: what must be known before one is assigned, and whether `On-Boot` items exist
//! (spec 02 §2.2, §2.3).

use std::sync::Arc;
use std::time::Duration;

use holon_arweave::{Gateway, Node};
use holon_protocol::assignment::{MAX_ASSIGNED_BYTES, excludes};
use holon_protocol::{DataItem, ItemId, Tags, base64url};
use reqwest::redirect;
use tokio::sync::Semaphore;
use url::Url;

use crate::check;
use crate::pool::{Pool, PoolEnded};
use crate::sequencer::Content;

/// Confirmations that a base-layer transaction needs when the process does not say.
pub const DEFAULT_SETTLEMENT_DEPTH: u64 = 20;
/// How often an item that the gateway does not know is looked for. One that has just been scheduled here is still on its
/// way there, and clients assign what they have just sent.
const LOOKS: u32 = 5;
/// Pause after the first look, doubling: 1.5 s in all.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Largest data of an item that is assigned without its data while content checks are on, in bytes: it is held while it is hashed.
pub const MAX_HASHED_BYTES: u64 = 64 << 20;
/// Items whose data is read at the same time; others wait for their turn.
const CONCURRENT_READS: usize = 4;
/// Longest that reading an item's data may take, waiting for a turn included.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest the router may take.
const ROUTER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a published item cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    /// The gateway does not know the item.
    #[error("Transaction not found")]
    NotFound,
    /// The transaction is not deep enough in the chain.
    #[error("{id} has {confirmations} confirmations of {needed}. Not enough confirmations to assign")]
    Confirmations {
        /// The transaction.
        id: ItemId,
        /// Confirmations it has.
        confirmations: u64,
        /// Confirmations the process asks for.
        needed: u64,
    },
    /// The gateway's index holds something unreadable.
    #[error("the gateway's {field} of {id} is not base64url")]
    Malformed {
        /// The item.
        id: ItemId,
        /// `recipient` or `anchor`.
        field: &'static str,
    },
    /// No gateway has the item of an `On-Boot` tag.
    #[error("Invalid tx id for On-Boot tag")]
    OnBoot,
    /// The router sends the process elsewhere.
    #[error("Process does not belong on this SU")]
    OtherScheduler,
    /// The router does not answer.
    #[error("Unable to check router")]
    Router,
    /// The gateway cannot be asked, or has no usable answer.
    #[error("the gateway could not be asked about this item; try again later")]
    Gateway(#[source] holon_arweave::Error),
    /// The gateway refuses this item.
    #[error("the gateway refuses to serve this item")]
    RefusedByGateway(#[source] holon_arweave::Error),
    /// The data is too large: no compute unit would read it, or it cannot be hashed.
    #[error("the data of {id} is larger than {limit} bytes; it cannot be assigned{}", without(*limit))]
    TooLarge {
        /// The item.
        id: ItemId,
        /// [`MAX_ASSIGNED_BYTES`], or [`MAX_HASHED_BYTES`] where the assignment excludes it.
        limit: u64,
    },
    /// The data did not arrive in time.
    #[error("the data of this item could not be read within {} s; try again later", READ_TIMEOUT.as_secs())]
    Late,
    /// No thread is left to hash the data.
    #[error(transparent)]
    Stopping(#[from] PoolEnded),
}

fn without(limit: u64) -> &'static str {
    if limit == MAX_ASSIGNED_BYTES { " unless its data is excluded" } else { "" }
}

impl PublishedError {
    /// Whether the same request may succeed later: nothing is known about the item, because nobody could be asked.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Router | Self::Gateway(_) | Self::Late | Self::Stopping(_) => true,
            Self::NotFound
            | Self::Confirmations { .. }
            | Self::Malformed { .. }
            | Self::OnBoot
            | Self::OtherScheduler
            | Self::RefusedByGateway(_)
            | Self::TooLarge { .. } => false,
        }
    }
}

impl From<holon_arweave::Error> for PublishedError {
    fn from(error: holon_arweave::Error) -> Self {
        match error {
            holon_arweave::Error::NotFound(_) => Self::NotFound,
            error if is_answer(&error) => Self::RefusedByGateway(error),
            error => Self::Gateway(error),
        }
    }
}

/// Whether an error is what the gateway says about the item, and not a gateway that cannot be asked.
fn is_answer(error: &holon_arweave::Error) -> bool {
    use holon_arweave::Error;
    match error {
        Error::NotFound(_) | Error::TooLarge { .. } | Error::Forged { .. } => true,
        Error::Status { .. } => !error.retryable(),
        Error::Options(_) | Error::Network { .. } | Error::Malformed { .. } | Error::GraphQl { .. } => false,
    }
}

/// Checks the size that the gateway tells.
fn within(node: &Node, limit: u64) -> Result<(), PublishedError> {
    match node.data_bytes.is_some_and(|bytes| bytes > limit) {
        true => Err(PublishedError::TooLarge { id: node.id, limit }),
        false => Ok(()),
    }
}

/// Access to what is published; cheap to clone.
#[derive(Debug, Clone)]
pub struct Published {
    gateway: Gateway,
    on_boot: Vec<Gateway>,
    router: Option<(Url, reqwest::Client)>,
    pool: Pool,
    reads: Arc<Semaphore>,
}

impl Published {
    /// `gateway` answers everything but `On-Boot`, for which any of `on_boot` suffices. `router`, when given, is asked
    /// whether a new process belongs here. Data is hashed on `pool`.
    pub fn new(
        gateway: Gateway,
        on_boot: Vec<Gateway>,
        router: Option<Url>,
        pool: Pool,
    ) -> Result<Self, reqwest::Error> {
        let client = || reqwest::Client::builder().redirect(redirect::Policy::none()).timeout(ROUTER_TIMEOUT).build();
        let router = router.map(|url| client().map(|client| (url, client))).transpose()?;
        Ok(Self { gateway, on_boot, router, pool, reads: Arc::new(Semaphore::new(CONCURRENT_READS)) })
    }

    /// Checks that a data item is published, and not larger than what may be assigned with these fields excluded.
    pub async fn exists(&self, id: ItemId, exclude: &[String]) -> Result<(), PublishedError> {
        let node = self.node(id).await?;
        if excludes(exclude, "Data") { Ok(()) } else { within(&node, MAX_ASSIGNED_BYTES) }
    }

    /// The content of a published data item that is assigned with these fields excluded, for the dedupe check.
    pub async fn content(&self, id: ItemId, exclude: &[String]) -> Result<Content, PublishedError> {
        let limit = if excludes(exclude, "Data") { MAX_HASHED_BYTES } else { MAX_ASSIGNED_BYTES };
        let node = self.node(id).await?;
        within(&node, limit)?;
        let field = |field, text: &str| base64url::decode(text).map_err(|_| PublishedError::Malformed { id, field });
        let (target, anchor) = (field("recipient", &node.recipient)?, field("anchor", &node.anchor)?);
        let hash = async {
            // The semaphore is never closed.
            let permit = self.reads.clone().acquire_owned().await.map_err(|_| PublishedError::Late)?;
            let data = match self.gateway.raw_within(id, limit).await {
                Err(holon_arweave::Error::TooLarge { .. }) => return Err(PublishedError::TooLarge { id, limit }),
                data => data?,
            };
            let hash = move || {
                let content = check::content(&target, &anchor, &node.tags, &data);
                // Others may read only once this data is gone.
                drop(data);
                drop(permit);
                content
            };
            Ok(self.pool.run(hash).await?)
        };
        tokio::time::timeout(READ_TIMEOUT, hash).await.unwrap_or(Err(PublishedError::Late))
    }

    async fn node(&self, id: ItemId) -> Result<Node, PublishedError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..LOOKS {
            if let Some(node) = self.gateway.node(id).await? {
                return Ok(node);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.gateway.node(id).await?.ok_or(PublishedError::NotFound)
    }

    /// Checks that a base-layer transaction is as deep in the chain as the process's `Settlement-Depth` asks, and not larger than what may be
    /// assigned with these fields excluded.
    pub async fn settled(&self, id: ItemId, process_tags: &Tags, exclude: &[String]) -> Result<(), PublishedError> {
        let needed = process_tags.get("Settlement-Depth").and_then(|value| value.parse().ok());
        let needed = needed.unwrap_or(DEFAULT_SETTLEMENT_DEPTH);
        let confirmations = self.gateway.status(id).await?.map_or(0, |status| status.confirmations);
        if confirmations < needed {
            return Err(PublishedError::Confirmations { id, confirmations, needed });
        }
        if excludes(exclude, "Data") {
            return Ok(());
        }
        // A node may know a transaction before the gateway's index does.
        self.gateway.node(id).await?.map_or(Ok(()), |node| within(&node, MAX_ASSIGNED_BYTES))
    }

    /// Checks what a new process refers to: its `On-Boot` item, and the router if there is one.
    pub async fn new_process(&self, process: &DataItem) -> Result<(), PublishedError> {
        if let Some(on_boot) = process.tags().get("On-Boot")
            && on_boot != "Data"
        {
            let id = on_boot.parse().map_err(|_| PublishedError::OnBoot)?;
            if !self.is_known(id).await? {
                return Err(PublishedError::OnBoot);
            }
        }
        self.ask_router(process.id()).await
    }

    /// Whether any gateway has an `On-Boot` item. Fails only when none of them could be asked.
    async fn is_known(&self, id: ItemId) -> Result<bool, PublishedError> {
        let (mut answered, mut failure) = (false, None);
        for gateway in &self.on_boot {
            match gateway.exists(id).await {
                Ok(true) => return Ok(true),
                Ok(false) => answered = true,
                Err(error) => {
                    tracing::warn!(%id, %error, gateway = %gateway.url(), "a gateway does not tell about an On-Boot item");
                    answered |= is_answer(&error);
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if !answered => Err(PublishedError::Gateway(error)),
            _ => Ok(false),
        }
    }

    async fn ask_router(&self, process: ItemId) -> Result<(), PublishedError> {
        let Some((router, client)) = &self.router else { return Ok(()) };
        let base = router.as_str().trim_end_matches('/');
        let answer = client.get(format!("{base}/{process}?process-id={process}")).send().await;
        match answer {
            Ok(answer) if answer.status().is_redirection() => Err(PublishedError::OtherScheduler),
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(%process, %error, "the router could not be asked");
                Err(PublishedError::Router)
            }
        }
    }
}
