//! What a running network tells about itself: `network.json` in its data folder, and a copy in the user's state folder
//! (`running/<pid>.json`) so that commands anywhere on the machine find the network started last, and when that has ended
//! the one before.
//!
//! A record counts only while the network's lock is held, so one left behind by a crash misleads nobody.

use std::cmp::Reverse;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holon_protocol::{Address, ModuleId, ProcessId};
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

/// Name of the record in a data folder.
const RECORD: &str = "network.json";
/// Folder for the records of all running networks, in the state folder.
const RUNNING: &str = "running";
/// Most records that are looked through.
const MAX_RECORDS: usize = 1_000;
/// Name of the lock in a data folder.
const LOCK: &str = "lock";
/// A command that looks whether a network runs holds its lock for a moment; a starting network waits that long.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// A running network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Gateway.
    #[serde(serialize_with = "bare")]
    pub gateway_url: Url,
    /// GraphQL of the gateway.
    #[serde(serialize_with = "bare")]
    pub graphql_url: Url,
    /// Takes data items.
    #[serde(serialize_with = "bare")]
    pub uploader_url: Url,
    /// Messenger unit.
    #[serde(serialize_with = "bare")]
    pub mu_url: Url,
    /// Scheduler unit.
    #[serde(serialize_with = "bare")]
    pub su_url: Url,
    /// Compute unit.
    #[serde(serialize_with = "bare")]
    pub cu_url: Url,
    /// Page in which the network can be looked at.
    pub explorer_url: Url,
    /// Wallet address of the scheduler unit.
    pub scheduler: Address,
    /// Wallet address of the messenger unit.
    pub authority: Address,
    /// Wallet address of the compute unit.
    pub compute: Address,
    /// The process that was spawned at the first start.
    pub counter_process: ProcessId,
    /// Its module.
    pub counter_module: ModuleId,
    /// The data folder, absolute.
    pub data: PathBuf,
    /// The program's process number.
    pub pid: u32,
}

impl Record {
    /// Writes the record where commands look for it.
    pub fn publish(&self) -> io::Result<()> {
        self.publish_in(state_folder().map(|folder| folder.join(RUNNING)))
    }

    fn publish_in(&self, running: Option<PathBuf>) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        write_whole(&self.data.join(RECORD), &text)?;
        let Some(folder) = running else { return Ok(()) };
        fs::create_dir_all(&folder)?;
        // Networks that were killed have left theirs.
        for (path, record) in records(&folder) {
            if !Lock::is_held(&record.data) {
                remove(&path)?;
            }
        }
        write_whole(&self.copy(&folder), &text)
    }

    /// Removes what [`Self::publish`] wrote. What other networks wrote stays, so the one started before is found again.
    pub fn withdraw(&self) -> io::Result<()> {
        self.withdraw_in(state_folder().map(|folder| folder.join(RUNNING)))
    }

    fn withdraw_in(&self, running: Option<PathBuf>) -> io::Result<()> {
        remove(&self.data.join(RECORD))?;
        match running.map(|folder| self.copy(&folder)) {
            Some(path) if read(&path).is_some_and(|record| record.data == self.data) => remove(&path),
            _ => Ok(()),
        }
    }

    fn copy(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.json", self.pid))
    }

    /// The running network of a data folder.
    pub fn of_folder(data: &Path) -> Option<Self> {
        read(&data.join(RECORD)).filter(|_| Lock::is_held(data))
    }

    /// The running network of `.holon` here or in a folder above, else the one started last.
    pub fn nearby() -> Option<Self> {
        let here = std::env::current_dir().ok();
        let above = here.iter().flat_map(|here| here.ancestors()).map(|folder| folder.join(DEFAULT_DATA));
        above
            .into_iter()
            .find_map(|data| Self::of_folder(&data))
            .or_else(|| Self::started_last(&state_folder()?.join(RUNNING)))
    }

    fn started_last(folder: &Path) -> Option<Self> {
        let mut started: Vec<_> = records(folder)
            .map(|(path, record)| (fs::metadata(path).and_then(|file| file.modified()).ok(), record))
            .collect();
        started.sort_by_key(|(time, _)| Reverse(*time));
        started.into_iter().find_map(|(_, record)| Self::of_folder(&record.data))
    }
}

