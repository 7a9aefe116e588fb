//! Sending a message to a process.

use bytes::Bytes;
use holon_protocol::item::{BuildError, Builder};
use holon_protocol::signature::SignatureType;
use holon_protocol::signer::SignerError;
use holon_protocol::{DataItem, ItemId, MessageId, ProcessId, Signer, Tag, Tags};
use reqwest::Method;
use serde::Deserialize;

use crate::error::{Error, Unit};
use crate::http::{Body, json};
use crate::network::Network;
use crate::tags;

/// A message to be sent; see [`Network::message`].
#[derive(Debug, Clone)]
#[must_use = "a message is only sent by `send`"]
pub struct SendMessage {
    network: Network,
    process: ProcessId,
    tags: Tags,
    anchor: Option<[u8; 32]>,
    data: Bytes,
}

impl SendMessage {
    pub(crate) fn new(network: Network, process: ProcessId) -> Self {
        Self { network, process, tags: Tags::default(), anchor: None, data: Bytes::new() }
    }

    /// Appends an `Action` tag, by which most processes choose their handler.
    pub fn action(self, action: impl Into<String>) -> Self {
        self.tag("Action", action)
    }

    /// Appends a tag.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push(name, value);
        self
    }

    /// Appends tags.
    pub fn tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.tags.0.extend(tags);
        self
    }

    /// Sets the anchor: 32 bytes that processes see as text.
    pub fn anchor(mut self, anchor: [u8; 32]) -> Self {
        self.anchor = Some(anchor);
        self
    }

    /// Sets the data. Without any, one space is sent, as the official client does.
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }

    /// Signs without sending (`signMessage` of the official client); [`Network::post`] sends.
    pub async fn sign(self, signer: &Signer) -> Result<DataItem, Error> {
        let without_data = self.data.is_empty();
        let mut item = item(self.data, tags::message(self.tags, without_data)).target(ItemId::from(self.process));
        if let Some(anchor) = self.anchor.map_or_else(|| fresh_anchor(signer), |anchor| Ok(Some(anchor)))? {
            item = item.anchor(anchor);
        }
        self.network.sign(item, signer).await
    }

    /// Signs and sends. Returns once a scheduler has given the message its place, before it is evaluated.
    pub async fn send(self, signer: &Signer) -> Result<MessageId, Error> {
        let network = self.network.clone();
        let item = self.sign(signer).await?;
        network.post(&item).await?;
        Ok(item.id().into())
    }
}

/// An anchor for signers whose signatures are not random: without one, the same message sent twice would be the same
/// item and count once. Random text of 32 characters, because processes see anchors as text; none for RSA, whose items
/// then look as the official client's do.
pub(crate) fn fresh_anchor(signer: &Signer) -> Result<Option<[u8; 32]>, Error> {
    if signer.signature_type() == SignatureType::Arweave {
        return Ok(None);
    }
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|error| BuildError::Signer(SignerError::Crypto(error.to_string())))?;
    let text = holon_protocol::base64url::encode(random);
    Ok(<[u8; 32]>::try_from(text.as_bytes()).ok())
}

/// Official clients send one space for "no data"; the tag that goes with it comes from [`tags`].
pub(crate) fn item(data: Bytes, tags: Tags) -> Builder {
    let data = if data.is_empty() { Bytes::from_static(b" ") } else { data };
    DataItem::builder().tags(tags.0).data(data)
}

pub(crate) async fn post(network: &Network, item: &DataItem) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Accepted {
        id: Option<ItemId>,
    }

    let parts = network.parts();
    let url = network.mu_url()?.clone();
    let body = Body::Item(item.raw().clone());
    let (_, answer) = parts.http.write(Unit::Messenger, Method::POST, url, body, parts.timeout).await?;
    let accepted: Accepted = json(Unit::Messenger, &answer)?;
    match accepted.id {
        Some(id) if id != item.id() => {
            Err(Error::Answer { unit: Unit::Messenger, reason: format!("item {} was acknowledged as {id}", item.id()) })
        }
        _ => Ok(()),
    }
}
