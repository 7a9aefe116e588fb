//! A folder with a process somebody writes: `holon.toml`, which says what it is and remembers where it was deployed.
//!
//! ```toml
//! [process]                     # written by people
//! name = "jar"
//! memory-limit = "64-mb"
//! compute-limit = 1000000000
//! [process.tags]
//! Denomination = "3"
//!
//! # Written by `holon deploy` …
//! [networks.local]
//! scheduler = "…"               # a network with another scheduler is another network
//! wasm-sha256 = "…"
//! module = "…"
//! process = "…"
//! ```

mod compile;
mod template;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use holon_protocol::{Address, ModuleId, ProcessId, Tag};
use serde::{Deserialize, Serialize};

pub use self::compile::{build, cargo, no_cargo};
pub use self::template::{Sdk, create};
use crate::failure::Failure;
use crate::record::write_whole;

/// Name of the file.
pub const FILE: &str = "holon.toml";
/// Everything behind this line is written by `holon deploy`.
const MARK: &str = "# Written by `holon deploy`: where it is on each network. Keep this with the project.";
/// Longest file, in bytes.
const FILE_LIMIT_BYTES: u64 = 1 << 20;
/// Longest name of a process, in characters.
const NAME_LIMIT_CHARS: usize = 64;

/// A project.
#[derive(Debug)]
pub struct Project {
    /// Its folder.
    pub folder: PathBuf,
    /// What people wrote.
    pub process: Process,
    /// Where it is, by the name of the network.
    pub networks: BTreeMap<String, Deployed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    process: Process,
    #[serde(default)]
    networks: BTreeMap<String, Deployed>,
}

/// The process a project makes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Process {
    /// What it is called, here and in its tag `Name`.
    pub name: String,
    /// Memory of each process of the module.
    #[serde(default = "usual_memory")]
    pub memory_limit: String,
    /// Gas for one message.
    #[serde(default = "usual_compute")]
    pub compute_limit: u64,
    /// Tags of a new process.
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

fn usual_memory() -> String {
    "64-mb".to_owned()
}

fn usual_compute() -> u64 {
    1_000_000_000
}

impl Process {
    /// Tags of a new process, its name first.
    pub fn tags(&self) -> impl Iterator<Item = Tag> {
        let own = self.tags.iter().filter(|(name, _)| *name != "Name").map(|(name, value)| Tag::new(name, value));
        std::iter::once(Tag::new("Name", self.tags.get("Name").unwrap_or(&self.name))).chain(own)
    }
}

/// Where a project is on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Deployed {
    /// Wallet of the scheduler that keeps the process.
    pub scheduler: Address,
    /// SHA-256 of the module's bytes.
    pub wasm_sha256: String,
    /// The module.
    pub module: ModuleId,
    /// The process.
    pub process: ProcessId,
}

impl Project {
    /// The project of this folder, or of the nearest one above.
    pub fn nearby() -> Result<Option<Self>, Failure> {
        let Ok(here) = std::env::current_dir() else { return Ok(None) };
        here.ancestors().find(|folder| folder.join(FILE).is_file()).map(Self::of).transpose()
    }

    /// The same, where there must be one.
    pub fn here() -> Result<Self, Failure> {
        Self::nearby()?.ok_or_else(|| {
            Failure::usage(format!("there is no {FILE} here or in a folder above"))
                .hint("begin a project with `holon init <name>`, or change into the folder of one")
        })
    }

    fn of(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        let unreadable = |error: std::io::Error| Failure::usage(format!("cannot read {}: {error}", path.display()));
        if fs::metadata(&path).map_err(unreadable)?.len() > FILE_LIMIT_BYTES {
            return Err(Failure::usage(format!("{} is larger than {FILE_LIMIT_BYTES} bytes", path.display())));
        }
        let text = fs::read_to_string(&path).map_err(unreadable)?;
        let File { process, networks } = toml::from_str(&text)
            .map_err(|error| Failure::usage(format!("{} is not as it should be: {error}", path.display())))?;
        check_name(&process.name)?;
        if holon_protocol::process::parse_memory_limit(&process.memory_limit).is_none_or(|bytes| bytes == 0) {
            return Err(Failure::usage(format!("the memory-limit \"{}\" is none", process.memory_limit))
                .hint("write <number>-<unit>, such as 64-mb or 1-gb"));
        }
        Ok(Self { folder: folder.to_owned(), process, networks })
    }

