//! The order in which a process sees its messages: log entries, cron messages between them, and for old processes the
//! process itself first (spec 05 §5.1, §5.6, §9). Pure.
//!
//! The shell feeds what it has read ([`Stream::feed`]), takes one [`Step`] after the other, and says what became of each
//! ([`Stream::done`]). What comes out depends on the log and the blocks only, never on how it was cut into pages or how
//! often somebody asked.

use std::collections::VecDeque;
use std::sync::Arc;

use holon_protocol::{BlockHeight, ProcessId, Timestamp};

use crate::cron::{Block, Schedule, Walk};
use crate::hydrate::{Message, Scheduled};
use crate::log::Link;
use crate::results::Key;

/// Something to evaluate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What the process sees.
    pub message: Message,
    /// Where its result is stored.
    pub key: Key,
    /// Where it comes from.
    pub source: Source,
}

/// Where a message comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The process itself, put in front of an old log.
    Prepended,
    /// The log.
    Log(Box<Entry>),
    /// A cron.
    Cron,
}

/// A log entry without its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub link: Link,
    /// Id of the message.
    pub message_id: holon_protocol::MessageId,
    /// How it is recognised when it comes again.
    pub identity: crate::hydrate::Identity,
    /// Whether it must be skipped if it has been seen.
    pub deduplicated: bool,
}

/// State of a process: where its last evaluated message stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Where its result is stored.
    pub key: Key,
    /// Height of the message.
    pub block_height: BlockHeight,
}

/// The messages of one process, in order.
#[derive(Debug)]
pub struct Stream {
    process: ProcessId,
    owner: String,
    origin: Block,
    schedule: Arc<Schedule>,
    /// The process as its first message, for logs that do not start with it.
    prepended: Option<Message>,
    started: bool,
    entries: VecDeque<Scheduled>,
    blocks: Vec<Block>,
    /// Where cron messages end when there are no entries left.
    right: Option<Timestamp>,
    /// Cron messages after the last entry, and where that was.
    walk: Walk,
    left: Timestamp,
    ordinate: u64,
    last: Option<Position>,
    link: Option<Link>,
}

impl Stream {
    /// The stream of a process that nothing has been evaluated of. `owner` is the address the process sees, `origin` its
    /// block.
    pub fn new(process: ProcessId, owner: String, origin: Block, schedule: Arc<Schedule>) -> Self {
        Self {
            process,
            owner,
            origin,
            schedule,
            prepended: None,
            started: false,
            entries: VecDeque::new(),
            blocks: Vec::new(),
            right: None,
            walk: Walk::new(origin, origin),
            left: origin.timestamp,
            ordinate: 0,
            last: None,
            link: None,
        }
    }

    /// Whether the process has to be put in front of `entries`, the next ones of the log.
    pub fn needs_process(&self, entries: &[Scheduled]) -> bool {
        !self.started && self.prepended.is_none() && !entries.first().is_some_and(|first| first.is_process)
    }

    /// Puts the process in front.
    pub fn prepend(&mut self, process: Message) {
        self.prepended = Some(process);
    }

    /// Whether the process has cron messages at all.
    pub fn has_crons(&self) -> bool {
        !self.schedule.is_empty()
    }

    /// Appends entries of the log. `right`, if given, is where cron messages after them end; `blocks` are the known blocks
    /// from [`Self::block_height`] to there.
    pub fn feed(&mut self, entries: Vec<Scheduled>, blocks: Vec<Block>, right: Option<Timestamp>) {
        self.started = true;
        self.entries.extend(entries);
        self.blocks = blocks;
        self.right = right;
    }

    /// Forgets what has been fed and not been taken.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.right = None;
    }

    /// Height from which blocks are needed.
    pub fn block_height(&self) -> BlockHeight {
        self.walk.height()
    }

    /// The next message. It stays the next one until [`Self::done`] is called.
    pub fn next(&mut self) -> Option<Step> {
        if let Some(message) = &self.prepended {
            let key = Key { timestamp: message.timestamp, ordinate: 0, cron: None };
            return Some(Step { message: message.clone(), key, source: Source::Prepended });
        }
        let right = self.entries.front().map(|entry| entry.message.timestamp).or(self.right)?;
        let last_interval = self.entries.is_empty();
        if !self.schedule.is_empty()
            && (!last_interval || self.left.0 / 1000 < right.0 / 1000)
            && let Some(cron) = self.walk.peek(&self.schedule, &self.blocks, right)
        {
            let key = Key { timestamp: cron.timestamp, ordinate: self.ordinate, cron: Some(cron.id.clone()) };
            return Some(Step { message: Message::cron(self.process, &self.owner, &cron), key, source: Source::Cron });
        }
        if last_interval {
            return None;
        }
        // The message itself stays here until it is done; only one copy is made, and only of what the caller needs.
        let scheduled = self.entries.front_mut()?;
        let message = std::mem::take(&mut scheduled.message);
        scheduled.message.timestamp = message.timestamp;
        scheduled.message.block_height = message.block_height;
        let entry = Entry {
            link: scheduled.link,
            message_id: scheduled.message_id,
            identity: scheduled.identity.clone(),
            deduplicated: scheduled.deduplicated,
        };
        let key = Key { timestamp: message.timestamp, ordinate: entry.link.nonce.0, cron: None };
        Some(Step { message, key, source: Source::Log(Box::new(entry)) })
    }

    /// Takes note that the step is done: evaluated, or skipped as a duplicate.
    pub fn done(&mut self, step: &Step, evaluated: bool) {
        match &step.source {
            Source::Prepended => self.prepended = None,
            Source::Cron => self.walk.advance(),
            Source::Log(entry) => {
                self.entries.pop_front();
                self.ordinate = entry.link.nonce.0;
                self.left = step.key.timestamp;
                self.link = Some(entry.link);
                let left = Block { timestamp: step.key.timestamp, height: step.message.block_height };
                self.walk = Walk::new(self.origin, left);
            }
        }
        if evaluated {
            self.last = Some(Position { key: step.key.clone(), block_height: step.message.block_height });
        }
    }

    /// Gives a step back that could not be carried out.
    pub fn undo(&mut self, step: Step) {
        if let Source::Log(_) = step.source
            && let Some(scheduled) = self.entries.front_mut()
        {
            scheduled.message = step.message;
        }
    }

    /// The last evaluated message.
    pub fn last(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// The last log entry that is done. Every entry up to its time, and every cron message before it, is done.
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }
}
