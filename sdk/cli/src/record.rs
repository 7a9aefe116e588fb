//! What a running network tells about itself: `network.json` in its data folder, and a copy in the user's state folder
//! so that commands anywhere on the machine find the network started last.
//!
//! A record counts only while the network's lock is held, so one left behind by a crash misleads nobody.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holon_protocol::{Address, ModuleId, ProcessId};
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

/// Name of the record in a data folder.
const RECORD: &str = "network.json";
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
        let text = serde_json::to_vec_pretty(self)?;
        write_whole(&self.data.join(RECORD), &text)?;
        match state_folder() {
            Some(folder) => {
                fs::create_dir_all(&folder)?;
                write_whole(&folder.join(RECORD), &text)
            }
            None => Ok(()),
        }
    }

    /// Removes what [`Self::publish`] wrote, unless another network has taken the shared place since.
    pub fn withdraw(&self) -> io::Result<()> {
        remove(&self.data.join(RECORD))?;
        match state_folder().map(|folder| folder.join(RECORD)) {
            Some(path) if read(&path).is_some_and(|record| record.data == self.data) => remove(&path),
            _ => Ok(()),
        }
    }

    /// The running network of a data folder.
    pub fn of_folder(data: &Path) -> Option<Self> {
        read(&data.join(RECORD)).filter(|_| Lock::is_held(data))
    }

    /// The running network of `.holon` here or in a folder above, else the one started last.
    pub fn nearby() -> Option<Self> {
        let here = std::env::current_dir().ok();
        let above = here.iter().flat_map(|here| here.ancestors()).map(|folder| folder.join(DEFAULT_DATA));
        above.into_iter().find_map(|data| Self::of_folder(&data)).or_else(|| {
            let started_last = read(&state_folder()?.join(RECORD))?;
            Self::of_folder(&started_last.data)
        })
    }
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

/// A data folder belongs to one running network: the one that holds this.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

impl Lock {
    /// Takes the folder; `None` if another network has it.
    pub fn take(data: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(data.join(LOCK))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self(file))),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if begun.elapsed() > LOCK_PATIENCE => return Ok(None),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
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