    /// Remembers where the project is. What people wrote stays as they wrote it.
    pub fn remember(&mut self, network: &str, deployed: Deployed) -> Result<(), Failure> {
        self.networks.insert(network.to_owned(), deployed);
        let path = self.folder.join(FILE);
        let failed =
            |error: &dyn std::fmt::Display| Failure::network(format!("cannot write {}: {error}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| failed(&error))?;
        #[derive(Serialize)]
        struct Written<'a> {
            networks: &'a BTreeMap<String, Deployed>,
        }
        let written = toml::to_string(&Written { networks: &self.networks }).map_err(|error| failed(&error))?;
        let own = text.split(MARK).next().unwrap_or_default().trim_end();
        let whole = format!("{own}\n\n{MARK}\n{written}");
        // Nobody may lose what was written by hand: what cannot be read again is not written.
        let again: File = toml::from_str(&whole).map_err(|error| failed(&error))?;
        debug_assert_eq!(again.networks, self.networks);
        write_whole(&path, whole.as_bytes()).map_err(|error| failed(&error))
    }
}

/// What a process and its package may be called.
pub fn check_name(name: &str) -> Result<(), Failure> {
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    match begins
        && letters
        && !name.ends_with('-')
        && name.len() <= NAME_LIMIT_CHARS
        && name != "counter"
        && name != "test"
    {
        true => Ok(()),
        false => Err(Failure::usage(format!("\"{name}\" is no name for a process")).hint(format!(
            "write up to {NAME_LIMIT_CHARS} of a-z, 0-9 and -, a letter first; `counter` and `test` are taken"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployed(first: u8) -> Deployed {
        Deployed {
            scheduler: Address::from_bytes([first; 32]),
            wasm_sha256: "00".repeat(32),
            module: ModuleId::from_bytes([first + 1; 32]),
            process: ProcessId::from_bytes([first + 2; 32]),
        }
    }

    fn project(text: &str) -> (tempfile::TempDir, Result<Project, Failure>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), text).unwrap();
        let project = Project::of(folder.path());
        (folder, project)
    }

    #[test]
    fn ids_are_remembered_by_network_and_what_people_wrote_stays() {
        let text = "# mine\n[process]\nname = \"jar\" # the name\n\n[process.tags]\nColour = \"red\"\n";
        let (folder, project) = project(text);
        let mut project = project.unwrap();
        project.remember("local", deployed(1)).unwrap();
        project.remember("arweave.net", deployed(4)).unwrap();
        project.remember("local", deployed(7)).unwrap();
        let again = Project::of(folder.path()).unwrap();
        assert_eq!(
            again.networks,
            BTreeMap::from([("local".to_owned(), deployed(7)), ("arweave.net".to_owned(), deployed(4))])
        );
        let written = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(written.starts_with(text.trim_end()), "{written}");
        assert_eq!(written.matches(MARK).count(), 1);
    }

    #[test]
    fn the_name_is_the_first_tag_unless_the_tags_have_another() {
        let tags =
            |text: &str| project(text).1.unwrap().process.tags().map(|tag| (tag.name, tag.value)).collect::<Vec<_>>();
        assert_eq!(tags("[process]\nname = \"jar\""), [("Name".into(), "jar".into())]);
        let named = tags("[process]\nname = \"jar\"\n[process.tags]\nA = \"1\"\nName = \"My jar\"");
        assert_eq!(named, [("Name".into(), "My jar".into()), ("A".into(), "1".into())]);
    }

    #[test]
    fn mistakes_in_the_file_are_named() {
        for (text, expected) in [
            ("[process]\nname = \"Jar\"", "no name for a process"),
            ("[process]\nname = \"counter\"", "no name for a process"),
            ("[process]\nname = \"jar\"\nmemory-limit = \"much\"", "memory-limit"),
            ("[process]\nname = \"jar\"\nmemory_limit = \"1-mb\"", "memory_limit"),
            ("name = \"jar\"", "holon.toml"),
        ] {
            let failure = project(text).1.unwrap_err();
            assert!(failure.message().contains(expected), "{text}: {}", failure.message());
            assert_eq!(failure.exit_code(), 2);
        }
    }
}
