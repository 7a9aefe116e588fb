//! What one push may ask for at most: counts by origin, and the limits they are held against. No I/O and no clock.
//!
//! A storm (two processes that answer each other for ever, a message that doubles, spawns that spawn) is one push: all of
//! it descends from one client's item or one cron result. It is counted here, shares the messenger with the others push by
//! push ([`fair`](super::fair)), and ends where its budget does: the results that would go over it are dead letters, which
//! the operator can push all the same. Each cron result is a push of its own, so what all those of one process may have
//! waiting is limited as well: beyond it the process is not asked for cron results until there is room again.
//!
//! How much may wait depends on what is free, as in switches that share memory between their ports: nobody may have more
//! than a part of what is left, so any number of storms leaves something for others.

use std::collections::HashMap;

use holon_protocol::ItemId;
use serde::{Deserialize, Serialize};

use super::descent::Descent;

/// The part of the free room that one push, or the cron of one process, may have waiting.
const FREE_PART: usize = 4;
/// The part of the room that is shared equally between pushes, whatever is free.
const EQUAL_PART: usize = 2;

/// What one push may ask for. `0` of what may be unlimited means that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Most messages, spawns and assignments of one push; 0: any number.
    pub per_push: u64,
    /// Most steps from the beginning of a push; 0: any number.
    pub depth: u32,
    /// Most tasks of one push that wait in the outbox. What there is of all pushes is bounded by it.
    pub waiting: usize,
    /// Most tasks of all pushes that the cron of one process began, and those of the processes that descend from it. When so many
    /// wait, they are not asked for more. One that was born elsewhere has an account of its own.
    pub waiting_per_cron: usize,
    /// Most processes of one lineage that wake by themselves: of those that come of one client's item, through however many
    /// pushes and crons. Further ones are not monitored unless somebody asks for it; 0: any number.
    pub crons_per_lineage: usize,
    /// Most messages, spawns and assignments of one process that are handed over in a second, over all pushes; 0: any
    /// number. What is more waits; nothing is lost by it.
    pub per_process_per_second: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            per_push: 1_000_000,
            depth: 100_000,
            waiting: 100_000,
            waiting_per_cron: 50_000,
            crons_per_lineage: 1_000,
            per_process_per_second: 0,
        }
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
    /// [`Budgets::crons_per_lineage`].
    Crons,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::PerPush, Self::Depth, Self::Waiting, Self::Crons];

    /// Name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::PerPush => "push",
            Self::Depth => "depth",
            Self::Waiting => "waiting",
            Self::Crons => "crons",
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
    /// Tasks left to do of what the crons began that are accounted to this.
    crons: HashMap<ItemId, usize>,
}

impl Accounts {
    /// Takes in what was stored of an account, to which other messengers may have added.
    pub fn load(&mut self, origin: ItemId, pushed: u64) {
        let account = self.accounts.entry(origin).or_default();
        account.pushed = account.pushed.max(pushed);
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
        if let Some(lineage) = descent.cron {
            *self.crons.entry(lineage).or_default() += 1;
        }
        if let Some(origin) = descent.origin {
            self.accounts.entry(origin).or_default().waiting += 1;
        }
    }

