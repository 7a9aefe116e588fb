//! The order in which a process sees its messages: log entries, cron messages between them, and for old processes the
//! process itself first (spec 05 §5.1, §5.6, §9). Pure.
//!
//! The shell feeds what it has read ([`Stream::feed`]), takes one [`Step`] after the other, and says what became of each
//! ([`Stream::done`]). What comes out depends on the log and the blocks only, never on how it was cut into pages or how
//! often somebody asked.

use std::collections::VecDeque;
use std::sync::Arc;

use holon_protocol::{BlockHeight, ProcessId, Timestamp};

use crate::cron::{Block, NextCron, Schedule, Walk, WalkState};
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
    /// Whether not everything that was said of it could be checked against signatures.
    pub unchecked: bool,
}

/// State of a process: where its last evaluated message stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Where its result is stored.
    pub key: Key,
    /// Height of the message.
    pub block_height: BlockHeight,
}

/// Where a stream stands, to go on from there after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The last evaluated message.
    pub last: Option<Position>,
    /// The last log entry that is done.
    pub link: Option<Link>,
    /// Cron messages after it.
    pub walk: WalkState,
}

impl Resume {
    /// What the clock of the process shows after the last message, evaluated or skipped; `None` at the start.
    pub fn clock(&self) -> Option<Timestamp> {
        let last = self.last.as_ref().map(|last| last.key.timestamp);
        last.max(self.link.map(|link| link.clock))
    }

    /// Whether cron messages have been evaluated since the last log entry.
    pub fn after_cron(&self) -> bool {
        self.last.as_ref().is_some_and(|last| {
            last.key.cron.is_some() && self.link.is_none_or(|link| link.nonce.0 == last.key.ordinate)
        })
    }
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

    /// A stream that goes on where another one of the same process stood. `None` when `resume` cannot belong to the process.
    pub fn resume(
        process: ProcessId,
        owner: String,
        origin: Block,
        schedule: Arc<Schedule>,
        resume: Resume,
    ) -> Option<Self> {
        let walk = Walk::resume(origin, &schedule, resume.walk)?;
        Some(Self {
            started: resume.last.is_some() || resume.link.is_some(),
            walk,
            left: resume.link.map_or(origin.timestamp, |link| link.clock),
            ordinate: resume.link.map_or(0, |link| link.nonce.0),
            last: resume.last,
            link: resume.link,
            ..Self::new(process, owner, origin, schedule)
        })
    }

    /// Where it stands: between two messages, whatever has been fed.
    pub fn standing(&self) -> Resume {
        Resume { last: self.last.clone(), link: self.link, walk: self.walk.state() }
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

    /// When the next cron message after those that were taken is due.
    pub fn next_cron(&self) -> NextCron {
        self.walk.next_due(&self.schedule)
    }

    /// Milliseconds between two blocks, on average.
    pub fn block_spacing_ms(&self) -> Option<u64> {
        self.walk.spacing_ms(&self.blocks)
    }

    /// Appends entries of the log. `right`, if given, is where cron messages after them end; `blocks` are those above
    /// [`Self::needs_above`] to the greatest height that counts for the entries and for `right`, ascending.
    pub fn feed(&mut self, entries: Vec<Scheduled>, blocks: Vec<Block>, right: Option<Timestamp>) {
        self.started = true;
        self.entries.extend(entries);
        // Those from before the process was made are nothing to it, although its scheduler may have learned of them later.
        self.blocks = blocks;
        self.blocks.retain(|block| block.timestamp > self.origin.timestamp);
        self.right = right;
    }

    /// Forgets what has been fed and not been taken.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.right = None;
    }

    /// Height above which blocks are needed.
    pub fn needs_above(&self) -> BlockHeight {
        self.walk.needs_above()
    }

    /// Height up to which blocks are needed for `entries`. Between two entries those count that the second one names.
    pub fn needs_through(&self, entries: &[Scheduled]) -> BlockHeight {
        let named = entries.iter().map(|entry| entry.message.block_height).max();
        self.walk.reached().max(named.unwrap_or_default())
    }