/// The records in a folder, and where each is.
fn records(folder: &Path) -> impl Iterator<Item = (PathBuf, Record)> {
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "json")).take(MAX_RECORDS).filter_map(|path| {
        let record = read(&path)?;
        Some((path, record))
    })
}

/// Clients put paths behind base URLs as text, so these end without a slash.
fn bare<S: Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(url.as_str().trim_end_matches('/'))
}

/// Data folder of `holon up` unless another is named.
pub const DEFAULT_DATA: &str = ".holon";

/// Writes a file so that readers see the old or the new text, also after a crash.
pub fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    write_for(path, text, 0o666)
}

/// The same for those only whom `mode` names, less what the user's mask takes away.
pub fn write_for(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Removes a file that may be gone already.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Where what can be fetched again is kept.
pub fn cache_folder() -> Option<PathBuf> {
    own_folder("XDG_CACHE_HOME", ".cache")
}

/// Where what the user chose is kept.
pub fn config_folder() -> Option<PathBuf> {
    own_folder("XDG_CONFIG_HOME", ".config")
}

/// Where what was done last is kept.
pub fn state_folder() -> Option<PathBuf> {
    own_folder("XDG_STATE_HOME", ".local/state")
}

fn own_folder(variable: &str, in_home: &str) -> Option<PathBuf> {
    let base = std::env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(in_home)))?;
    Some(base.join("holon"))
}

/// Whether an open file is the one that a path leads to.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::metadata(path) {
        Ok(other) => Ok((own.dev(), own.ino()) == (other.dev(), other.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A data folder belongs to one running network: the one that holds this.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

impl Lock {
    /// Takes the folder; `None` if another network has it.
    pub fn take(data: &Path) -> io::Result<Option<Self>> {
        let path = data.join(LOCK);
        let open = || OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let mut file = open()?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                // Whoever had it may have discarded it meanwhile; then this is nobody's file.
                Ok(()) if !is_at(&file, &path)? => file = open()?,
                Ok(()) => return Ok(Some(Self(file))),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if begun.elapsed() > LOCK_PATIENCE => return Ok(None),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Gives the folder back as one on which no network has ever run.
    pub fn discard(self, data: &Path) -> io::Result<()> {
        remove(&data.join(LOCK))
    }

    /// Whether a network has ever run on the folder.
    pub fn exists(data: &Path) -> bool {
        data.join(LOCK).exists()
    }

    /// Whether a network runs on the folder.
    pub fn is_held(data: &Path) -> bool {
        File::open(data.join(LOCK)).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(data: &Path, pid: u32) -> (Record, Lock) {
        fs::create_dir_all(data).unwrap();
        let url = |port: u16| Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let record = Record {
            gateway_url: url(1),
            graphql_url: url(1),
            uploader_url: url(1),
            mu_url: url(2),
            su_url: url(3),
            cu_url: url(4),
            explorer_url: url(1),
            scheduler: Address::from_bytes([1; 32]),
            authority: Address::from_bytes([2; 32]),
            compute: Address::from_bytes([3; 32]),
            counter_process: ProcessId::from_bytes([4; 32]),
            counter_module: ModuleId::from_bytes([5; 32]),
            data: data.to_owned(),
            pid,
        };
        (record, Lock::take(data).unwrap().unwrap())
    }

    #[test]
    fn when_the_network_started_last_ends_the_one_before_is_found() {
        let root = tempfile::tempdir().unwrap();
        let running = root.path().join(RUNNING);
        let found = || Record::started_last(&running).map(|record| record.data);
        let (first, first_lock) = network(&root.path().join("first"), 1);
        let (second, second_lock) = network(&root.path().join("second"), 2);
        let (killed, killed_lock) = network(&root.path().join("killed"), 3);
        for record in [&first, &second, &killed] {
            record.publish_in(Some(running.clone())).unwrap();
            assert_eq!(found().as_ref(), Some(&record.data));
            // Times of files may be as coarse as the clock of the system.
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(killed_lock);
        assert_eq!(found().as_ref(), Some(&second.data));
        second.withdraw_in(Some(running.clone())).unwrap();
        drop(second_lock);
        assert_eq!(found().as_ref(), Some(&first.data));
        first.publish_in(Some(running.clone())).unwrap();
        assert_eq!(fs::read_dir(&running).unwrap().count(), 1, "what the killed one left is gone");
        first.withdraw_in(Some(running.clone())).unwrap();
        drop(first_lock);
        assert_eq!(found(), None);
    }
}
