//! How many requests are under way to each stranger, so that one slow stranger does not take every place, however many names,
//! addresses and ports it has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use url::Url;

use super::holder::holder;

/// Counts requests by whom they go to. Clones count together.
#[derive(Debug, Clone)]
pub struct Crowd {
    limit: usize,
    under_way: Arc<Mutex<HashMap<String, usize>>>,
}

/// A place among the requests to a holder of hosts, until it is dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Crowd,
    holder: String,
}

impl Crowd {
    /// At most `limit` places for each holder of hosts.
    pub fn new(limit: usize) -> Self {
        Self { limit, under_way: Arc::default() }
    }

    /// A place for a request to `url`, `None` when all are taken.
    pub fn enter(&self, url: &Url) -> Option<Place> {
        let holder = holder(url);
        let mut under_way = self.under_way();
        let count = under_way.entry(holder.clone()).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        drop(under_way);
        Some(Place { crowd: self.clone(), holder })
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.crowd.under_way();
        if let Some(count) = under_way.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Crowd;

    #[test]
    fn every_stranger_has_its_own_places_and_gets_them_back() {
        let crowd = Crowd::new(2);
        let [slow, too, other] = ["http://a.slow.example/a", "http://b.slow.example:81/", "http://other.example/"]
            .map(|url| url.parse().unwrap());
        let (first, second) = (crowd.enter(&slow), crowd.enter(&too));
        assert!(first.is_some() && second.is_some() && crowd.enter(&slow).is_none());
        assert!(crowd.enter(&other).is_some());
        drop(first);
        assert!(crowd.enter(&slow).is_some());
        drop(second);
        assert!(crowd.under_way().is_empty());
    }
}
