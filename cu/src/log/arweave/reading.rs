//! A log that is being read: window after window, with the next ones on their way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_protocol::chain::HashChain;
use holon_protocol::{ItemId, MessageId, Nonce, wire};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use super::read::{Part, Reader, Slot, Window};
use super::{AHEAD_BYTES, ArweaveLogs, Known, WINDOW, WINDOW_BYTES, find, lock};
use crate::cron::Block;
use crate::error::Error;
use crate::hydrate::OnChain;
use crate::log::{Fault, Goal, Link, Log, Logged, Now, Page, Position, Range, SlotError, verify};

/// Windows fetched ahead of the one that is being evaluated.
const AHEAD: u64 = 4;

/// A log that is being read.
pub struct Reading {
    logs: ArweaveLogs,
    known: Arc<Known>,
    head: OnceCell<Head>,
    /// What is left of the window that was read last.
    open: Mutex<Option<(u64, Window)>>,
    /// Windows that are being fetched, by number.
    windows: Mutex<BTreeMap<u64, Fetch>>,
}

/// Where the newest assignments stand.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// The greatest nonce among those that the scheduler signed.
    nonce: Option<u64>,
    /// Whether there was nothing else among them: what is not the scheduler's could have taken the place of later ones.
    clean: bool,
}

/// The slot after a link.
fn next(after: Option<Link>) -> u64 {
    after.map_or(0, |link| link.nonce.0 + 1)
}

/// A fetch that stops when nobody waits for it any more.
struct Fetch(JoinHandle<Window>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reading {
    /// Begins to read a log.
    pub(super) fn new(logs: ArweaveLogs, known: Arc<Known>) -> Self {
        Self { logs, known, head: OnceCell::new(), open: Mutex::default(), windows: Mutex::default() }
    }

    fn reader(&self) -> Reader<'_> {
        Reader { logs: &self.logs }
    }

    async fn head(&self) -> Result<Head, Error> {
        let look = || async {
            let claims = self.reader().claims_of(&self.known);
            let (slots, clean) = claims.newest().await?;
            Ok(Head { nonce: slots.into_iter().max(), clean })
        };
        self.head.get_or_try_init(look).await.copied()
    }

    /// A slot after `slot` that the log has, if it has any.
    async fn later(&self, slot: u64, head: Head) -> Result<Option<u64>, Error> {
        if let Some(later) = head.nonce.filter(|&nonce| nonce > slot) {
            return Ok(Some(later));
        }
        if head.clean {
            return Ok(None);
        }
        let claims = self.reader().claims_of(&self.known);
        let there = claims.there(&find::later(slot)).await?;
        Ok(there.into_iter().filter(|&later| later > slot).min())
    }

    /// A window in which the slot after `after` is, if it can be had, up to slot `last`. Those after it, up to there, are on their way then.
    async fn window(self: &Arc<Self>, after: Option<Link>, last: u64, head: Head) -> Result<Window, Error> {
        let first = next(after);
        let number = first / WINDOW;
        let _waiting = self.logs.0.counts.waiting_for(first);
        // Room is given back before more is asked for.
        let open = lock(&self.open).take();
        if let Some((_, window)) = open.filter(|(of, window)| *of == number && window.slots.contains_key(&first)) {
            return Ok(window);
        }
        let fetch = {
            let mut windows = lock(&self.windows);
            windows.retain(|&other, _| other >= number);
            windows.remove(&number)
        };
        let ahead = match fetch {
            Some(mut fetch) => Some((&mut fetch.0).await.map_err(|_| Error::Stopping)?),
            None => None,
        };
        let window = match ahead.filter(|window| !window.leaves(first)) {
            Some(window) => window,
            None => {
                let held = self.logs.0.needed.take(WINDOW_BYTES).await;
                let link = match after {
                    _ if !self.known.chained => None,
                    Some(after) => Some(after.hash_chain.next(after.assignment)),
                    None => Some(HashChain::first(self.known.process)),
                };
                let part = Part { number, first, last, head: head.nonce, limit_bytes: WINDOW_BYTES, link };
                let mut window = self.reader().window(&self.known, part).await;
                window.held = held;
                let bytes = window.bytes();
                window.held.shrink(bytes);
                window
            }
        };
        if window.bytes() <= AHEAD_BYTES && window.rest.is_empty() {
            self.look_ahead(number, last, head);
        }
        Ok(window)
    }

    fn look_ahead(self: &Arc<Self>, number: u64, last: u64, head: Head) {
        let mut windows = lock(&self.windows);
        let newest = head.nonce.map_or(number, |head| head.min(last) / WINDOW);
        for number in number + 1..=newest.min(number + AHEAD) {
            if windows.contains_key(&number) {
                continue;
            }
            let Some(held) = self.logs.0.ahead.try_take(AHEAD_BYTES) else { return };
            let (logs, known) = (self.logs.clone(), self.known.clone());
            let first = find::window(number).start;
            let part = Part { number, first, last, head: head.nonce, limit_bytes: AHEAD_BYTES, link: None };
            let fetch = async move {
                let mut window = Reader { logs: &logs }.window(&known, part).await;
                window.held = held;
                let bytes = window.bytes();
                window.held.shrink(bytes);
                window
            };
            windows.insert(number, Fetch(tokio::spawn(fetch)));
        }
    }

    /// The entries after `after` that lie in one window with the next one, and whether there are more.
    pub async fn read(self: Arc<Self>, after: Option<Link>, goal: Goal) -> Result<(Vec<(Link, Slot)>, bool), Error> {
        let process = self.known.process;
        let head = self.head().await?;
        let first = next(after);
        let number = first / WINDOW;
        let last = match goal {
            Goal::Slot(slot) => slot.0,
            Goal::Entry(..) | Goal::Time(_) | Goal::Latest => u64::MAX,
        };
        let mut window = self.window(after, last, head).await?;
        let mut link = after;
        let mut entries = Vec::new();
        let latest = verify::latest(&self.logs.0.clock);
        for nonce in find::window(number).skip_while(|&nonce| nonce < first) {
            if link.is_some_and(|link| goal.reached(&link)) {
                *lock(&self.open) = Some((number, window));
                return Ok((entries, false));
            }
            let Some(slot) = window.slots.remove(&nonce) else {
                // What lies before it is good and comes first; the next question meets what is wrong.
                return match self.absent(nonce, &window, goal, head).await {
                    Ok(None) => Ok((entries, false)),
                    _ if !entries.is_empty() => Ok((entries, true)),
                    Ok(Some(error)) | Err(error) => Err(error),
                };
            };
            let checked = verify::follow(&self.known.course(latest), link.as_ref(), &slot.entry());
            let next = match checked {
                Ok((_, next)) => next,
                Err(error) if entries.is_empty() => {
                    return Err(SlotError { process, slot: Nonce(nonce), fault: Fault::Log(error) }.into());
                }
                Err(_) => {
                    window.slots.insert(nonce, slot);
                    *lock(&self.open) = Some((number, window));
                    return Ok((entries, true));
                }
            };
            link = Some(next);
            entries.push((next, slot));
        }
        let Some(link) = link.filter(|link| !goal.reached(link)) else { return Ok((entries, false)) };
        Ok((entries, self.later(link.nonce.0, head).await?.is_some()))
    }

    /// Why there is nothing at a slot of a window; `None` when the log ends before it.
    async fn absent(&self, nonce: u64, window: &Window, goal: Goal, head: Head) -> Result<Option<Error>, Error> {
        let process = self.known.process;
        let wrong = |fault: Fault| Some(SlotError { process, slot: Nonce(nonce), fault }.into());
        if let Some(error) = window.failed.get(&nonce) {
            return Ok(Some(error.clone()));
        }
        let fault = window.faults.get(&nonce);
        let unclaimed = match fault {
            None => true,
            // Anybody can claim the slot after the last.
            Some(Fault::Assignment { .. } | Fault::Crowded { .. }) => false,
            Some(fault) => return Ok(wrong(fault.clone())),
        };
        if window.rest.contains(&nonce) || window.unseen.contains(&nonce) || head.nonce == Some(nonce) && unclaimed {
            let reason = format!("slot {nonce} of process {process} is known to the gateway, which does not give it");
            return Ok(Some(Error::Gateway(reason)));
        }
        let later = match window.later(nonce) {
            Some(later) => Some(later),
            None => self.later(nonce, head).await?,
        };
        let demanded = matches!(goal, Goal::Slot(slot) if slot != Nonce(u64::MAX));
        Ok(match (fault, later) {
            (Some(fault), Some(_)) => wrong(fault.clone()),
            (Some(fault), None) if demanded => wrong(fault.clone()),
            (Some(fault), None) => {
                tracing::warn!(%process, slot = nonce, %fault, "the log ends here: nothing after it is the scheduler's");
                None
            }
            (None, Some(later)) => wrong(Fault::Missing { later: Nonce(later) }),
            (None, None) => None,
        })
    }
}

