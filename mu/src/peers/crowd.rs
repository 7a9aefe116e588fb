//! How many requests are under way to each stranger, so that one slow stranger does not take every place, however many names,
//! addresses and ports it has, nor one host that of others below the same domain.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use url::Url;

use super::holder::{holder, host};

/// The part of all places that one holder of hosts may have: two of them leave some to others.
pub const HOLDER_PART: usize = 3;

/// Counts requests by whom they go to. Clones count together.
#[derive(Debug, Clone)]
pub struct Crowd {
    of_host: usize,
    of_holder: usize,
    under_way: Arc<Mutex<UnderWay>>,
}

#[derive(Debug, Default)]
struct UnderWay {
    hosts: HashMap<String, usize>,
    holders: HashMap<String, usize>,
}

/// A place among the requests to a host and its holder, until it is dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Crowd,
    host: String,
    holder: String,
}

impl Crowd {
    /// At most `of_host` places for each host, and for each holder of hosts its part of `all`: one in [`HOLDER_PART`]. How many there
    /// are in all is up to the caller.
    pub fn new(of_host: usize, all: usize) -> Self {
        Self { of_host, of_holder: (all / HOLDER_PART).max(1), under_way: Arc::default() }
    }

    /// A place for a request to `url`, `None` when all are taken.
    pub fn enter(&self, url: &Url) -> Option<Place> {
        let (host, holder) = (host(url), holder(url));
        let mut under_way = self.under_way();
        let of = |counts: &HashMap<String, usize>, name: &String| counts.get(name).copied().unwrap_or_default();
        if of(&under_way.hosts, &host) >= self.of_host || of(&under_way.holders, &holder) >= self.of_holder {
            return None;
        }
        *under_way.hosts.entry(host.clone()).or_default() += 1;
        *under_way.holders.entry(holder.clone()).or_default() += 1;
        drop(under_way);
        Some(Place { crowd: self.clone(), host, holder })
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One less; what has none left is forgotten.
pub fn less(counts: &mut HashMap<String, usize>, name: String) {
    if let Entry::Occupied(mut count) = counts.entry(name) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.crowd.under_way();
        less(&mut under_way.hosts, std::mem::take(&mut self.host));
        less(&mut under_way.holders, std::mem::take(&mut self.holder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_own_places_and_gets_them_back() {
        let crowd = Crowd::new(2, 12);
        let [slow, too, neighbour, other] =
            ["http://a.slow.example/a", "http://A.slow.example.:81/", "http://b.slow.example", "http://other.example/"]
                .map(|url| url.parse().unwrap());
        let (first, second) = (crowd.enter(&slow), crowd.enter(&too));
        assert!(first.is_some() && second.is_some() && crowd.enter(&slow).is_none(), "a port is no other host");
        assert!(crowd.enter(&neighbour).is_some(), "another host of the same domain is not shut out");
        assert!(crowd.enter(&other).is_some());
        drop(first);
        assert!(crowd.enter(&slow).is_some());
        drop(second);
        assert!(crowd.under_way().hosts.is_empty() && crowd.under_way().holders.is_empty());
    }

    #[test]
    fn whoever_has_any_number_of_hosts_leaves_two_thirds_of_the_places_to_others() {
        let crowd = Crowd::new(2, 12);
        let urls = (0..100).map(|number| format!("http://{number}.greedy.example").parse().unwrap());
        let places: Vec<_> = urls.filter_map(|url| crowd.enter(&url)).collect();
        assert_eq!(places.len(), 12 / HOLDER_PART);
        assert!(crowd.enter(&"http://other.example".parse().unwrap()).is_some());
    }
}
