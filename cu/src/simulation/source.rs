//! A source of a log that is late, short, repetitive, disordered, lying, failing, and cut off in the middle of an answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_protocol::{ItemId, MessageId, Nonce, ProcessId, Tags, Timestamp, base64url, wire};
use tokio::sync::Notify;

use super::START;
use super::world::{Random, World, height, owner};
use crate::cron::Block;
use crate::error::Error;
use crate::hydrate::OnChain;
use crate::log::{Goal, Link, Log, Logs, Now, Page, Position, Range};

/// What a source does to an answer about the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Fails,
    /// Never answers: the evaluator is dropped while it waits.
    Hangs,
    Short,
    Empty,
    Repeats,
    Swaps,
    Leaves,
    FromTheStart,
    OtherChain,
    OtherProcess,
    Future,
    OtherEpoch,
    OtherMessage,
    OtherSignature,
}

impl Fault {
    pub(super) const ALL: [Self; 14] = [
        Self::Fails,
        Self::Hangs,
        Self::Short,
        Self::Empty,
        Self::Repeats,
        Self::Swaps,
        Self::Leaves,
        Self::FromTheStart,
        Self::OtherChain,
        Self::OtherProcess,
        Self::Future,
        Self::OtherEpoch,
        Self::OtherMessage,
        Self::OtherSignature,
    ];
}

/// A source of the world's log.
#[derive(Clone)]
pub(super) struct Source(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) world: World,
    /// Entries that the source has by now.
    pub(super) visible: AtomicU64,
    pub(super) script: Mutex<Script>,
    pub(super) hangs: Notify,
}

pub(super) struct Script {
    pub(super) random: Random,
    /// One answer in so many is bad; 0 is none.
    pub(super) bad: u64,
    /// Whether an answer has been given that no log can be.
    pub(super) lied: bool,
}

impl Source {
    pub(super) fn visible(&self) -> usize {
        self.0.visible.load(Ordering::Relaxed) as usize
    }

    /// The fault of the next answer, which is remembered if it changes what the answer says.
    pub(super) fn fault(&self) -> Option<(Fault, Random)> {
        let mut script = self.0.script.lock().unwrap();
        let bad = script.bad;
        if bad == 0 || !script.random.one_in(bad) {
            return None;
        }
        let at = script.random.below(Fault::ALL.len() as u64) as usize;
        let seed = script.random.next();
        Some((Fault::ALL[at], Random(seed)))
    }

    /// An answer about something else than pages: given, refused, or never.
    pub(super) async fn small<T>(&self, answer: T) -> Result<T, Error> {
        match self.fault() {
            Some((Fault::Fails, _)) => Err(failed()),
            Some((Fault::Hangs, _)) => self.hang().await,
            _ => Ok(answer),
        }
    }

    pub(super) async fn hang<T>(&self) -> T {
        self.0.hangs.notify_one();
        std::future::pending().await
    }

    /// Entries after `after` up to `goal`, and what the source makes of them.
    pub(super) async fn page(self, after: Option<Link>, goal: Goal) -> Result<Page, Error> {
        let world = &self.0.world;
        let fault = self.fault();
        let from = after.map_or(0, |link| link.nonce.0 as usize + 1);
        let mut random = match &fault {
            Some((_, random)) => random.clone(),
            None => Random(from as u64),
        };
        let whole: Vec<wire::Entry> = (from..self.visible())
            .filter(|at| !goal.excludes(&world.links[*at]) || *at == 0)
            .map(|at| world.entries[at].clone())
            .collect();
        let size = 1 + random.below(6) as usize;
        let mut entries: Vec<wire::Entry> = whole.iter().take(size).cloned().collect();
        let mut more = whole.len() > entries.len();
        let before = entries.clone();
        let last = entries.len().saturating_sub(1);
        let at = random.below(entries.len().max(1) as u64) as usize;
        match fault.map(|(fault, _)| fault) {
            None => {}
            Some(Fault::Fails) => return Err(failed()),
            Some(Fault::Hangs) => return self.hang().await,
            Some(Fault::Short) => {
                entries.truncate(at);
                more = random.one_in(2);
            }
            Some(Fault::Empty) => {
                entries.clear();
                more = random.one_in(2);
            }
            _ if entries.is_empty() => {}
            Some(Fault::Repeats) => entries.insert(at, entries[at].clone()),
            Some(Fault::Swaps) => entries.swap(at, last),
            Some(Fault::Leaves) => drop(entries.remove(at)),
            Some(Fault::FromTheStart) => entries.splice(0..0, world.entries[..from].iter().cloned()).for_each(drop),
            Some(Fault::OtherChain) => set(&mut entries[at], "Hash-Chain", &base64url::encode(random.bytes())),
            Some(Fault::OtherProcess) => set(&mut entries[at], "Process", &base64url::encode(random.bytes())),
            Some(Fault::Future) => set(&mut entries[at], "Timestamp", "4000000000000"),
            // Nobody but the scheduler knows in which epoch the log begins.
            Some(Fault::OtherEpoch) if from + at == 0 => set(&mut entries[at], "Nonce", "1"),
            Some(Fault::OtherEpoch) => set(&mut entries[at], "Epoch", "1"),
            Some(Fault::OtherMessage) => {
                let (signature, id) = random.signed();
                if let Some(message) = &mut entries[at].message {
                    (message.id, message.signature) = (id, signature);
                }
            }
            Some(Fault::OtherSignature) => entries[at].assignment.signature = base64url::encode(random.bytes()),
        }
        // A part from the front is late, not wrong. Who says that there is nothing else, and what time it is, says what cron
        // messages fire; so this source only says so when it is asked for entries.
        match whole.starts_with(&entries) {
            true if entries.len() < before.len() && !world.schedule.is_empty() && goal.end_is_open(from) => {
                if entries.is_empty() {
                    return Err(failed());
                }
                more = true;
            }
            true => {}
            false => self.0.script.lock().unwrap().lied = true,
        }
        let edges = entries.into_iter().map(|node| wire::Edge { node, cursor: String::new() }).collect();
        Ok(wire::Page { page_info: wire::PageInfo { has_next_page: more }, edges }.into())
    }
}

