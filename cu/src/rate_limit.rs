//! How many dry runs a client may ask for (spec 05 §2.7).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use holon_arweave::guard::is_public;

use crate::error::Error;

/// Most clients that are told apart. Of more, those that were quiet for longest are forgotten: whoever invents names gets no
/// other client refused.
const MAX_CLIENTS: usize = 100_000;
/// Longest name of a client, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Who asks: the name that a proxy gave the client, else the peer. A peer at a public address is no proxy of ours, and may have written
/// the header itself.
pub fn client(peer: Option<IpAddr>, named: Option<&str>) -> String {
    let named = named.map(str::trim).filter(|name| !name.is_empty() && name.len() <= MAX_NAME_BYTES);
    match (peer.map(|peer| peer.to_canonical()), named) {
        (Some(peer), Some(name)) if !is_public(peer) => name.to_owned(),
        (Some(peer), _) => peer.to_string(),
        (None, _) => String::new(),
    }
}

/// A sliding window of requests by client.
#[derive(Debug, Default)]
pub struct RateLimit {
    clients: Mutex<HashMap<String, Vec<Instant>>>,
}

impl RateLimit {
    /// Counts a request of `client`.
    pub fn count(&self, client: &str, window: Duration, limit: u32) -> Result<(), Error> {
        if window.is_zero() || limit == 0 {
            return Ok(());
        }
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(client) {
            make_room(&mut clients, window);
        }
        let times = clients.entry(client.to_owned()).or_default();
        times.retain(|time| time.elapsed() < window);
        if times.len() >= limit as usize {
            return Err(Error::RateLimit);
        }
        times.push(Instant::now());
        Ok(())
    }
}

/// Forgets who has no request in the window, and if that is not enough, the half that was quiet for longest.
fn make_room(clients: &mut HashMap<String, Vec<Instant>>, window: Duration) {
    clients.retain(|_, times| times.last().is_some_and(|last| last.elapsed() < window));
    if clients.len() < MAX_CLIENTS {
        return;
    }
    let mut last: Vec<Instant> = clients.values().filter_map(|times| times.last().copied()).collect();
    last.sort_unstable();
    let middle = last.get(last.len() / 2).copied();
    clients.retain(|_, times| times.last().copied() > middle);
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(3600);

    #[test]
    fn each_client_has_so_many_requests_in_a_window() {
        let limit = RateLimit::default();
        for _ in 0..2 {
            limit.count("a", WINDOW, 2).unwrap();
        }
        assert!(matches!(limit.count("a", WINDOW, 2), Err(Error::RateLimit)));
        limit.count("b", WINDOW, 2).unwrap();
        limit.count("a", Duration::from_nanos(1), 2).unwrap();
        limit.count("a", WINDOW, 0).unwrap();
    }

    #[test]
    fn invented_clients_take_the_place_of_quiet_ones_and_of_nobody_else() {
        let limit = RateLimit::default();
        for number in 0..MAX_CLIENTS {
            limit.count(&number.to_string(), WINDOW, 1).unwrap();
        }
        limit.count("honest", WINDOW, 1).unwrap();
        assert!(matches!(limit.count("honest", WINDOW, 1), Err(Error::RateLimit)));
        let kept = limit.clients.lock().unwrap().len();
        assert!((MAX_CLIENTS / 4..MAX_CLIENTS).contains(&kept), "{kept}");
    }

    #[test]
    fn only_a_proxy_of_ours_names_its_clients() {
        let peer = |address: &str| Some(address.parse().unwrap());
        for (address, named, expected) in [
            ("127.0.0.1", Some(" 9.9.9.9 "), "9.9.9.9"),
            ("10.1.2.3", Some("9.9.9.9"), "9.9.9.9"),
            ("::ffff:192.168.0.1", Some("9.9.9.9"), "9.9.9.9"),
            ("8.8.8.8", Some("9.9.9.9"), "8.8.8.8"),
            ("::ffff:8.8.8.8", Some("9.9.9.9"), "8.8.8.8"),
            ("127.0.0.1", Some(""), "127.0.0.1"),
            ("127.0.0.1", None, "127.0.0.1"),
        ] {
            assert_eq!(client(peer(address), named), expected, "{address}");
        }
        assert_eq!(client(peer("127.0.0.1"), Some(&"x".repeat(65))), "127.0.0.1");
        assert_eq!(client(None, Some("9.9.9.9")), "");
    }
}
