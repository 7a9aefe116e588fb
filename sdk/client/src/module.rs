//! Publishing a module: a data item that goes to Arweave through an uploader.

use bytes::Bytes;
use holon_protocol::{DataItem, ModuleId, Signer, Tag, Tags};

use crate::error::Error;
use crate::network::Network;
use crate::tags::VARIANT;

/// Format of modules written with the `holon-process` crate.
pub const FORMAT_NATIVE: &str = "wasm32-unknown-unknown-holon1";
/// Encoding of messages and results, the only one in use.
const ENCODING: &str = "JSON-1";

/// A module to be published; see [`Network::publish`].
#[derive(Debug, Clone)]
#[must_use = "a module is only published by `send`"]
pub struct PublishModule {
    network: Network,
    wasm: Bytes,
    format: String,
    memory_limit: String,
    compute_limit: u64,
    tags: Tags,
}

impl PublishModule {
    pub(crate) fn new(network: Network, wasm: Bytes) -> Self {
        Self {
            network,
            wasm,
            format: FORMAT_NATIVE.into(),
            memory_limit: "1-gb".into(),
            compute_limit: 9_000_000_000_000,
            tags: Tags::default(),
        }
    }

    /// `Module-Format`; [`FORMAT_NATIVE`] by default.
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.format = format.into();
        self
    }

    /// `Memory-Limit` of processes of this module, `<number>-<unit>`; `1-gb` by default.
    pub fn memory_limit(mut self, limit: impl Into<String>) -> Self {
        self.memory_limit = limit.into();
        self
    }

    /// `Compute-Limit` of processes of this module: gas per message; 9 000 000 000 000 by default.
    pub fn compute_limit(mut self, limit: u64) -> Self {
        self.compute_limit = limit;
        self
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

    /// Signs without uploading.
    pub async fn sign(self, signer: &Signer) -> Result<DataItem, Error> {
        let own = [
            ("Data-Protocol", "ao"),
            ("Variant", VARIANT),
            ("Type", "Module"),
            ("Module-Format", &self.format),
            ("Input-Encoding", ENCODING),
            ("Output-Encoding", ENCODING),
            ("Memory-Limit", &self.memory_limit),
            ("Compute-Limit", &self.compute_limit.to_string()),
            ("Content-Type", "application/wasm"),
        ]
        .into_iter()
        .collect::<Tags>();
        let item = DataItem::builder().tags(own.0).tags(self.tags.0).tag("SDK", crate::tags::SDK).data(self.wasm);
        self.network.sign(item, signer).await
    }

    /// Signs and uploads. The module can be spawned as soon as this returns.
    pub async fn send(self, signer: &Signer) -> Result<ModuleId, Error> {
        let network = self.network.clone();
        let item = self.sign(signer).await?;
        network.upload(&item).await?;
        Ok(item.id().into())
    }
}

impl Network {
    /// Gives an item to the uploader, on its way to Arweave.
    pub async fn upload(&self, item: &DataItem) -> Result<(), Error> {
        self.uploader()?.upload(item).await.map_err(|source| Error::Upload { item: item.id(), source })
    }
}