impl Log for Arc<Reading> {
    fn is_signed(&self) -> bool {
        true
    }

    fn record(&self) -> BoxFuture<'_, Result<wire::Process, Error>> {
        let record = self.known.record.clone();
        async move { Ok(record) }.boxed()
    }

    fn process_data(&self) -> BoxFuture<'_, Result<String, Error>> {
        let data = self.known.item.data();
        async move { Ok(String::from_utf8_lossy(&data).into_owned()) }.boxed()
    }

    fn page(&self, after: Option<Link>, goal: Goal) -> BoxFuture<'static, Result<Page, Error>> {
        let reading = self.clone();
        async move {
            let (slots, more) = reading.read(after, goal).await?;
            let logged = |(_, slot): (Link, Slot)| Logged {
                entry: slot.entry(),
                on_chain: slot.into_on_chain(),
                verified: true,
            };
            Ok(Page { entries: slots.into_iter().map(logged).collect(), more })
        }
        .boxed()
    }

    fn position(&self, message: MessageId) -> BoxFuture<'_, Result<Position, Error>> {
        async move { self.reader().position(&self.known, message).await }.boxed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Option<Now>, Error>> {
        // Entries may exist that have not been uploaded: cron messages after the last known one could be too early.
        async { Ok(None) }.boxed()
    }

    fn on_chain(&self, slot: Nonce, item: ItemId, with_data: bool) -> BoxFuture<'_, Result<OnChain, Error>> {
        let again = (self.logs.0.retries, self.logs.0.backoff);
        self.logs.0.items.of_slot((self.known.process, slot), item, with_data, again).boxed()
    }

    fn blocks(&self, range: Range) -> BoxFuture<'_, Result<Vec<Block>, Error>> {
        let again = (self.logs.0.retries, self.logs.0.backoff);
        self.logs.0.blocks.of(self.logs.0.items.gateway(), range, again).boxed()
    }
}
