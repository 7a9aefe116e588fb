//! Memory for what strangers answer: a log entry may be an item of 10 MiB as JSON, and anybody can have a scheduler that answers
//! with as much to as many requests as there are places for.
//!
//! All of it comes from one room, of which one holder of hosts has a part of what is free at most: no number of greedy ones takes
//! it from the others. The beginning of every answer is free, so what is usual is never refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use url::Url;

use super::holder::holder;

/// Most bytes of the answers of all strangers that are held at a time, those that are free aside.
pub const MAX_FOREIGN_BYTES: usize = 512 * 1024 * 1024;
/// The part of what is free that one holder of hosts may have.
const FREE_PART: usize = 4;
/// Bytes of each answer that are free.
pub const FREE_BYTES: usize = 64 * 1024;

/// The room. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Foreign(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    holders: HashMap<String, usize>,
}

/// The room that one answer takes, until it is dropped.
#[derive(Debug)]
pub struct Share {
    foreign: Foreign,
    holder: String,
    read: usize,
    taken: usize,
}

impl Foreign {
    /// For an answer from this URL, of which nothing is there yet.
    pub fn share(&self, url: &Url) -> Share {
        Share { foreign: self.clone(), holder: holder(url), read: 0, taken: 0 }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes room for so many more bytes; `false` when there is none for them now.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let paid = self.read.saturating_add(bytes).saturating_sub(FREE_BYTES);
        let more = paid.saturating_sub(self.taken);
        if more > 0 {
            let mut taken = self.foreign.taken();
            let free = MAX_FOREIGN_BYTES - taken.all;
            let of_holder = taken.holders.get(&self.holder).copied().unwrap_or_default();
            if of_holder.saturating_add(more) > free / FREE_PART {
                return false;
            }
            taken.all += more;
            *taken.holders.entry(self.holder.clone()).or_default() += more;
        }
        self.read += bytes;
        self.taken += more;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.taken == 0 {
            return;
        }
        let mut taken = self.foreign.taken();
        taken.all -= self.taken;
        if let Some(count) = taken.holders.get_mut(&self.holder) {
            *count -= self.taken;
            if *count == 0 {
                taken.holders.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use holon_arweave::UrlPolicy;
    use holon_protocol::{ItemId, Nonce, ProcessId};
    use holon_unit::durations::Sent;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::guards::Guards;
    use crate::peers::{Http, PeerError, Schedulers};

    /// A scheduler whose answer is so large, and lacks its last byte until it is let go on.
    async fn large(bytes: usize) -> (Url, Arc<Semaphore>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let goes_on = Arc::new(Semaphore::new(0));
        let ends = Arc::clone(&goes_on);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let ends = Arc::clone(&ends);
                tokio::spawn(async move {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n");
                    let start = r#"{"assignment":{"tags":[{"name":"Nonce","value":"7"}]},"message":""#;
                    let body = format!("{start}{}\"", "x".repeat(bytes - start.len() - 2));
                    let _ = client.read(&mut [0; 4096]).await;
                    // Whoever has no room for it does not read it to its end.
                    if client.write_all(head.as_bytes()).await.is_ok()
                        && client.write_all(body.as_bytes()).await.is_ok()
                    {
                        let _permit = ends.acquire().await;
                        let _ = client.write_all(b"}").await;
                    }
                });
            }
        });
        (url, goes_on)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_strangers_answer_at_a_time_has_room_for_so_much_and_is_asked_for_again_later() {
        const LARGE: usize = MAX_FOREIGN_BYTES / 8;
        let policy = UrlPolicy { allow_private: true };
        let http = Http::new(policy, Guards::default(), Sent::new(), []).unwrap();
        let schedulers = Schedulers::new(http.clone(), Duration::from_secs(60));
        let (item, process) = (ItemId::from_bytes([1; 32]), ProcessId::from_bytes([2; 32]));
        let (url, goes_on) = large(LARGE).await;
        let ask = || {
            let (schedulers, url) = (schedulers.clone(), url.clone());
            tokio::spawn(async move { schedulers.assignment(&url, item, process).await })
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        let first = ask();
        while http.foreign().taken().all < LARGE - FREE_BYTES - 1 {
            assert!(Instant::now() < deadline, "the answer does not come in");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let second = tokio::time::timeout(Duration::from_secs(30), ask()).await.expect("it is not waited for").unwrap();
        assert!(matches!(second, Err(PeerError::Crowded { .. })), "{second:?}");
        goes_on.add_permits(1);
        assert_eq!(first.await.unwrap().unwrap().unwrap().nonce(), Some(Nonce(7)));
        assert_eq!(http.foreign().taken().all, 0);
        assert_eq!(ask().await.unwrap().unwrap().unwrap().nonce(), Some(Nonce(7)), "there is room again");
    }

    /// Takes what this one may have, in pieces.
    fn greedy(foreign: &Foreign, url: &str) -> (Vec<Share>, usize) {
        const PIECE: usize = 1024 * 1024;
        let (mut shares, mut all) = (Vec::new(), 0);
        loop {
            let mut share = foreign.share(&url.parse().unwrap());
            if !share.grow(FREE_BYTES + PIECE) {
                return (shares, all);
            }
            all += PIECE;
            shares.push(share);
        }
    }

    #[test]
    fn any_number_of_greedy_strangers_leaves_room_for_others_and_all_of_it_comes_back() {
        let foreign = Foreign::default();
        let mut held = Vec::new();
        let mut all = 0;
        for number in 0..100 {
            let (shares, bytes) = greedy(&foreign, &format!("http://{number}.example"));
            held.extend(shares);
            all += bytes;
        }
        assert!(all < MAX_FOREIGN_BYTES && foreign.taken().all == all);
        let mut small = foreign.share(&"http://other.example".parse().unwrap());
        assert!(small.grow(FREE_BYTES / 2) && small.grow(FREE_BYTES / 2), "what is usual is never refused");
        drop(held);
        let mut large = foreign.share(&"http://a.other.example".parse().unwrap());
        assert!(large.grow(MAX_FOREIGN_BYTES / 8));
        let mut beside = foreign.share(&"http://b.other.example".parse().unwrap());
        assert!(!beside.grow(MAX_FOREIGN_BYTES / 8), "names of one holder share its part");
        drop((small, large, beside));
        assert!(foreign.taken().all == 0 && foreign.taken().holders.is_empty());
    }
}
