//! Where checkpoints are stored: a folder, memory, or an S3-compatible service.
//!
//! | path | what |
//! |---|---|
//! | `checkpoints/<process>/<position>.<root>` | manifests |
//! | `packs/<hash>` | pages and page tables |
//! | `identities/<hash>` | segments of identities |
//!
//! Objects are written whole and never changed. In a folder each is written aside and renamed, so a crash leaves it or
//! nothing; losing power may tear one, which its hash tells.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use url::Url;

/// Most objects of one listing that are looked at.
const LIST_LIMIT: usize = 10_000_000;

/// Where checkpoints go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Place {
    /// Nowhere: every start replays the log.
    None,
    /// The folder `checkpoints` of the data folder.
    #[default]
    DataDir,
    /// `file:///<folder>`, `memory://` or `s3://<bucket>/<prefix>`.
    Url(Url),
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => return Ok(Self::None),
            "" | "local" => return Ok(Self::DataDir),
            _ => {}
        }
        let url: Url = text.parse().map_err(|error| format!("{text}: {error}"))?;
        match url.scheme() {
            "file" | "memory" | "s3" => Ok(Self::Url(url)),
            scheme => Err(format!("{scheme}: local, none, file, memory or s3 is needed")),
        }
    }
}

/// A store does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("checkpoints cannot be stored at {place}: {reason}")]
    Open {
        /// The place.
        place: String,
        /// Why.
        reason: String,
    },
    /// It failed.
    #[error(transparent)]
    Failed(#[from] object_store::Error),
    /// An object is not there.
    #[error("{0} is not there")]
    Missing(String),
    /// An object is larger than any of its kind.
    #[error("{path} has {bytes} bytes; at most {limit} are possible")]
    TooLarge {
        /// The object.
        path: String,
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Last part of its path.
    pub name: String,
    /// The whole path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// How long ago it was written.
    pub age: Duration,
}

/// A store of objects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Key,
}

impl Store {
    /// Opens the store at `place`; `None` where nothing is to be stored.
    pub fn open(place: &Place, data_dir: &Path) -> Result<Option<Self>, StoreError> {
        let failed = |place: &dyn std::fmt::Display, reason: &dyn std::fmt::Display| StoreError::Open {
            place: place.to_string(),
            reason: reason.to_string(),
        };
        let folder = |path: &Path| {
            std::fs::create_dir_all(path).map_err(|error| failed(&path.display(), &error))?;
            let inner = LocalFileSystem::new_with_prefix(path).map_err(|error| failed(&path.display(), &error))?;
            Ok(Self { inner: Arc::new(inner), prefix: Key::default() })
        };
        match place {
            Place::None => Ok(None),
            Place::DataDir => folder(&data_dir.join("checkpoints")).map(Some),
            Place::Url(url) => match url.scheme() {
                "memory" => Ok(Some(Self { inner: Arc::new(InMemory::new()), prefix: Key::default() })),
                "s3" => Self::s3(AmazonS3Builder::from_env(), url).map(Some).map_err(|reason| failed(url, &reason)),
                _ => {
                    let path = url.to_file_path().map_err(|()| failed(url, &"not an absolute path"))?;
                    folder(&path).map(Some)
                }
            },
        }
    }

    /// The bucket and the prefix that `url` names.
    fn s3(builder: AmazonS3Builder, url: &Url) -> Result<Self, String> {
        let inner = builder.with_url(url.as_str()).build().map_err(|error| error.to_string())?;
        let prefix = Key::from_url_path(url.path()).map_err(|error| error.to_string())?;
        Ok(Self { inner: Arc::new(inner), prefix })
    }

    /// A store that is open already.
    #[cfg(test)]
    pub fn of(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, prefix: Key::default() }
    }

    fn key(&self, path: &str) -> Key {
        self.prefix.parts().chain(path.split('/').map(Into::into)).collect()
    }

    /// Writes an object; one with the same path is replaced.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.inner.put(&self.key(path), PutPayload::from(bytes)).await?;
        Ok(())
    }

    /// Reads an object of at most `limit` bytes.
    pub async fn get(&self, path: &str, limit: u64) -> Result<Bytes, StoreError> {
        let found = self.inner.get(&self.key(path)).await.map_err(|error| missing(path, error))?;
        let bytes = found.meta.size;
        if bytes > limit {
            return Err(StoreError::TooLarge { path: path.to_owned(), bytes, limit });
        }
        Ok(found.bytes().await?)
    }

    /// Reads parts of an object, each exactly as long as asked for.
    pub async fn parts(&self, path: &str, parts: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
        let found = self.inner.get_ranges(&self.key(path), parts).await.map_err(|error| missing(path, error))?;
        let whole = found.len() == parts.len()
            && found.iter().zip(parts).all(|(bytes, part)| bytes.len() as u64 == part.end - part.start);
        if whole { Ok(found) } else { Err(StoreError::Missing(format!("a part of {path}"))) }
    }

    /// The objects in a folder, and below it.
    pub async fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        let now = SystemTime::now();
        let mut listed = self.inner.list(Some(&self.key(folder)));
        let mut objects = Vec::new();
        while let Some(meta) = listed.try_next().await? {
            let name = meta.location.filename().unwrap_or_default().to_owned();
            let path = format!("{folder}{}", below(&meta.location, &self.key(folder)));
            let age = now.duration_since(SystemTime::from(meta.last_modified)).unwrap_or_default();
            objects.push(Object { name, path, bytes: meta.size, age });
            if objects.len() >= LIST_LIMIT {
                tracing::warn!(folder, LIST_LIMIT, "too many objects to list; the rest is left alone");
                break;
            }
        }
        Ok(objects)
    }

    /// Deletes an object, if it is there.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        match self.inner.delete(&self.key(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The rest of a path below a folder, with its slash.
