//! The data folder of a network: made, locked, emptied.
//!
//! ```text
//! .holon/
//!   lock            held while the network runs
//!   network.json    URLs and ids, while it runs
//!   seed.json       what was published and spawned at the first start
//!   holon.log       the units' log
//!   wallets/        su.json mu.json cu.json operator.json, readable by their owner only
//!   forks.json      processes that were forked into it
//!   forks/          items of theirs that the local Arweave does not have yet
//!   weave/ su/ cu/ mu/    the units' stores
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::record::Lock;

/// What a network puts into its folder, and what `--fresh` therefore may remove; nothing else is ever touched. The lock
/// stays, it is held.
const OURS: [&str; 11] = [
    "network.json",
    "seed.json",
    "holon.log",
    "holon.log.1",
    "wallets",
    "forks.json",
    "forks",
    "weave",
    "su",
    "cu",
    "mu",
];

/// A data folder that belongs to this program.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: Lock,
    /// Folders that were made for it, deepest first.
    made: Vec<PathBuf>,
}

impl Folder {
    /// Makes the folder if needed, takes it, and with `fresh` forgets what is in it.
    pub fn open(path: &Path, fresh: bool) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let failed = |error: io::Error| Failure::network(format!("cannot use the data folder {name}: {error}"));
        let above = std::path::absolute(path).map_err(failed)?;
        let mut made: Vec<PathBuf> =
            above.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        if let Some(deepest) = made.first_mut() {
            deepest.clone_from(&path);
        }
        // A folder of somebody else's could have entries with our names, and `--fresh` would remove them.
        if !Lock::exists(&path) && fs::read_dir(&path).map_err(failed)?.next().is_some() {
            return Err(Failure::usage(format!("{name} is not empty and not the data folder of a network"))
                .hint("name an empty or new folder with --data"));
        }
        let lock = Lock::take(&path).map_err(failed)?.ok_or_else(|| {
            Failure::usage(format!("a network is running on {name}"))
                .hint("use it as it is, stop it first, or name another folder with --data")
        })?;
        if fresh {
            for entry in OURS.map(|entry| path.join(entry)) {
                forget(&entry).map_err(failed)?;
            }
        }
        Ok(Self { path, lock, made })
    }

    /// Gives the folder back after nothing came of it: one in which nothing is becomes what it was before.
    pub fn give_up(self) -> io::Result<()> {
        // The lock itself is the one entry.
        if fs::read_dir(&self.path)?.take(2).count() > 1 {
            return Ok(());
        }
        self.lock.discard(&self.path)?;
        for folder in self.made {
            match fs::remove_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => break,
                removed => removed?,
            }
        }
        Ok(())
    }

    /// The folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn forget(path: &Path) -> io::Result<()> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_network_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("net");
        let folder = Folder::open(&path, false).unwrap();
        assert!(Lock::is_held(&path));
        assert_eq!(Folder::open(&path, false).unwrap_err().exit_code(), 2);
        drop(folder);
        assert!(!Lock::is_held(&path));
        assert!(Folder::open(&path, false).is_ok());
    }

    #[test]
    fn a_folder_of_something_else_is_refused_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("mu")).unwrap();
        assert_eq!(Folder::open(root.path(), true).unwrap_err().exit_code(), 2);
        let entries: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(entries, ["mu"]);
    }

    #[test]
    fn a_folder_of_which_nothing_came_is_as_before() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        Folder::open(&path, false).unwrap().give_up().unwrap();
        assert!(!root.path().join("a").exists());
        fs::create_dir_all(&path).unwrap();
        Folder::open(&path, false).unwrap().give_up().unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        let folder = Folder::open(&path, false).unwrap();
        fs::write(path.join("seed.json"), "{}").unwrap();
        folder.give_up().unwrap();
        assert!(Lock::exists(&path), "what has something in it stays the folder of a network");
    }

    #[test]
    fn fresh_forgets_the_network_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        Folder::open(root.path(), false).unwrap();
        fs::create_dir(root.path().join("weave")).unwrap();
        fs::write(root.path().join("weave/store"), "x").unwrap();
        fs::write(root.path().join("seed.json"), "{}").unwrap();
        fs::write(root.path().join("diary.txt"), "dear").unwrap();
        Folder::open(root.path(), true).unwrap();
        assert!(!root.path().join("weave").exists());
        assert!(!root.path().join("seed.json").exists());
        assert_eq!(fs::read_to_string(root.path().join("diary.txt")).unwrap(), "dear");
    }
}
