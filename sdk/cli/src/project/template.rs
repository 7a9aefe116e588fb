//! What `holon init` writes: a small process whose tests pass.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{FILE, check_name};
use crate::failure::Failure;

/// The files, and what they are made of.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
    ("tests/jar.rs", include_str!("template/tests.rs.in")),
    (FILE, include_str!("template/holon.toml.in")),
    ("README.md", include_str!("template/README.md.in")),
    (".gitignore", "/target\n/.holon\n"),
];

/// Where a new project gets `holon-process` from.
#[derive(Debug, Clone)]
pub enum Sdk {
    /// The published crate of this program's version.
    Published,
    /// A folder, for example of a checkout.
    Folder(PathBuf),
}

/// Where the kit for processes lies beside this program's source.
const KIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../process");

impl Sdk {
    /// The one that goes with this program: that of its checkout while there is one, else the published one.
    pub fn usual() -> Self {
        match Path::new(KIT).join("Cargo.toml").is_file() {
            true => Self::Folder(PathBuf::from(KIT)),
            false => Self::Published,
        }
    }

    fn dependency(&self) -> Result<String, Failure> {
        match self {
            Self::Published => Ok(format!("\"{}\"", env!("CARGO_PKG_VERSION"))),
            Self::Folder(folder) => {
                let absolute = fs::canonicalize(folder)
                    .ok()
                    .filter(|folder| folder.join("Cargo.toml").is_file())
                    .ok_or_else(|| Failure::usage(format!("{} holds no crate", folder.display())))?;
                // A path in a TOML text in single quotes may hold anything but those.
                match absolute.to_str().filter(|path| !path.contains('\'')) {
                    Some(path) => Ok(format!("{{ path = '{path}' }}")),
                    None => Err(Failure::usage(format!(
                        "the path {} cannot be written into a manifest",
                        absolute.display()
                    ))),
                }
            }
        }
    }
}

/// Writes a project into a folder of its name, which must not exist or be empty.
pub fn create(folder: &Path, name: &str, sdk: &Sdk) -> Result<(), Failure> {
    check_name(name)?;
    let dependency = sdk.dependency()?;
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::usage(format!("{} is not empty", folder.display()))
            .hint("choose another name, or begin in another folder"));
    }
    for (path, text) in FILES {
        let path = folder.join(path);
        let text =
            text.replace("{name}", name).replace("{crate}", &name.replace('-', "_")).replace("{sdk}", &dependency);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.map_err(|error| Failure::network(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(())
}
