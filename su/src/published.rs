//! Items that are on Arweave already: what must be known before one is assigned, and whether `On-Boot` items exist
//! (spec 02 §2.2, §2.3).

use std::time::Duration;

use holon_arweave::{Gateway, Node};
use holon_protocol::{DataItem, ItemId, Tags, base64url};
use reqwest::redirect;
use url::Url;

use crate::check;
use crate::sequencer::Content;

/// Confirmations that a base-layer transaction needs when the process does not say.
pub const DEFAULT_SETTLEMENT_DEPTH: u64 = 20;
/// How often an item that the gateway does not know is looked for. One that has just been scheduled here is still on its
/// way there, and clients assign what they have just sent.
const LOOKS: u32 = 5;
/// Pause after the first look, doubling: 1.5 s in all.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
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
    /// The gateway does not answer.
    #[error("the gateway could not be asked: {0}")]
    Gateway(#[from] holon_arweave::Error),
}

/// Access to what is published; cheap to clone.
#[derive(Debug, Clone)]
pub struct Published {
    gateway: Gateway,
    on_boot: Vec<Gateway>,
    router: Option<(Url, reqwest::Client)>,
}

impl Published {
    /// `gateway` answers everything but `On-Boot`, for which any of `on_boot` suffices. `router`, when given, is asked
    /// whether a new process belongs here.
    pub fn new(gateway: Gateway, on_boot: Vec<Gateway>, router: Option<Url>) -> Result<Self, reqwest::Error> {
        let client = || reqwest::Client::builder().redirect(redirect::Policy::none()).timeout(ROUTER_TIMEOUT).build();
        let router = router.map(|url| client().map(|client| (url, client))).transpose()?;
        Ok(Self { gateway, on_boot, router })
    }

    /// The content of a published data item, for the dedupe check.
    pub async fn content(&self, id: ItemId) -> Result<Content, PublishedError> {
        let node = self.node(id).await?;
        let field = |field, text: &str| base64url::decode(text).map_err(|_| PublishedError::Malformed { id, field });
        let (target, anchor) = (field("recipient", &node.recipient)?, field("anchor", &node.anchor)?);
        let data = self.gateway.raw(id).await.map_err(|error| match error {
            holon_arweave::Error::NotFound(_) => PublishedError::NotFound,
            error => error.into(),
        })?;
        Ok(check::content(&target, &anchor, &node.tags, &data))
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

    /// Checks that a base-layer transaction is as deep in the chain as the process's `Settlement-Depth` asks.
    pub async fn settled(&self, id: ItemId, process_tags: &Tags) -> Result<(), PublishedError> {
        let needed = process_tags.get("Settlement-Depth").and_then(|value| value.parse().ok());
        let needed = needed.unwrap_or(DEFAULT_SETTLEMENT_DEPTH);
        let confirmations = self.gateway.status(id).await?.map_or(0, |status| status.confirmations);
        if confirmations < needed {
            return Err(PublishedError::Confirmations { id, confirmations, needed });
        }
        Ok(())
    }

    /// Checks what a new process refers to: its `On-Boot` item, and the router if there is one.
    pub async fn new_process(&self, process: &DataItem) -> Result<(), PublishedError> {
        if let Some(on_boot) = process.tags().get("On-Boot")
            && on_boot != "Data"
        {
            let id = on_boot.parse().map_err(|_| PublishedError::OnBoot)?;
            if !self.exists(id).await {
                return Err(PublishedError::OnBoot);
            }
        }
        self.ask_router(process.id()).await
    }

    async fn exists(&self, id: ItemId) -> bool {
        for gateway in &self.on_boot {
            match gateway.exists(id).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) => tracing::warn!(%id, %error, "a gateway could not be asked for an On-Boot item"),
            }
        }
        false
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
