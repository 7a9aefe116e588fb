//! Wallets in files: JWK text that only its owner may read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use holon_protocol::Signer;
use holon_protocol::signature::SignatureType;

use crate::failure::Failure;
use crate::record;

/// Kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WalletType {
    /// RSA-4096 (signature type 1): what aos, aoconnect and Arweave wallets use; 4 ms a signature
    Rsa,
    /// Ed25519 (signature type 2): 40 µs a signature
    Ed25519,
}

impl WalletType {
    /// A new key of this kind.
    pub fn generate(self) -> Result<Signer, Failure> {
        match self {
            Self::Rsa => Signer::generate_rsa(),
            Self::Ed25519 => Signer::generate_ed25519(),
        }
        .map_err(Failure::network)
    }
}

/// How a signature type is called here.
pub fn type_name(kind: SignatureType) -> &'static str {
    match kind {
        SignatureType::Arweave => "rsa",
        SignatureType::Ed25519 => "ed25519",
        SignatureType::Ethereum => "ethereum",
        SignatureType::Solana => "solana",
    }
}

/// Reads a wallet.
pub fn read(path: &Path) -> Result<Signer, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        let failure = Failure::usage(format!("cannot read the wallet {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::NotFound => failure.hint(format!("make one: holon wallet new --out {}", path.display())),
            _ => failure,
        }
    })?;
    Signer::from_jwk(&text).map_err(|error| {
        Failure::usage(format!("{}: {error}", path.display()))
            .hint("a wallet is a JWK file: RSA, Ed25519 (OKP) or secp256k1 (EC)")
    })
}

/// Writes a wallet that only its owner may read. Never overwrites one.
pub fn write(path: &Path, wallet: &Signer) -> Result<(), Failure> {
    let text = wallet.to_jwk();
    let attempt = || -> io::Result<()> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        // A key that is only half written would be lost for good, so it gets its name when it is whole.
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let new = PathBuf::from(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let linked =
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&new, path));
        fs::remove_file(&new)?;
        linked
    };
    attempt().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(format!("{} exists and is not overwritten", path.display()))
            .hint("name another file with --out"),
        _ => Failure::network(format!("cannot write the wallet {}: {error}", path.display())),
    })
}

/// Reads a wallet, or makes one. Says whether it was made.
pub fn read_or_make(path: &Path, kind: WalletType) -> Result<(Signer, bool), Failure> {
    if path.exists() {
        return Ok((read(path)?, false));
    }
    let wallet = kind.generate()?;
    write(path, &wallet)?;
    Ok((wallet, true))
}

/// Whether others than its owner may read the file.
pub fn is_exposed(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// The wallet that signs when none is named: `wallet.json` in the configuration folder.
pub fn default_path() -> Result<PathBuf, Failure> {
    let folder = record::config_folder()
        .ok_or_else(|| Failure::usage("there is no home folder for a wallet").hint("name a wallet with --wallet"))?;
    Ok(folder.join("wallet.json"))
}
