//! Compiled modules on disk: a file for each (module, engine settings, wasmtime version, CPU features).

use std::{
    fs,
    hash::{Hash, Hasher},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use sha2::{Digest, Sha256};

use super::{Error, inspect::REWRITE_VERSION};

/// A folder of compiled modules. Compiled code runs with this program's rights, so the folder belongs to its user alone.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

const DIGEST_BYTES: usize = 32;

impl Cache {
    /// Opens the folder, creating it readable for this user only.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| Error::Cache { folder: folder.display().to_string(), source })?;
        Ok(Self { folder: folder.to_owned() })
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
        let mut bytes = match fs::read(self.path(key)) {
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