    /// A cron message that has been evaluated although `entry`, the next one of the log, is not later.
    pub fn too_early(&self, entry: &Scheduled) -> Option<Timestamp> {
        let last = &self.last.as_ref()?.key;
        let after_link = self.link.is_none_or(|link| link.nonce.0 == last.ordinate);
        (last.cron.is_some() && after_link && last.timestamp >= entry.link.clock).then_some(last.timestamp)
    }

    /// The next message. It stays the next one until [`Self::done`] is called.
    pub fn next(&mut self) -> Option<Step> {
        if let Some(message) = &self.prepended {
            let key = Key { timestamp: message.timestamp, ordinate: 0, cron: None };
            return Some(Step { message: message.clone(), key, source: Source::Prepended });
        }
        let right = self.entries.front().map(|entry| entry.link.clock).or(self.right)?;
        let last_interval = self.entries.is_empty();
        let counting = match self.entries.front() {
            Some(entry) => {
                let through = self.walk.reached().max(entry.message.block_height);
                self.blocks.partition_point(|block| block.height <= through)
            }
            None => self.blocks.len(),
        };
        if !self.schedule.is_empty()
            && (!last_interval || self.left.0 / 1000 < right.0 / 1000)
            && let Some(cron) = self.walk.peek(&self.schedule, &self.blocks[..counting], right)
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
        scheduled.message.block_height = message.block_height;
        let entry = Entry {
            link: scheduled.link,
            message_id: scheduled.message_id,
            identity: scheduled.identity.clone(),
            deduplicated: scheduled.deduplicated,
            unchecked: scheduled.unchecked.is_some(),
        };
        let key = Key { timestamp: entry.link.clock, ordinate: entry.link.nonce.0, cron: None };
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
                self.walk = self.walk.after(left);
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

    /// The last log entry that is done. Every one before it, and every cron message between them, is done.
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use holon_protocol::{AssignmentId, ItemId, Tags};
    use proptest::prelude::*;

    use super::*;
    use crate::hydrate::Identity;

    const START: u64 = 1_700_000_000_250;

    fn entry(nonce: u64, timestamp: u64, is_process: bool) -> Scheduled {
        let id = ItemId::from_bytes([nonce as u8; 32]);
        let link = Link::at(AssignmentId::from(id), nonce, timestamp);
        let message = Message {
            id: Some(id.to_string()),
            timestamp: Timestamp(timestamp),
            block_height: BlockHeight(100 + timestamp.saturating_sub(START) / 7000),
            ..Message::default()
        };
        Scheduled {
            message,
            link,
            message_id: id.into(),
            identity: Identity::Id(id),
            deduplicated: false,
            is_process,
            unchecked: None,
        }
    }

    fn stream(tags: &[(&str, &str)]) -> Stream {
        let origin = Block { timestamp: Timestamp(START), height: BlockHeight(100) };
        let schedule = Schedule::from_tags(&Tags::from_iter(tags.iter().copied())).unwrap();
        Stream::new(ProcessId::from_bytes([1; 32]), "me".into(), origin, Arc::new(schedule))
    }

    /// Takes every step, and some of them twice, as after a failure.
    fn drain(stream: &mut Stream, out: &mut Vec<(Key, Message)>, stumble: &mut impl FnMut() -> bool) {
        loop {
            let Some(step) = stream.next() else { return };
            if stumble() {
                stream.undo(step);
                continue;
            }
            out.push((step.key.clone(), step.message.clone()));
            stream.done(&step, true);
        }
    }

    fn blocks() -> Vec<Block> {
        (1..20)
            .map(|at| Block { timestamp: Timestamp((START / 1000 + at * 5) * 1000), height: BlockHeight(100 + at) })
            .collect()
    }

    const CRONS: [(&str, &str); 4] =
        [("Cron-Interval", "3-seconds"), ("Cron-Tag-Action", "T"), ("Cron-Interval", "2-blocks"), ("Cron-Tag-A", "B")];

    proptest! {
        #[test]
        fn pages_questions_and_failures_do_not_change_what_a_process_sees(
            // Clocks are set back, and two entries may be of one millisecond.
            gaps in prop::collection::vec(prop_oneof![4 => 1i64..6000, 1 => -4000i64..=0], 1..12),
            cuts in prop::collection::vec(any::<bool>(), 12),
            stumbles in prop::collection::vec(prop::bool::weighted(0.3), 200),
            crons in any::<bool>(),
            old in any::<bool>(),
        ) {
            let tags: &[(&str, &str)] = if crons { &CRONS } else { &[] };
            let (mut timestamp, mut clock) = (START, START);
            let mut entries = vec![entry(0, START, !old)];
            for (gap, nonce) in gaps.iter().zip(1..) {
                timestamp = timestamp.saturating_add_signed(*gap);
                clock = clock.max(timestamp);
                let mut entry = entry(nonce, timestamp, false);
                entry.link.clock = Timestamp(clock);
                entries.push(entry);
            }
            let end = Timestamp(clock);
            let right = crons.then_some(end);
            let process = Message { id: Some("process".into()), timestamp: Timestamp(START - 1), ..Message::default() };

            // At once.
            let mut whole = Vec::new();
            let mut one = stream(tags);
            prop_assert_eq!(one.needs_process(&entries), old);
            if old {
                one.prepend(process.clone());
            }
            one.feed(entries.clone(), blocks(), right);
            drain(&mut one, &mut whole, &mut || false);

            // In pages, with failures, and with somebody asking for cron results in between.
            let mut stumbles = stumbles.into_iter();
            let mut stumble = move || stumbles.next().unwrap_or(false);
            let mut pieces = Vec::new();
            let mut other = stream(tags);
            let mut page = Vec::new();
            for (entry, cut) in entries.iter().zip(cuts.into_iter().chain([true])) {
                page.push(entry.clone());
                if cut {
                    if other.needs_process(&page) {
                        other.prepend(process.clone());
                    }
                    let until = entry.link.clock;
                    other.feed(std::mem::take(&mut page), blocks(), crons.then_some(until));
                    drain(&mut other, &mut pieces, &mut stumble);
                }
            }
            if other.needs_process(&page) {
                other.prepend(process.clone());
            }
            other.feed(page, blocks(), right);
            drain(&mut other, &mut pieces, &mut stumble);
            prop_assert_eq!(&pieces, &whole);
            prop_assert_eq!(other.last(), one.last());
            prop_assert_eq!(other.link(), one.link());

            // With a restart after every message.
            let mut restarted = Vec::new();
            let mut stream = stream(tags);
            loop {
                let done = stream.link().map_or(0, |link| link.nonce.0 as usize + 1);
                if stream.needs_process(&entries[done..]) {
                    stream.prepend(process.clone());
                }
                stream.feed(entries[done..].to_vec(), blocks(), right);
                let Some(step) = stream.next() else { break };
                restarted.push((step.key.clone(), step.message.clone()));
                stream.done(&step, true);
                let schedule = stream.schedule.clone();
                stream = Stream::resume(stream.process, "me".into(), stream.origin, schedule, stream.standing()).unwrap();
            }
            prop_assert_eq!(&restarted, &whole);

            // Every entry once and in order, crons only where there are any.
            let nonces: Vec<_> = whole.iter().filter(|(key, message)| key.cron.is_none() && message.id.as_deref() != Some("process")).map(|(key, _)| key.ordinate).collect();
            prop_assert_eq!(nonces, (0..entries.len() as u64).collect::<Vec<_>>());
            prop_assert_eq!(whole[0].1.id.as_deref() == Some("process"), old);
            prop_assert!(crons || whole.iter().all(|(key, _)| key.cron.is_none()));
            // Keys are in the order of the log and the crons, whatever the entries say their times are, which processes see.
            prop_assert!(whole.is_sorted_by(|(before, _), (after, _)| before < after) || old);
            for (key, message) in whole.iter().filter(|(key, message)| key.cron.is_none() && message.id.as_deref() != Some("process")) {
                prop_assert_eq!(message.timestamp, entries[key.ordinate as usize].message.timestamp);
            }
            let mut keys: Vec<_> = whole.iter().map(|(key, _)| key).collect();
            keys.sort();
            keys.dedup();
            prop_assert_eq!(keys.len(), whole.len());
        }
    }

    #[test]
    fn blocks_from_before_the_process_do_not_fire() {
        let mut stream = stream(&[("Cron-Interval", "1-block")]);
        let block = |height, at: u64| Block { timestamp: Timestamp(at), height: BlockHeight(height) };
        // The scheduler had not heard of 101 when it made the process.
        let blocks = vec![block(101, START - 1000), block(102, START + 2000)];
        stream.feed(vec![entry(0, START, true)], blocks, Some(Timestamp(START + 9000)));
        let mut seen = Vec::new();
        drain(&mut stream, &mut seen, &mut || false);
        let seen: Vec<_> =
            seen.iter().map(|(key, message)| (key.timestamp.0 - START, message.block_height.0)).collect();
        assert_eq!(seen, [(0, 100), (2000, 102)]);
    }

    #[test]
    fn a_clock_that_is_set_back_fires_no_cron_twice_and_loses_none() {
        let mut stream = stream(&CRONS[..2]);
        let mut back = entry(2, START + 5000, false);
        back.link.clock = Timestamp(START + 7000);
        let entries = vec![entry(0, START, true), entry(1, START + 7000, false), back, entry(3, START + 9600, false)];
        stream.feed(entries, Vec::new(), None);
        let mut seen = Vec::new();
        drain(&mut stream, &mut seen, &mut || false);
        let seen: Vec<_> = seen
            .iter()
            .map(|(key, message)| (message.timestamp.0 - START, key.timestamp.0 - START, key.cron.is_some()))
            .collect();
        let (log, cron) = (false, true);
        let expected = [
            (0, 0, log),
            (3000, 3000, cron),
            (6000, 6000, cron),
            (7000, 7000, log),
            (5000, 7000, log),
            (9000, 9000, cron),
            (9600, 9600, log),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_entry_that_is_not_later_than_a_cron_message_is_noticed() {
        let mut stream = stream(&CRONS[..2]);
        stream.feed(vec![entry(0, START, true)], Vec::new(), Some(Timestamp(START + 7000)));
        drain(&mut stream, &mut Vec::new(), &mut || false);
        assert_eq!(stream.too_early(&entry(1, START + 6001, false)), None);
        assert_eq!(stream.too_early(&entry(1, START + 6000, false)), Some(Timestamp(START + 6000)));
    }

    #[test]
    fn crons_stop_at_the_right_end_and_go_on_from_there() {
        let mut stream = stream(&CRONS[..2]);
        stream.feed(vec![entry(0, START, true)], Vec::new(), Some(Timestamp(START + 7000)));
        let mut seen = Vec::new();
        drain(&mut stream, &mut seen, &mut || false);
        let times = |seen: &[(Key, Message)]| seen.iter().map(|(key, _)| key.timestamp.0 - START).collect::<Vec<_>>();
        assert_eq!(times(&seen), [0, 3000, 6000]);
        stream.feed(Vec::new(), Vec::new(), Some(Timestamp(START + 7000)));
        drain(&mut stream, &mut seen, &mut || false);
        stream.feed(vec![entry(1, START + 9500, false)], Vec::new(), Some(Timestamp(START + 9500)));
        drain(&mut stream, &mut seen, &mut || false);
        assert_eq!(times(&seen), [0, 3000, 6000, 9000, 9500]);
    }
}
