//! Compiled modules on disk: a file for each (module, engine settings, wasmtime version, CPU features).

use std::{
    fs,
    hash::{Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use sha2::{Digest, Sha256};

use super::{Error, inspect::REWRITE_VERSION};

/// A folder of compiled modules. Compiled code runs with this program's rights, so the folder belongs to its user alone.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// This program's user.
    user: u32,
}

const DIGEST_BYTES: usize = 32;
/// Permissions of the folder.
const PRIVATE: u32 = 0o700;
/// The bits that let group and others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

impl Cache {
    /// Opens the folder, creating it where there is none. Afterwards nobody but this user has rights to it; a folder of
    /// somebody else, or one from which others' right to write cannot be taken, is refused.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let user = rustix::process::geteuid().as_raw();
        let claim = || {
            fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(folder)?;
            claim(folder, user)
        };
        claim().map_err(|source| Error::Cache { folder: folder.display().to_string(), source })?;
        Ok(Self { folder: folder.to_owned(), user })
    }

    /// The name under which a module compiled by an engine is kept.
    pub fn key(wasm: &[u8], format: &str, engine: &wasmtime::Engine) -> String {
        let mut digest = DigestHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut digest);
        digest.0.update(REWRITE_VERSION.to_le_bytes());
        digest.0.update(format);
        digest.0.update(Sha256::digest(wasm));
        digest.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What was stored under `key`, if it is there and whole.
    pub fn load(&self, key: &str) -> Option<Vec<u8>> {
        let mut bytes = match self.read(key) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(key, %error, "cannot read a compiled module, compiling again");
                return None;
            }
        };
        if bytes.len() < DIGEST_BYTES {
            return None;
        }
        let body = bytes.split_off(DIGEST_BYTES);
        if Sha256::digest(&body)[..] != bytes {
            tracing::warn!(key, "a compiled module is damaged, compiling again");
            return None;
        }
        Some(body)
    }

    /// A file's contents, if nobody else could have written them: the folder may have been open to others before.
    fn read(&self, key: &str) -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(self.path(key))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.uid() != self.user || metadata.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the file is not this user's alone: remove it",
            ));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Stores a compiled module; readers see all of it or nothing. Failing to is only slower next time.
    pub fn store(&self, key: &str, body: &[u8]) {
        if let Err(error) = self.try_store(key, body) {
            tracing::warn!(key, %error, "cannot keep a compiled module");
        }
    }

    fn try_store(&self, key: &str, body: &[u8]) -> io::Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let partial = self.folder.join(format!("{key}.{}.{number}.partial", std::process::id()));
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
            file.write_all(&Sha256::digest(body))?;
            file.write_all(body)?;
            file.sync_data()?;
            fs::rename(&partial, self.path(key))
        };
        write().inspect_err(|_| {
            // The error that matters is the one above; a leftover is harmless.
            let _ = fs::remove_file(&partial);
        })
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.compiled"))
    }
}

/// Takes everybody else's rights to the folder, and checks that this is so.
fn claim(folder: &Path, user: u32) -> io::Result<()> {
    let metadata = fs::metadata(folder)?;
    if metadata.uid() != user {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it belongs to user {}, and should to {user}, who runs this program", metadata.uid()),
        ));
    }
    if metadata.mode() & 0o7777 == PRIVATE {
        return Ok(());
    }
    let changed = fs::set_permissions(folder, fs::Permissions::from_mode(PRIVATE));
    let mode = fs::metadata(folder)?.mode();
    if mode & WRITABLE_BY_OTHERS != 0 {
        changed?;
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("its permissions stay {:o}, and should be {PRIVATE:o}", mode & 0o7777),
        ));
    }
    Ok(())
}

/// Feeds a digest with what an engine says about its compatibility.
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_folder_that_was_there_becomes_this_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        for before in [0o755, 0o777, 0o2775] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(before)).unwrap();
            Cache::open(folder.path()).unwrap();
            assert_eq!(mode(folder.path()), PRIVATE);
        }
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let user = fs::metadata(folder.path()).unwrap().uid();
        assert_eq!(claim(folder.path(), user + 1).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_file_that_others_can_write_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        cache.store("key", b"compiled");
        assert_eq!(mode(&cache.path("key")), 0o600);
        fs::set_permissions(cache.path("key"), fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(cache.load("key"), None);
        cache.store("key", b"compiled");
        assert_eq!(cache.load("key").as_deref(), Some(&b"compiled"[..]));
    }

    #[test]
    fn a_damaged_file_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("modules")).unwrap();
        cache.store("key", b"compiled");
        assert_eq!(cache.load("key").as_deref(), Some(&b"compiled"[..]));
        assert_eq!(cache.load("other"), None);
        let path = cache.path("key");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.load("key"), None);
    }
}
