//! What one push may ask for at most: counts by origin, and the limits they are held against. No I/O and no clock.
//!
//! A storm (two processes that answer each other for ever, a message that doubles, spawns that spawn) is one push: all of
//! it descends from one client's item or one cron result. It is counted here, shares the messenger with the others push by
//! push ([`fair`](super::fair)), and ends where its budget does: the results that would go over it are dead letters, which
//! the operator can push all the same.

use std::collections::HashMap;

use holon_protocol::ItemId;
use serde::{Deserialize, Serialize};

use super::descent::Descent;

/// What one push may ask for. `0` of what may be unlimited means that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Most messages, spawns and assignments of one push; 0: any number.
    pub per_push: u64,
    /// Most steps from the beginning of a push; 0: any number.
    pub depth: u32,
    /// Most tasks of one push that wait in the outbox. What there is of all pushes is bounded by it.
    pub waiting: usize,
    /// Most messages, spawns and assignments of one process that are handed over in a second, over all pushes; 0: any
    /// number. What is more waits; nothing is lost by it.
    pub per_process_per_second: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { per_push: 0, depth: 0, waiting: 100_000, per_process_per_second: 0 }
    }
}

/// Which limit a result would go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// [`Budgets::per_push`].
    PerPush,
    /// [`Budgets::depth`].
    Depth,
    /// [`Budgets::waiting`], or the share of a push when the outbox is full.
    Waiting,
}

impl Limit {
    /// Name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::PerPush => "push",
            Self::Depth => "depth",
            Self::Waiting => "waiting",
        }
    }
}

/// A result asks for more than its push may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Spent {
    /// Which limit.
    pub limit: Limit,
    text: String,
}

/// What one push has had so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Messages, spawns and assignments that its results asked for.
    pub pushed: u64,
    /// Tasks of it that are left to do.
    #[serde(skip)]
    pub waiting: usize,
}

/// The accounts of all pushes that are under way.
#[derive(Debug, Default)]
pub struct Accounts {
    accounts: HashMap<ItemId, Account>,
}

impl Accounts {
    /// Takes in what was stored of an account.
    pub fn load(&mut self, origin: ItemId, pushed: u64) {
        self.accounts.entry(origin).or_default().pushed = pushed;
    }

    /// Forgets accounts of which nothing is left to do; their origins.
    pub fn settle(&mut self) -> Vec<ItemId> {
        let (open, settled): (HashMap<_, _>, HashMap<_, _>) =
            std::mem::take(&mut self.accounts).into_iter().partition(|(_, account)| account.waiting > 0);
        self.accounts = open;
        settled.into_keys().collect()
    }

    /// A task of a push is in the outbox.
    pub fn waits(&mut self, descent: &Descent) {
        if let Some(origin) = descent.origin {
            self.accounts.entry(origin).or_default().waiting += 1;
        }
    }

    /// A task of a push has left the outbox. `true`: it was the last one, and the account is gone.
    pub fn left(&mut self, descent: &Descent) -> bool {
        let Some(origin) = descent.origin else { return false };
        let Some(account) = self.accounts.get_mut(&origin) else { return false };
        account.waiting = account.waiting.saturating_sub(1);
        let last = account.waiting == 0;
        if last {
            self.accounts.remove(&origin);
        }
        last
    }

    /// Whether a result at `descent` may ask for `count` things now. They are counted if so; what the push has had then
    /// comes back. `total` tasks wait in the outbox, which is meant to hold `room` at most.
    ///
    /// # Errors
    /// When it would go over a limit; nothing is counted.
    pub fn spend(
        &mut self,
        budgets: &Budgets,
        descent: &Descent,
        count: usize,
        total: usize,
        room: usize,
    ) -> Result<Option<Account>, Spent> {
        let Some(origin) = descent.origin.filter(|_| count > 0) else { return Ok(None) };
        let pushes = self.accounts.len().max(1);
        let account = self.accounts.entry(origin).or_default();
        let spent = |limit, text| Err(Spent { limit, text });
        if budgets.depth > 0 && descent.depth >= budgets.depth {
            let depth = budgets.depth;
            return spent(Limit::Depth, format!("the push of {origin} is {depth} steps deep, which is the limit"));
        }
        let pushed = account.pushed.saturating_add(count as u64);
        if budgets.per_push > 0 && pushed > budgets.per_push {
            let (had, limit) = (account.pushed, budgets.per_push);
            let text = format!("the push of {origin} has had {had} of {limit} items; {count} more would be too many");
            return spent(Limit::PerPush, text);
        }
        // When the outbox is full, nobody may have more than an equal share of it, so that it does not grow any more.
        let share = if total >= room { room / pushes } else { usize::MAX };
        let most = budgets.waiting.min(share);
        if account.waiting.saturating_add(count) > most {
            let waiting = account.waiting;
            let text = format!(
                "{waiting} tasks of the push of {origin} wait already; with {count} more they would be over {most}"
            );
            return spent(Limit::Waiting, text);
        }
        account.pushed = pushed;
        Ok(Some(*account))
    }

    /// Gives a push its budget again, at the operator's wish.
    pub fn refill(&mut self, origin: ItemId) {
        if let Some(account) = self.accounts.get_mut(&origin) {
            account.pushed = 0;
        }
    }

    /// What a push has had, `None` when nothing of it is left to do.
    pub fn of(&self, origin: ItemId) -> Option<Account> {
        self.accounts.get(&origin).copied()
    }

    /// How many pushes are under way, and how many tasks the largest of them has.
    pub fn sizes(&self) -> (usize, usize) {
        (self.accounts.len(), self.accounts.values().map(|account| account.waiting).max().unwrap_or(0))
    }
}
