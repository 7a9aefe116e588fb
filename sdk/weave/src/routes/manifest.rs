//! Path manifests: a folder of items under one id (spec 03 §4.6).

use std::collections::HashMap;

use holon_protocol::ItemId;
use serde::Deserialize;

/// Content type of a manifest.
pub const CONTENT_TYPE: &str = "application/x.arweave-manifest+json";
/// Largest manifest that is opened, in bytes.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// A manifest.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    manifest: String,
    #[serde(default)]
    index: Option<Index>,
    #[serde(default)]
    fallback: Option<Target>,
    #[serde(default)]
    paths: HashMap<String, Target>,
}

#[derive(Debug, Deserialize)]
struct Index {
    path: Option<String>,
    id: Option<ItemId>,
}

#[derive(Debug, Deserialize)]
struct Target {
    id: ItemId,
}

impl Manifest {
    /// Reads a manifest; `None` when it is none.
    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().filter(|manifest: &Self| manifest.manifest == "arweave/paths")
    }

    /// What a path leads to. The empty path is the index.
    pub fn resolve(&self, path: &str) -> Option<ItemId> {
        let path = path.trim_matches('/');
        let found = match (path, &self.index) {
            ("", Some(Index { path: Some(path), .. })) => self.paths.get(path).map(|target| target.id),
            ("", Some(Index { id, .. })) => *id,
            (path, _) => self.paths.get(path).map(|target| target.id),
        };
        found.or(self.fallback.as_ref().map(|target| target.id))
    }
}
