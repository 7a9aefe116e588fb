//! Checkpoints: what a process is between two messages, stored, so that nobody has to replay its log from the start
//! (`docs/src/checkpoints.md`).
//!
//! ```text
//!  runner ──snapshot──► save ──► packs, identities, then the manifest      in the background; the stream goes on
//!  start  ◄──machine─── restore ◄── the nearest manifest that is usable     every page checked, the whole by its root
//! ```
//!
//! | where | what |
//! |---|---|
//! | `manifest`, `table`, `chunk`, `identities`, `bytes` | the format |
//! | `name`, `retention` | which checkpoint is near, which are kept |
//! | `store`, `pages`, `ledger` | where objects go, what is there already, and what of it is in use |
//! | `lineage`, `diff`, `save` | writing what changed since the last one |
//! | `restore`, `collect` | reading, throwing away |
//! | `published`, `policy`, `arweave` | checkpoints on Arweave: their form, whose are used, publishing and finding them |
//!
//! A checkpoint is a cache: what is missing or damaged is passed over, and the log gives it again.

mod arweave;
mod bytes;
mod chunk;
mod collect;
mod diff;
mod identities;
mod ledger;
mod lineage;
mod manifest;
mod name;
mod pages;
mod policy;
mod published;
mod restore;
mod retention;
mod save;
mod store;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use holon_protocol::ProcessId;
use holon_unit::tasks::Tasks;
use tokio::sync::{Mutex, Semaphore};

pub use self::bytes::FormatError;
pub use arweave::Published;
pub use identities::{NO_HISTORY, extend};
pub use lineage::{Lineage, UNWRITTEN_LIMIT};
pub use name::Reach;
pub use policy::Policy;
pub use published::Claim;
pub use restore::Restored;
pub use save::{EVALUATOR, Snapshot};
pub use store::{Place, StoreError};

use self::ledger::Ledger;
use self::store::Store;
use crate::machine::MachineError;
use crate::results::Results;

/// Checkpoints written at the same time.
const SAVES: usize = 2;
/// Checkpoints read at the same time: each holds what a process's pages take, compressed.
const RESTORES: usize = 4;

/// A checkpoint cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is stored is not a checkpoint.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A checkpoint of a version that is not known here may refer to anything.
    #[error("{path}: {error}")]
    Unknown {
        /// Its manifest.
        path: String,
        /// Its version.
        error: FormatError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that belongs to it is not what its hash says.
    #[error("{what} does not have the hash it should have")]
    Hash {
        /// What is wrong.
        what: &'static str,
    },
    /// A part of a pack is not what its hash says.
    #[error("{what} in pack {} does not have the hash it should have", holon_protocol::base64url::encode(pack))]
    Rotten {
        /// What is wrong.
        what: &'static str,
        /// The pack.
        pack: [u8; 32],
    },
    /// It lies in a pack that turned out to be damaged.
    #[error("a pack that it lies in is damaged")]
    Damaged,
    /// It belongs to something else.
    #[error("it is about another {0}")]
    Other(&'static str),
    /// Its contents do not give the root it names.
    #[error("its contents have root {found}, it names {named}")]
    Root {
        /// The root of its contents.
        found: crate::machine::StateRoot,
        /// The root it names.
        named: crate::machine::StateRoot,
    },
    /// The gateway or the bundler failed, or what it gives is not what it should be.
    #[error("{0}")]
    Gateway(String),
    /// Too few have signed it.
    #[error("{found} signers are there, {needed} are needed")]
    Signers {
        /// Signers found.
        found: usize,
        /// Signers needed.
        needed: usize,
    },
    /// Reading or writing memory failed.
    #[error("memory: {0}")]
    Memory(#[from] std::io::Error),
    /// The machine cannot be set up with it.
    #[error("{0}")]
    Machine(String),
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
}

impl From<MachineError> for Error {
    fn from(error: MachineError) -> Self {
        Self::Machine(error.to_string())
    }
}

/// All checkpoints of this unit. Cheap to clone.
#[derive(Clone)]
pub struct Checkpoints(Arc<Inner>);

struct Inner {
    store: Store,
    results: Arc<Results>,
    saves: Arc<Semaphore>,
    restores: Semaphore,
    ledger: Arc<Ledger>,
    /// Held while something is thrown away.
    collecting: Mutex<()>,
    tasks: Tasks,
    /// Snapshots are handed in on threads that are not of the runtime.
    runtime: tokio::runtime::Handle,
}

impl Checkpoints {
    /// Those in the store at `place`; `None` when there is to be none. Background work belongs to `tasks` and runs on the
    /// runtime of the caller.
    pub fn open(
        place: &Place,
        data_dir: &std::path::Path,
        results: Arc<Results>,
        tasks: Tasks,
    ) -> Result<Option<Self>, StoreError> {
        let Some(store) = Store::open(place, data_dir)? else { return Ok(None) };
        Ok(Some(Self::upon(store, results, tasks)))
    }

    fn upon(store: Store, results: Arc<Results>, tasks: Tasks) -> Self {
        Self(Arc::new(Inner {
            store,
            results,
            saves: Arc::new(Semaphore::new(SAVES)),
            restores: Semaphore::new(RESTORES),
            ledger: Arc::default(),
            collecting: Mutex::default(),
            tasks,
            runtime: tokio::runtime::Handle::current(),
        }))
    }

    /// The stored checkpoints of a process, in the order of the log.
    async fn names(&self, process: ProcessId) -> Result<Vec<name::Name>, StoreError> {
        let objects = self.0.store.list(&name::Name::folder(process)).await?;
        let mut names: Vec<_> = objects.iter().filter_map(|object| name::Name::parse(&object.name)).collect();
        names.sort_unstable();
        Ok(names)
    }
}

fn pack_path(id: &chunk::PackId) -> String {
    format!("packs/{}", holon_protocol::base64url::encode(id))
}

fn segment_path(id: &[u8; 32]) -> String {
    format!("identities/{}", holon_protocol::base64url::encode(id))
}