impl Goal {
    /// Whether cron messages may fire after the last entry: up to a time, or if there is no entry at `next`.
    pub(super) fn end_is_open(self, next: usize) -> bool {
        matches!(self, Self::Time(_) | Self::Latest) || self == Self::Slot(Nonce(next as u64))
    }
}

pub(super) fn set(entry: &mut wire::Entry, name: &str, value: &str) {
    let tags = &mut entry.assignment.tags.0;
    tags.iter_mut().filter(|tag| tag.name == name).for_each(|tag| tag.value = value.to_owned());
}

pub(super) fn failed() -> Error {
    Error::SchedulerUnreadable { what: "messages", reason: "simulated".into() }
}

impl Log for Source {
    fn record(&self) -> BoxFuture<'_, Result<wire::Process, Error>> {
        async { Err(failed()) }.boxed()
    }

    fn process_data(&self) -> BoxFuture<'_, Result<String, Error>> {
        self.small("data of the process".to_owned()).boxed()
    }

    fn page(&self, after: Option<Link>, goal: Goal) -> BoxFuture<'static, Result<Page, Error>> {
        Source::page(self.clone(), after, goal).boxed()
    }

    fn position(&self, message: MessageId) -> BoxFuture<'_, Result<Position, Error>> {
        let world = &self.0.world;
        let at = world
            .entries
            .iter()
            .position(|entry| entry.message.as_ref().is_some_and(|item| MessageId::from(item.id) == message));
        async move {
            let at =
                self.small(at).await?.ok_or(Error::NotInLog { message: message.to_string(), process: world.process });
            let link = world.links[at?];
            Ok(Position { process: world.process, timestamp: link.timestamp, nonce: link.nonce, entry: None })
        }
        .boxed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Option<Now>, Error>> {
        let (world, visible) = (&self.0.world, self.visible());
        let honest = self.0.script.lock().unwrap().bad == 0;
        let last = world.links[..visible].last().map_or(START, |link| link.clock.0);
        let next = world.links.get(visible).map_or(world.end.0, |link| link.clock.0);
        let now = match honest && visible == world.entries.len() {
            true => world.end.0,
            // Clocks go back as well; what they must not do is to promise more than there is.
            false => {
                let mut script = self.0.script.lock().unwrap();
                match script.random.one_in(4) {
                    true => script.random.below(last + 1),
                    false => last + script.random.below(next - last + 1),
                }
            }
        };
        let timestamp = Timestamp(now);
        async move { self.small(Some(Now { timestamp, block_height: height(timestamp) })).await }.boxed()
    }

    fn on_chain(&self, _: Nonce, item: ItemId, _: bool) -> BoxFuture<'_, Result<OnChain, Error>> {
        let found = OnChain {
            id: item,
            signature: "signature".into(),
            owner: owner(),
            tags: Tags::from_iter([("Action", "Assigned")]),
            recipient: String::new(),
            anchor: String::new(),
            data: item.to_string(),
        };
        self.small(found).boxed()
    }

    fn blocks(&self, range: Range) -> BoxFuture<'_, Result<Vec<Block>, Error>> {
        let blocks = self.0.world.blocks.iter().copied();
        let wanted = range.above..=range.through.max(range.needed);
        self.small(blocks.filter(|block| block.height > range.above && wanted.contains(&block.height)).collect())
            .boxed()
    }
}

/// The sources of all seeds.
#[derive(Default)]
pub(super) struct Directory(pub(super) Mutex<HashMap<ProcessId, Source>>);

impl Logs for Directory {
    fn open(&self, process: ProcessId) -> BoxFuture<'_, Result<Box<dyn Log>, Error>> {
        let source = self.0.lock().unwrap().get(&process).cloned();
        async move {
            let source = source.ok_or_else(failed)?;
            source.small(Box::new(source.clone()) as Box<dyn Log>).await
        }
        .boxed()
    }
}
