//! What of the store is in use, and what may go.
//!
//! Packs and segments are shared by checkpoints, so what one of them does not need any more another one may: even one that is being
//! written, or the next one of a live process, which refers to what its last one refers to. Three rules keep them:
//!
//! * Whoever writes or reads holds the paths meanwhile ([`Ledger::hold`]); what is held is not deleted, and what is being deleted
//!   is not held until it is gone.
//! * A pack that is found in the index is held in the same moment ([`Ledger::find`]), and what may go leaves the index in the
//!   moment in which that is decided.
//! * Whoever looks for what may go ([`Ledger::begin`]) starts with what live processes refer to, and is told what was held since:
//!   it may be in a manifest that was written after the manifests were listed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::chunk::PackId;
use super::collect::references;
use super::lineage::Lineage;
use super::pack_path;
use super::pages::{Pages, Stored};
use super::store::Object;
use crate::machine::PageHash;
use crate::recent::Recent;

/// Damaged packs that are remembered, at most.
const DAMAGED: usize = 4096;

/// What is known about the store's objects.
pub(super) struct Ledger {
    state: Mutex<State>,
    /// Told when an object is gone.
    gone: Notify,
}

struct State {
    /// Where pages are stored.
    pages: Pages,
    /// Packs that are not what they should be: nothing is added that refers to them.
    damaged: Recent<PackId, ()>,
    /// Paths in use, and by how many.
    held: HashMap<String, usize>,
    /// Paths that have been in use since it began to be decided what may go.
    noted: Option<HashSet<String>>,
    /// Paths that are being deleted.
    deleting: HashSet<String>,
    /// Lineages whose next checkpoint refers to what the last one does.
    living: Vec<Weak<Lineage>>,
    /// How many of them there were when those that ended were last taken out.
    living_before: usize,
}

/// Paths that stay as long as this is there.
pub(super) struct Held {
    ledger: Arc<Ledger>,
    paths: Vec<String>,
}

/// A path that is being deleted.
pub(super) struct Deleting {
    ledger: Arc<Ledger>,
    path: String,
}

/// What may go is being looked for. One at a time.
pub(super) struct Search {
    ledger: Arc<Ledger>,
    /// What live processes refer to.
    pub needed: HashSet<String>,
}

impl Default for Ledger {
    fn default() -> Self {
        let state = State {
            pages: Pages::default(),
            damaged: Recent::new(DAMAGED),
            held: HashMap::new(),
            noted: None,
            deleting: HashSet::new(),
            living: Vec::new(),
            living_before: 0,
        };
        Self { state: Mutex::new(state), gone: Notify::new() }
    }
}

impl State {
    fn hold(&mut self, path: &str) {
        *self.held.entry(path.to_owned()).or_default() += 1;
    }

    fn is_needed(&self, path: &str) -> bool {
        self.held.contains_key(path) || self.noted.as_ref().is_some_and(|noted| noted.contains(path))
    }
}

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps paths from being deleted, once those that are being deleted are gone.
    pub async fn hold(self: &Arc<Self>, paths: impl IntoIterator<Item = String>) -> Held {
        let paths: Vec<String> = paths.into_iter().collect();
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            gone.as_mut().enable();
            if let Some(held) = self.try_hold(&paths) {
                return held;
            }
            gone.await;
        }
    }

    fn try_hold(self: &Arc<Self>, paths: &[String]) -> Option<Held> {
        let mut state = self.state();
        if paths.iter().any(|path| state.deleting.contains(path)) {
            return None;
        }
        paths.iter().for_each(|path| state.hold(path));
        Some(Held { ledger: self.clone(), paths: paths.to_vec() })
    }

    /// Where pages are stored already; the packs are held.
    pub fn find(self: &Arc<Self>, hashes: impl Iterator<Item = PageHash>) -> (HashMap<PageHash, Stored>, Held) {
        let mut state = self.state();
        let found: HashMap<PageHash, Stored> =
            hashes.filter_map(|hash| Some((hash, state.pages.find(&hash)?))).collect();
        let packs: HashSet<PackId> = found.values().map(|stored| stored.pack).collect();
        let paths: Vec<String> = packs.iter().map(pack_path).collect();
        paths.iter().for_each(|path| state.hold(path));
        drop(state);
        (found, Held { ledger: self.clone(), paths })
    }

    /// Remembers where pages are stored: what has been written, or read and found to be right.
    pub fn add(&self, pages: impl Iterator<Item = (PageHash, Stored)>) {
        let mut state = self.state();
        for (hash, stored) in pages {
            state.pages.add(hash, stored);
        }
    }

    /// A pack is not what it should be, or cannot be read: nobody comes to refer to it any more.
    pub fn damaged(&self, pack: PackId) {
        let mut state = self.state();
        state.pages.keep(|known| *known != pack);
        state.damaged.insert(pack, ());
    }

    /// A pack has been written, whatever there was before.
    pub fn written(&self, pack: &PackId) {
        self.state().damaged.remove(pack);
    }

    /// Whether one of these packs is known to be damaged.
    pub fn any_damaged<'a>(&self, mut packs: impl Iterator<Item = &'a PackId>) -> bool {
        let state = self.state();
        packs.any(|pack| state.damaged.get(pack).is_some())
    }

    /// A lineage goes on from a checkpoint that was read: what that refers to stays as long as the lineage is there.
    pub fn lives(&self, lineage: &Arc<Lineage>) {
        let mut state = self.state();
        if let (Some(noted), Some(base)) = (&mut state.noted, lineage.base()) {
            noted.extend(references(&base.manifest));
        }
        if state.living.len() >= 2 * state.living_before.max(64) {
            state.living.retain(|lineage| lineage.strong_count() > 0);
            state.living_before = state.living.len();
        }
        state.living.push(Arc::downgrade(lineage));
    }

    /// Begins to look for what may go.
    pub fn begin(self: &Arc<Self>) -> Search {
        let mut state = self.state();
        state.noted = Some(state.held.keys().cloned().collect());
        state.living.retain(|lineage| lineage.strong_count() > 0);
        let living: Vec<_> = state.living.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        // What they refer to later is noted.
        let bases = living.iter().filter_map(|lineage| lineage.base());
        let needed = bases.flat_map(|base| references(&base.manifest).collect::<Vec<_>>()).collect();
        Search { ledger: self.clone(), needed }
    }

    /// Leave to delete an object, if nobody holds it.
    pub fn delete(self: &Arc<Self>, path: &str) -> Option<Deleting> {
        let mut state = self.state();
        if state.is_needed(path) || !state.deleting.insert(path.to_owned()) {
            return None;
        }
        Some(Deleting { ledger: self.clone(), path: path.to_owned() })
    }
}

impl Search {
    /// Those of `objects` that nobody needs: from here on nobody finds them in the index.
    pub fn decide(&self, mut objects: Vec<Object>) -> Vec<Object> {
        let mut state = self.ledger.state();
        objects.retain(|object| !self.needed.contains(&object.path) && !state.is_needed(&object.path));
        let paths: HashSet<&str> = objects.iter().map(|object| object.path.as_str()).collect();
        state.pages.keep(|pack| !paths.contains(pack_path(pack).as_str()));
        objects
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.ledger.state().noted = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.ledger.state();
        for path in self.paths.drain(..) {
            if let Some(count) = state.held.get_mut(&path) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(&path);
                }
            }
            if let Some(noted) = &mut state.noted {
                noted.insert(path);
            }
        }
    }
}

impl Drop for Deleting {
    fn drop(&mut self) {
        self.ledger.state().deleting.remove(&self.path);
        self.ledger.gone.notify_waiters();
    }
}