    /// A task of a push has left the outbox. `true`: it was the last one, and the account is gone.
    pub fn left(&mut self, descent: &Descent) -> bool {
        if let Some(lineage) = descent.cron
            && let Some(waiting) = self.crons.get_mut(&lineage)
        {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.crons.remove(&lineage);
            }
        }
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
        // A refused push that has nothing left to do leaves no account behind.
        let account = self.accounts.get(&origin).copied().unwrap_or_default();
        let spent = |limit, text| Err(Spent { limit, text });
        if budgets.depth > 0 && descent.depth.saturating_sub(descent.granted) >= budgets.depth {
            let depth = budgets.depth;
            return spent(Limit::Depth, format!("the push of {origin} is {depth} steps deep, which is the limit"));
        }
        let pushed = account.pushed.saturating_add(count as u64);
        if budgets.per_push > 0 && pushed > budgets.per_push {
            let (had, limit) = (account.pushed, budgets.per_push);
            let text = format!("the push of {origin} has had {had} of {limit} items; {count} more would be too many");
            return spent(Limit::PerPush, text);
        }
        let most = budgets.waiting.min((room / EQUAL_PART / pushes).max(free(total, room)));
        // One that takes the place of its result makes nothing longer.
        if count > 1 && account.waiting.saturating_add(count) > most {
            let waiting = account.waiting;
            let text = format!(
                "{waiting} tasks of the push of {origin} wait already; with {count} more they would be over {most}"
            );
            return spent(Limit::Waiting, text);
        }
        let account = Account { pushed, ..account };
        self.accounts.insert(origin, account);
        Ok(Some(account))
    }

    /// How many more tasks the crons that are accounted to this may have waiting.
    pub fn cron_room(&self, budgets: &Budgets, account: ItemId, total: usize, room: usize) -> usize {
        let waiting = self.crons.get(&account).copied().unwrap_or_default();
        budgets.waiting_per_cron.min(free(total, room)).saturating_sub(waiting)
    }

    /// Gives a push its budget again, at the operator's wish.
    pub fn refill(&mut self, origin: ItemId) {
        if let Some(account) = self.accounts.get_mut(&origin) {
            account.pushed = 0;
        }
    }

    /// Forgets a push of which nothing is left to do.
    pub fn forget(&mut self, origin: ItemId) {
        if self.of(origin).is_some_and(|account| account.waiting == 0) {
            self.accounts.remove(&origin);
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

/// What one may have of the free room.
fn free(total: usize, room: usize) -> usize {
    room.saturating_sub(total) / FREE_PART
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: u64) -> ItemId {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        ItemId::from_bytes(bytes)
    }

    #[test]
    fn a_refused_push_leaves_no_account_behind() {
        let mut accounts = Accounts::default();
        let budgets = Budgets { per_push: 3, waiting: 2, ..Budgets::default() };
        for number in 0..1_000 {
            assert!(accounts.spend(&budgets, &Descent::of_origin(item(number)), 4, 0, 1_000).is_err());
            assert!(accounts.spend(&budgets, &Descent::of_origin(item(number)), 3, 0, 1_000).is_err());
        }
        assert_eq!(accounts.sizes(), (0, 0));
    }

    #[test]
    fn any_number_of_bombs_leaves_room_for_others() {
        const ROOM: usize = 100_000;
        for bombs in [1, 10, 100] {
            let (mut accounts, mut total) = (Accounts::default(), 0);
            for _ in 0..ROOM {
                let before = total;
                for bomb in 0..bombs {
                    let descent = Descent::of_origin(item(bomb));
                    if accounts.spend(&Budgets::default(), &descent, 50, total, ROOM).is_ok() {
                        (0..50).for_each(|_| accounts.waits(&descent));
                        total += 50;
                    }
                }
                if total == before {
                    break;
                }
            }
            assert!(total < ROOM - ROOM / 200, "{bombs} bombs fill {total}");
            let newcomer = Descent::of_origin(item(u64::MAX));
            assert!(accounts.spend(&Budgets::default(), &newcomer, 100, total, ROOM).is_ok());
        }
    }

    #[test]
    fn what_the_cron_of_one_process_has_waiting_is_limited_over_all_its_results() {
        let mut accounts = Accounts::default();
        let budgets = Budgets { waiting_per_cron: 100, ..Budgets::default() };
        let [one, other] = [1, 2].map(|byte| ItemId::from_bytes([byte; 32]));
        for number in 0..90 {
            accounts.waits(&Descent::of_cron(item(number), one));
        }
        assert_eq!(accounts.cron_room(&budgets, one, 90, 1_000_000), 10);
        assert_eq!(accounts.cron_room(&budgets, other, 90, 1_000_000), 100);
        assert_eq!(accounts.cron_room(&budgets, other, 1_000_000, 1_000_000), 0, "when all is full");
        for number in 0..90 {
            assert!(accounts.left(&Descent::of_cron(item(number), one)));
        }
        assert_eq!(accounts.cron_room(&budgets, one, 0, 1_000_000), 100);
        assert!(accounts.crons.is_empty());
    }

    #[test]
    fn who_died_of_depth_goes_on_as_deep_again_once_it_is_taken_up() {
        let mut accounts = Accounts::default();
        let budgets = Budgets { depth: 5, ..Budgets::default() };
        let deep = Descent { depth: 5, ..Descent::of_origin(item(1)) };
        assert_eq!(accounts.spend(&budgets, &deep, 1, 0, 100).unwrap_err().limit, Limit::Depth);
        let again = Descent { granted: 5, ..deep };
        assert!(accounts.spend(&budgets, &again, 1, 0, 100).is_ok());
        let below = (0..5).fold(again, |descent, _| descent.below(item(2)));
        assert_eq!(accounts.spend(&budgets, &below, 1, 0, 100).unwrap_err().limit, Limit::Depth);
    }
}
