//! The keys of a local network, made at its first start.

use std::path::Path;
use std::thread;

use holon_devnet::units::Keys;
use holon_protocol::Signer;

use crate::failure::Failure;
use crate::wallet_file::{self, WalletType};

/// One wallet for each unit, and one that owns what is spawned at the first start.
#[derive(Debug)]
pub struct Wallets {
    /// The units' own.
    pub units: Keys,
    /// Publishes the counter and owns it.
    pub operator: Signer,
}

impl Wallets {
    /// Reads the wallets of a data folder, or makes them. RSA keys take a second each, so all are made at once.
    pub fn open(data: &Path, kind: WalletType) -> Result<Self, Failure> {
        let open = |name: &str| {
            let path = data.join("wallets").join(name);
            move || wallet_file::read_or_make(&path, kind).map(|(wallet, _)| wallet)
        };
        let [scheduler, messenger, compute, operator] = thread::scope(|threads| {
            ["su.json", "mu.json", "cu.json", "operator.json"]
                .map(|name| threads.spawn(open(name)))
                .map(|making| making.join().unwrap_or_else(|_| Err(Failure::network("making a wallet panicked"))))
        });
        let units = Keys { scheduler: scheduler?, messenger: messenger?, compute: compute? };
        Ok(Self { units, operator: operator? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wallets_stay_the_same_and_are_not_readable_by_others() {
        let root = tempfile::tempdir().unwrap();
        let made = Wallets::open(root.path(), WalletType::Ed25519).unwrap();
        let read = Wallets::open(root.path(), WalletType::Rsa).unwrap();
        assert_eq!(made.units.scheduler.address(), read.units.scheduler.address());
        assert_eq!(made.operator.address(), read.operator.address());
        assert_ne!(made.units.scheduler.address(), made.units.messenger.address());
        for name in ["su.json", "mu.json", "cu.json", "operator.json"] {
            assert!(!wallet_file::is_exposed(&root.path().join("wallets").join(name)), "{name}");
        }
    }
}
