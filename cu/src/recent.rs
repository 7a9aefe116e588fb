//! A bounded memory of what was used lately.

use std::collections::HashMap;
use std::hash::Hash;

/// Remembers at least half of its limit, and at most the limit: when half of it has come, what came before that is forgotten.
#[derive(Debug)]
pub struct Recent<K, V> {
    late: HashMap<K, V>,
    before: HashMap<K, V>,
    limit: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// Nothing yet; at most `limit` entries later.
    pub fn new(limit: usize) -> Self {
        Self { late: HashMap::new(), before: HashMap::new(), limit }
    }

    /// What is remembered under `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.late.get(key).or_else(|| self.before.get(key))
    }

    /// Remembers.
    pub fn insert(&mut self, key: K, value: V) {
        if self.late.len() >= self.limit / 2 {
            self.before = std::mem::take(&mut self.late);
        }
        self.late.insert(key, value);
    }

    /// Forgets what is remembered under `key`.
    pub fn remove(&mut self, key: &K) {
        self.late.remove(key);
        self.before.remove(key);
    }

    /// Forgets what is not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        self.late.retain(|_, value| keep(value));
        self.before.retain(|_, value| keep(value));
    }

    /// Number of entries, those that came again counted twice.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.late.len() + self.before.len()
    }
}