fn below(path: &Key, folder: &Key) -> String {
    let parts =
        path.prefix_match(folder).map(|parts| parts.map(|part| format!("/{}", part.as_ref())).collect::<String>());
    parts.unwrap_or_default()
}

fn missing(path: &str, error: object_store::Error) -> StoreError {
    match error {
        object_store::Error::NotFound { .. } => StoreError::Missing(path.to_owned()),
        error => error.into(),
    }
}

#[cfg(test)]
pub mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Stdio};

    use super::*;

    /// A store in an S3-compatible server of its own, which ends with it.
    pub struct Bucket {
        pub store: Store,
        server: Child,
    }

    impl Bucket {
        pub fn start(folder: &Path) -> Self {
            let folder = folder.join("s3");
            std::fs::create_dir_all(&folder).unwrap();
            let mut server = holon_peers::script("s3-server.mjs")
                .unwrap()
                .arg(&folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut port = String::new();
            BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
            let builder = AmazonS3Builder::new()
                .with_endpoint(format!("http://127.0.0.1:{}", port.trim()))
                .with_allow_http(true)
                .with_region("us-east-1")
                .with_access_key_id("S3RVER")
                .with_secret_access_key("S3RVER");
            let store = Store::s3(builder, &"s3://holon/some/prefix".parse().unwrap()).unwrap();
            Self { store, server }
        }
    }

    impl Drop for Bucket {
        fn drop(&mut self) {
            // It may have ended by itself.
            let _ = self.server.kill();
            let _ = self.server.wait();
        }
    }

    /// A store of each kind; the bucket is one of them and must outlive it.
    pub fn stores(folder: &Path) -> (Vec<Store>, Bucket) {
        let memory = Place::Url("memory://".parse().unwrap());
        let elsewhere = Place::Url(Url::from_file_path(folder.join("elsewhere")).unwrap());
        let places = [Place::DataDir, memory, elsewhere];
        let mut stores: Vec<Store> = places.iter().map(|place| Store::open(place, folder).unwrap().unwrap()).collect();
        stores.push(Store { prefix: Key::from("a/b"), ..stores[1].clone() });
        let bucket = Bucket::start(folder);
        stores.push(bucket.store.clone());
        (stores, bucket)
    }

    #[tokio::test]
    async fn every_store_gives_back_what_was_put() {
        let folder = tempfile::tempdir().unwrap();
        let (stores, _bucket) = stores(folder.path());
        for store in stores {
            store.put("packs/one", b"0123456789".to_vec()).await.unwrap();
            store.put("packs/two", b"x".to_vec()).await.unwrap();
            store.put("packs/two", b"xy".to_vec()).await.unwrap();
            store.put("checkpoints/p/1.e", vec![1]).await.unwrap();
            assert_eq!(store.get("packs/one", 10).await.unwrap(), "0123456789");
            assert!(matches!(store.get("packs/one", 9).await, Err(StoreError::TooLarge { bytes: 10, .. })));
            assert!(matches!(store.get("packs/three", 9).await, Err(StoreError::Missing(_))));
            assert_eq!(store.parts("packs/one", &[1..3, 8..10]).await.unwrap(), ["12", "89"]);
            assert!(store.parts("packs/one", &[1..3, 8..11]).await.is_err());
            assert!(store.parts("packs/three", &[0..1, 2..3]).await.is_err());
            let mut listed = store.list("packs").await.unwrap();
            listed.sort_by(|a, b| a.name.cmp(&b.name));
            let listed: Vec<_> = listed.into_iter().map(|object| (object.name, object.path, object.bytes)).collect();
            let expected = [("one", "packs/one", 10), ("two", "packs/two", 2)];
            assert_eq!(listed, expected.map(|(name, path, bytes)| (name.to_owned(), path.to_owned(), bytes)));
            assert_eq!(store.list("checkpoints").await.unwrap()[0].path, "checkpoints/p/1.e");
            assert_eq!(store.list("checkpoints/none").await.unwrap(), []);
            store.delete("packs/one").await.unwrap();
            store.delete("packs/one").await.unwrap();
            assert_eq!(store.list("packs").await.unwrap().len(), 1);
        }
    }

    #[test]
    fn a_place_is_read_from_its_option() {
        assert_eq!("none".parse(), Ok(Place::None));
        assert_eq!("local".parse(), Ok(Place::DataDir));
        assert!(matches!("s3://bucket/prefix".parse(), Ok(Place::Url(_))));
        assert!("ftp://x".parse::<Place>().is_err() && "bucket".parse::<Place>().is_err());
        assert!(Store::open(&Place::None, Path::new("/")).unwrap().is_none());
    }
}
