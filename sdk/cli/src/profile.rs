//! Networks with names: `networks.toml` in the user's configuration folder.
//!
//! ```toml
//! used = "team"                       # what commands talk to when they are told nothing else
//! [networks.team]
//! mu-url = "https://mu.example"
//! cu-url = "https://cu.example"
//! gateway-url = "https://gateway.example"
//! scheduler = "…"                     # of processes that are spawned
//! authorities = ["…"]                 # whom they trust
//! wallet = "/home/you/team.json"      # who signs
//! ```
//!
//! URLs may hold passwords, so only the owner may read the file. `local` is no entry: it is the network that `holon up` runs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use holon_protocol::Address;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::failure::Failure;
use crate::record;

/// The network that `holon up` runs on this computer.
pub const LOCAL: &str = "local";
/// Name of the file in the configuration folder.
const FILE: &str = "networks.toml";
/// Largest file that is read, in bytes.
const FILE_LIMIT_BYTES: u64 = 1 << 20;
/// Longest name of a network, in characters.
const NAME_LIMIT_CHARS: usize = 64;

/// The networks a user has named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profiles {
    /// The one that commands use when they are told nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<String>,
    /// All, by name.
    #[serde(default)]
    pub networks: BTreeMap<String, Profile>,
}

/// A network with a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    /// Messenger unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mu_url: Option<Url>,
    /// Compute unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cu_url: Option<Url>,
    /// Gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_url: Option<Url>,
    /// Where Arweave is searched, if that is not the gateway's `/graphql`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphql_url: Option<Url>,
    /// Where modules are uploaded, if that is not the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploader_url: Option<Url>,
    /// Scheduler of processes that are spawned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Address>,
    /// Messengers that processes trust which are spawned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<Address>,
    /// Wallet that signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<PathBuf>,
}

impl Profiles {
    /// What the user has named; nothing when there is no file or no home.
    pub fn read() -> Result<Self, Failure> {
        match record::config_folder() {
            Some(folder) => Self::of(&folder.join(FILE)),
            None => Ok(Self::default()),
        }
    }

    fn of(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error: io::Error| Failure::usage(format!("cannot read {}: {error}", path.display()));
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(error)),
            Ok(file) if file.len() > FILE_LIMIT_BYTES => {
                return Err(Failure::usage(format!("{} is larger than {FILE_LIMIT_BYTES} bytes", path.display())));
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        toml::from_str(&text).map_err(|error| {
            Failure::usage(format!("{} is not as it should be: {error}", path.display()))
                .hint("mend it, or remove it and add the networks again: holon network add <name>")
        })
    }

    /// Writes the file, for its owner's eyes only. Returns where it is.
    pub fn write(&self) -> Result<PathBuf, Failure> {
        let folder = record::config_folder()
            .ok_or_else(|| Failure::usage("there is no home folder to keep networks in").hint("set HOME"))?;
        let path = folder.join(FILE);
        self.write_to(&path)?;
        Ok(path)
    }

    fn write_to(&self, path: &Path) -> Result<(), Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::network(format!("cannot write {}: {error}", path.display()));
        let text = toml::to_string(self).map_err(|error| failed(&error))?;
        let attempt = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            record::write_for(path, text.as_bytes(), 0o600)
        };
        attempt().map_err(|error| failed(&error))
    }

    /// The network of a name.
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.networks.get(name)
    }

    /// The same, where there must be one.
    pub fn must_get(&self, name: &str) -> Result<&Profile, Failure> {
        self.get(name).ok_or_else(|| {
            Failure::usage(format!("no network is called {name}")).hint(match self.networks.is_empty() {
                true => "name one: holon network add <name> --mu-url … --cu-url … --gateway-url …".to_owned(),
                false => format!("there are: {LOCAL}, {}", self.names()),
            })
        })
    }

    /// The names, for people.
    pub fn names(&self) -> String {
        self.networks.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// What a network may be called.
pub fn check_name(name: &str) -> Result<(), Failure> {
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    match begins && letters && name.len() <= NAME_LIMIT_CHARS {
        true if name == LOCAL => {
            Err(Failure::usage(format!("{LOCAL} is the network that `holon up` runs")).hint("choose another name"))
        }
        true => Ok(()),
        false => Err(Failure::usage(format!("\"{name}\" is no name for a network"))
            .hint(format!("write up to {NAME_LIMIT_CHARS} letters, digits, -, _ and ., no sign first"))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn networks_are_kept_as_they_are_and_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holon").join(FILE);
        assert_eq!(Profiles::of(&path).unwrap(), Profiles::default());
        let profile = Profile {
            mu_url: Some("https://mu.example/".parse().unwrap()),
            scheduler: Some(Address::from_bytes([1; 32])),
            authorities: vec![Address::from_bytes([2; 32])],
            ..Profile::default()
        };
        let profiles = Profiles { used: Some("team".into()), networks: [("team".to_owned(), profile)].into() };
        profiles.write_to(&path).unwrap();
        profiles.write_to(&path).unwrap();
        assert_eq!(Profiles::of(&path).unwrap(), profiles);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_file_that_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, "[networks.a]\nmu = 1").unwrap();
        let failure = Profiles::of(&path).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.message().contains("networks.toml"), "{}", failure.message());
    }

    #[test]
    fn names_are_short_words() {
        for good in ["team", "ao-test_2", "push.example"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".", "a b", "a/b", "local", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
