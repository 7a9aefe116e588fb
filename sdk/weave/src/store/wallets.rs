//! Balances, which are only numbers here: nobody is charged.

use holon_protocol::{Address, ItemId};

use super::{Store, keys};
use crate::Error;

impl Store {
    /// Winston of a wallet.
    pub fn balance(&self, address: Address) -> Result<u128, Error> {
        match self.meta.get(keys::balance(address))? {
            Some(text) => std::str::from_utf8(&text)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Error::Damaged(format!("the balance of {address} is not a number"))),
            None => Ok(0),
        }
    }

    /// Replaces a wallet's balance by what `change` makes of it.
    pub fn change_balance(&self, address: Address, change: impl FnOnce(u128) -> u128) -> Result<u128, Error> {
        let _turn = self.write();
        let balance = change(self.balance(address)?);
        self.meta.insert(keys::balance(address), balance.to_string().into_bytes())?;
        Ok(balance)
    }

    /// Newest base-layer transaction of a wallet.
    pub fn last_transaction(&self, address: Address) -> Result<Option<ItemId>, Error> {
        self.meta.get(keys::last(address))?.map(|id| keys::id(&id)).transpose()
    }
}
