//! States that are past and were found lately, for who asks for them again. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a state is kept after it was last asked for: who was told to come again for it does so within seconds.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(30);
/// How long a state is kept at most, however often somebody asks for it.
const KEPT_AT_MOST: Duration = Duration::from_secs(600);
/// Most states that are kept.
const KEPT_LIMIT: usize = 8;
/// Most bytes of linear memory that they have together. The newest one is kept however large it is: large ones take longest.
const KEPT_BYTES: u64 = 1 << 30;

/// What is kept; what was asked for last comes last.
#[derive(Debug)]
pub(super) struct Past<K, V> {
    kept: VecDeque<Kept<K, V>>,
}

#[derive(Debug)]
struct Kept<K, V> {
    key: K,
    value: V,
    bytes: u64,
    found: Instant,
    asked: Instant,
}

impl<K, V> Default for Past<K, V> {
    fn default() -> Self {
        Self { kept: VecDeque::new() }
    }
}

impl<K: PartialEq, V: Clone> Past<K, V> {
    /// What is kept under `key`; it stays from `now` on.
    pub fn get(&mut self, key: &K, now: Instant) -> Option<V> {
        let place = self.kept.iter().position(|kept| kept.key == *key)?;
        let kept = Kept { asked: now, ..self.kept.remove(place)? };
        let value = kept.value.clone();
        self.kept.push_back(kept);
        Some(value)
    }

    /// Keeps a value that has so many bytes. Those make room for it that were asked for longest ago; they are returned.
    pub fn insert(&mut self, key: K, value: V, bytes: u64, now: Instant) -> Vec<V> {
        let mut gone = self.remove(|kept| kept.key == key);
        self.kept.push_back(Kept { key, value, bytes, found: now, asked: now });
        let too_much = |kept: &VecDeque<Kept<K, V>>| {
            kept.len() > KEPT_LIMIT || kept.iter().map(|kept| kept.bytes).fold(0, u64::saturating_add) > KEPT_BYTES
        };
        while self.kept.len() > 1 && too_much(&self.kept) {
            gone.extend(self.kept.pop_front().map(|kept| kept.value));
        }
        gone
    }

    /// Takes out what nobody asked for in [`KEPT_FOR`], or what has been there for too long; everything if memory is `short`.
    pub fn expire(&mut self, now: Instant, short: bool) -> Vec<V> {
        self.remove(|kept| {
            short
                || now.saturating_duration_since(kept.asked) >= KEPT_FOR
                || now.saturating_duration_since(kept.found) >= KEPT_AT_MOST
        })
    }

    fn remove(&mut self, is_over: impl Fn(&Kept<K, V>) -> bool) -> Vec<V> {
        let (over, kept) = std::mem::take(&mut self.kept).into_iter().partition::<VecDeque<_>, _>(is_over);
        self.kept = kept;
        over.into_iter().map(|kept| kept.value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_kept_as_long_as_somebody_asks_for_it_from_time_to_time() {
        let (mut past, begin) = (Past::default(), Instant::now());
        past.insert(1, "one", 10, begin);
        past.insert(2, "two", 10, begin);
        let almost = begin + KEPT_FOR - Duration::from_millis(1);
        past.expire(almost, false);
        assert_eq!((past.get(&1, almost), past.get(&3, almost)), (Some("one"), None));
        past.expire(begin + KEPT_FOR, false);
        assert_eq!(past.get(&2, almost), None);
        past.expire(almost + KEPT_FOR, false);
        assert_eq!(past.get(&1, almost), None);
    }

    #[test]
    fn nothing_is_kept_for_ever_and_nothing_while_memory_is_short() {
        let (mut past, begin) = (Past::default(), Instant::now());
        past.insert(1, "one", 10, begin);
        let mut now = begin;
        while past.get(&1, now).is_some() {
            now += KEPT_FOR / 2;
            past.expire(now, false);
        }
        assert_eq!(now, begin + KEPT_AT_MOST);
        past.insert(2, "two", 10, now);
        assert_eq!(past.expire(now, true), ["two"]);
        assert_eq!(past.get(&2, now), None);
    }

    #[test]
    fn what_was_asked_for_last_stays_longest() {
        let (mut past, now) = (Past::default(), Instant::now());
        for key in 0..KEPT_LIMIT {
            past.insert(key, key, 1, now);
        }
        assert_eq!(past.get(&0, now), Some(0));
        assert_eq!(past.insert(100, 100, 1, now), [1]);
        assert_eq!(past.get(&0, now), Some(0));
    }

    #[test]
    fn few_are_kept_and_not_too_much_but_the_newest_always() {
        let (mut past, now) = (Past::default(), Instant::now());
        for key in 0..100 {
            past.insert(key, key, 1, now);
        }
        assert_eq!(past.kept.iter().map(|kept| kept.key).collect::<Vec<_>>(), (92..100).collect::<Vec<_>>());
        past.insert(100, 100, KEPT_BYTES - 2, now);
        assert_eq!(past.kept.iter().map(|kept| kept.key).collect::<Vec<_>>(), [98, 99, 100]);
        past.insert(101, 101, u64::MAX, now);
        assert_eq!((past.kept.len(), past.get(&101, now)), (1, Some(101)));
        // Found again, it is there once.
        past.insert(101, 7, 1, now);
        assert_eq!((past.kept.len(), past.get(&101, now)), (1, Some(7)));
    }
}
