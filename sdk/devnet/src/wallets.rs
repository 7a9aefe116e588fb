//! The wallets of a network: new ones, or those that its folder keeps.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use holon_protocol::Signer;

use crate::error::Error;
use crate::units::Keys;

/// Name of the folder.
const FOLDER: &str = "wallets";

/// New ones.
pub fn new() -> Result<Signer, Error> {
    Signer::generate_ed25519().map_err(|error| Error::Environment(error.to_string()))
}

/// Those of the units, made and kept in `folder` if it is one that stays.
pub fn of_units(folder: Option<&Path>) -> Result<Keys, Error> {
    Ok(Keys {
        scheduler: kept(folder, "scheduler")?,
        messenger: kept(folder, "messenger")?,
        compute: kept(folder, "compute")?,
    })
}

/// The wallet with this name: the one in `folder`, or a new one.
pub fn kept(folder: Option<&Path>, name: &str) -> Result<Signer, Error> {
    let Some(folder) = folder else { return new() };
    let path = folder.join(FOLDER).join(format!("{name}.json"));
    let failed = |error: io::Error| Error::Environment(format!("the wallet {}: {error}", path.display()));
    match fs::read_to_string(&path) {
        Ok(text) => Signer::from_jwk(&text)
            .map_err(|error| Error::Environment(format!("the wallet {}: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let wallet = new()?;
            write(&path, &wallet).map_err(failed)?;
            Ok(wallet)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whoever reads the file sees all of it; nobody else than its owner does.
fn write(path: &Path, wallet: &Signer) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(wallet.to_jwk().as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)
}
