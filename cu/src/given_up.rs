//! Messages whose evaluation took too long: for a while nobody tries them again.
//!
//! A message that runs into the wall-clock limit has no result, here and now; another unit, or this one on a quieter day,
//! may well get to one. So it is neither recorded nor forgotten: requests that need it are refused at once until the
//! pause is over, because a thread that tries again for each of them is a thread that does nothing else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use holon_protocol::ProcessId;

use crate::results::Key;

/// Most processes remembered.
const MAX_KEPT: usize = 10_000;

/// What has been given up lately. A process stands at one message, so there is at most one for each.
#[derive(Debug)]
pub struct GivenUp {
    pause: Duration,
    messages: Mutex<HashMap<ProcessId, (Key, Instant, String)>>,
}

impl GivenUp {
    /// Nothing yet; messages are tried again after `pause`.
    pub fn new(pause: Duration) -> Self {
        Self { pause, messages: Mutex::default() }
    }

    /// Why the message at `key` is not tried now.
    pub fn reason(&self, process: ProcessId, key: &Key) -> Option<String> {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, since, reason) = messages.get(&process)?;
        (at == key && since.elapsed() < self.pause).then(|| reason.clone())
    }

    /// Remembers that the message at `key` took too long.
    pub fn add(&self, process: ProcessId, key: Key, reason: String) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() >= MAX_KEPT {
            messages.retain(|_, (_, since, _)| since.elapsed() < self.pause);
            if messages.len() >= MAX_KEPT {
                messages.clear();
            }
        }
        messages.insert(process, (key, Instant::now(), reason));
    }
}

#[cfg(test)]
mod tests {
    use holon_protocol::Timestamp;

    use super::*;

    #[test]
    fn a_message_is_remembered_until_the_pause_is_over() {
        let process = ProcessId::from_bytes([1; 32]);
        let key = |ordinate| Key { timestamp: Timestamp(ordinate), ordinate, cron: None };
        let long = GivenUp::new(Duration::from_secs(3600));
        assert_eq!(long.reason(process, &key(1)), None);
        long.add(process, key(1), "too slow".into());
        assert_eq!(long.reason(process, &key(1)).as_deref(), Some("too slow"));
        assert_eq!(long.reason(process, &key(2)), None);
        let over = GivenUp::new(Duration::ZERO);
        over.add(process, key(1), "too slow".into());
        assert_eq!(over.reason(process, &key(1)), None);
    }
}
