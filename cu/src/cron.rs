//! Cron messages of a process: what its tags ask for, and which messages that makes between two points of its log
//! (spec 05 §9). Pure.
//!
//! A [`Walk`] goes from one scheduled entry (or the process) towards the next in ticks of a second. It can be stopped at
//! any right end and continued later to a further one, and emits the same messages as one walk to that end: so how often
//! somebody asks for cron results does not change what the process sees.
//!
//! A gateway learns of a block some time after it was mined, and each gateway at another time. So what counts is not what a
//! gateway knows, but what the log says: the blocks of an interval are those up to the height that the entry at its end names,
//! which is what the scheduler knew then. A block that it learned of too late for the interval in which it was mined fires in
//! the next one, at its first tick. (Spec 05 §9.3 leaves open which blocks are "known".)

use std::collections::VecDeque;

use holon_protocol::{BlockHeight, Tags, Timestamp};

/// Length of a tick in milliseconds.
const TICK_MS: u64 = 1000;
/// How many blocks a miner's clock may be ahead: more than an hour and a half, where the network allows less than a minute.
const CLOCK_SKEW_BLOCKS: u64 = 50;
/// Most crons a process may define; tags of a data item cannot hold more.
const MAX_CRONS: usize = 128;

/// The cron tags of a process cannot be used; its evaluation fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// A `Cron-Tag-…` comes before any `Cron-Interval`.
    #[error("Cron-Tag {name:?} found before any Cron-Interval; put the interval first")]
    TagBeforeInterval {
        /// The tag's name.
        name: String,
    },
    /// A time interval below a second.
    #[error("time-based cron cannot be less than 1 second: {interval:?}")]
    TooShort {
        /// The interval as written.
        interval: String,
    },
    /// More crons than allowed.
    #[error("more than {MAX_CRONS} Cron-Interval tags")]
    TooMany,
}

/// A block as gateways report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// Milliseconds.
    pub timestamp: Timestamp,
    /// Height.
    pub height: BlockHeight,
}

/// One `Cron-Interval` with its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cron {
    /// The interval as written.
    interval: String,
    /// Blocks or seconds; `None` never fires.
    every: Option<u64>,
    tags: Tags,
}

/// What a process's tags ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// In the order of the tags.
    blocks: Vec<Cron>,
    /// Shortest first, else in the order of the tags.
    times: Vec<Cron>,
}

/// A cron message to evaluate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronMessage<'a> {
    /// `<index>-<interval as written>`.
    pub id: String,
    /// Its tags.
    pub tags: &'a Tags,
    /// When it fires.
    pub timestamp: Timestamp,
    /// Height of the last block seen.
    pub block_height: BlockHeight,
}

impl Schedule {
    /// Reads the tags of a process.
    pub fn from_tags(tags: &Tags) -> Result<Self, CronError> {
        enum Last {
            Block(usize),
            Time(usize),
        }
        let mut schedule = Self::default();
        let mut last = None;
        for tag in tags {
            if tag.name == "Cron-Interval" {
                if schedule.blocks.len() + schedule.times.len() == MAX_CRONS {
                    return Err(CronError::TooMany);
                }
                let interval = tag.value.clone();
                let mut parts = tag.value.split('-').map(str::trim);
                let (count, unit) = (parts.next().unwrap_or_default(), parts.next());
                if matches!(unit, Some("block" | "blocks")) {
                    let every = leading_integer(count).filter(|&every| every > 0);
                    schedule.blocks.push(Cron { interval, every, tags: Tags::default() });
                    last = Some(Last::Block(schedule.blocks.len() - 1));
                } else {
                    let every = unit.and_then(|unit| milliseconds(count, unit)).map(|length| (length / 1000.0) as u64);
                    if every == Some(0) {
                        return Err(CronError::TooShort { interval });
                    }
                    schedule.times.push(Cron { interval, every, tags: Tags::default() });
                    last = Some(Last::Time(schedule.times.len() - 1));
                }
            } else if let Some(name) = tag.name.strip_prefix("Cron-Tag-") {
                let cron = match last {
                    Some(Last::Block(at)) => &mut schedule.blocks[at],
                    Some(Last::Time(at)) => &mut schedule.times[at],
                    None => return Err(CronError::TagBeforeInterval { name: tag.name.clone() }),
                };
                cron.tags.push(name, tag.value.as_str());
            }
        }
        schedule.times.sort_by_key(|cron| cron.every.unwrap_or(u64::MAX));
        Ok(schedule)
    }

    /// Whether the process has no crons at all.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.times.is_empty()
    }
}

fn leading_integer(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    text[..digits].parse().ok()
}

/// The duration in milliseconds, `None` for what is not one.
fn milliseconds(count: &str, unit: &str) -> Option<f64> {
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let count: f64 = count.parse().ok()?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => 1.0,
        "s" | "sec" | "secs" | "second" | "seconds" => 1e3,
        "m" | "min" | "mins" | "minute" | "minutes" => 60e3,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600e3,
        "d" | "day" | "days" => 86_400e3,
        "w" | "week" | "weeks" => 7.0 * 86_400e3,
        "y" | "yr" | "yrs" | "year" | "years" => 365.25 * 86_400e3,
        _ => return None,
    };
    Some(count * unit)
}

/// When the next cron message of a process is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextCron {
    /// At this time, if no message comes before; else up to a second later.
    At(Timestamp),
    /// There will be none.
    Never,
    /// It depends on blocks to come.
    Unknown,
}

impl NextCron {
    /// The same for somebody who has evaluated everything up to `now`: a message that was due and has not fired waits for a
    /// block.
    pub fn after(self, now: Timestamp) -> Self {
        match self {
            Self::At(at) if at <= now => Self::Unknown,
            next => next,
        }
    }
}

/// Which cron has fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    /// A block cron, by its place in the schedule.
    Block(usize),
    /// A time cron, by its place in the schedule.
    Time(usize),
}

/// Where a [`Walk`] stands, to go on from there after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkState {
    /// Next tick, in milliseconds.
    pub tick: u64,
    /// Last block consumed.
    pub consumed: Block,
    /// Height of the current block.
    pub height: BlockHeight,
    /// What has fired and was not taken.
    pub fired: Vec<(Fired, Timestamp, BlockHeight)>,
}

/// Cron messages after one scheduled entry, in order.
#[derive(Debug, Clone)]
pub struct Walk {
    /// The process's own block.
    origin: Block,
    /// Next tick, in milliseconds.
    tick: u64,
    /// Last block consumed, with the time at which it fired. With height [`NONE`], none has been: the time is that of the left
    /// end.
    consumed: Block,
    /// Height of the current block; at first that of the left end.
    height: BlockHeight,
    fired: VecDeque<(Fired, Timestamp, BlockHeight)>,
}

/// No height.
const NONE: BlockHeight = BlockHeight(u64::MAX);

impl Walk {
    /// Starts after `left`, a scheduled entry or the process itself, of a process whose own block is `origin`.
    pub fn new(origin: Block, left: Block) -> Self {
        Self {
            origin,
            tick: left.timestamp.0,
            consumed: Block { timestamp: left.timestamp, height: NONE },
            height: left.height,
            fired: VecDeque::new(),
        }
    }

    /// Starts after `left`, the entry that this walk went to.
    pub fn after(&self, left: Block) -> Self {
        let mut walk = Self::new(self.origin, left);
        // A scheduler that asks several gateways may go back in height. What has been is over, all the same.
        let reached = self.reached();
        if reached > left.height {
            walk.consumed.height = reached;
        }
        walk
    }

    /// The greatest height that counts so far, whatever the entry at the right end names.
    pub fn reached(&self) -> BlockHeight {
        match self.consumed.height {
            NONE => self.height,
            consumed => self.height.max(consumed),
        }
    }

    /// The next block to be consumed.
    fn next_block(&self, blocks: &[Block]) -> Option<Block> {
        let consumed = self.consumed;
        let above = |height: BlockHeight| &blocks[blocks.partition_point(|block| block.height <= height)..];
        match consumed.height {
            // What the left end did not know of is late. What it knew counts if its time had not come.
            NONE => above(BlockHeight(self.height.0.saturating_sub(CLOCK_SKEW_BLOCKS)))
                .iter()
                .find(|block| block.height > self.height || block.timestamp > consumed.timestamp)
                .copied(),
            height => above(height).first().copied(),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> WalkState {
        let fired = self.fired.iter().copied().collect();
        WalkState { tick: self.tick, consumed: self.consumed, height: self.height, fired }
    }

    /// Goes on where another walk of the same process stood; `None` when `state` names crons that `schedule` does not have.
    pub fn resume(origin: Block, schedule: &Schedule, state: WalkState) -> Option<Self> {
        let known = |fired: &(Fired, Timestamp, BlockHeight)| match fired.0 {
            Fired::Block(index) => index < schedule.blocks.len(),
            Fired::Time(index) => index < schedule.times.len(),
        };
        let WalkState { tick, consumed, height, fired } = state;
        fired.iter().all(known).then(|| Self { origin, tick, consumed, height, fired: fired.into() })
    }

    /// Height above which blocks are needed to go on.
    ///
    /// A message may name a block whose own time, set by a miner's clock, is later than the message's. So blocks that are not above
    /// the last height count as well. What was mined before the process was made does not.
    pub fn needs_above(&self) -> BlockHeight {
        BlockHeight(self.height.0.saturating_sub(CLOCK_SKEW_BLOCKS).max(self.origin.height.0))
    }

    /// When the next message is due after those that [`Self::peek`] has given, as far as that can be said: when the next
    /// block comes, nobody knows.
    pub fn next_due(&self, schedule: &Schedule) -> NextCron {
        if let Some((_, timestamp, _)) = self.fired.front() {
            return NextCron::At(*timestamp);
        }
        if schedule.blocks.iter().any(|cron| cron.every.is_some()) {
            return NextCron::Unknown;
        }
        let (now, origin) = (self.tick / 1000, self.origin.timestamp.0 / 1000);
        let due = schedule.times.iter().filter_map(|cron| due(cron, now, origin)).min();
        let at = due.and_then(|due| due.saturating_sub(now).checked_mul(TICK_MS)?.checked_add(self.tick));
        at.map_or(NextCron::Never, |at| NextCron::At(Timestamp(at)))
    }

    /// The next message before `right`, or `None` when there is none; it stays the next one until [`Self::advance`].
    /// `blocks` ascends in height and holds the blocks above [`Self::needs_above`] that count.
    pub fn peek<'a>(&mut self, schedule: &'a Schedule, blocks: &[Block], right: Timestamp) -> Option<CronMessage<'a>> {
        loop {
            if let Some(&(fired, timestamp, block_height)) = self.fired.front() {
                let (index, cron) = match fired {
                    Fired::Block(index) => (index, &schedule.blocks[index]),
                    Fired::Time(index) => (index, &schedule.times[index]),
                };
                let id = format!("{index}-{}", cron.interval);
                return Some(CronMessage { id, tags: &cron.tags, timestamp, block_height });
            }
            if schedule.is_empty() {
                return None;
            }
            self.skip(schedule, blocks, right);
            if self.tick >= right.0 {
                return None;
            }
            self.step(schedule, blocks, right);
        }
    }

    /// Goes on to the message after the one that [`Self::peek`] gave.
    pub fn advance(&mut self) {
        self.fired.pop_front();
    }

    /// Leaves out the ticks at which nothing can happen, whatever their number: to the next one that takes a block or is a
    /// multiple of an interval, or the first that is not before `right`.
    fn skip(&mut self, schedule: &Schedule, blocks: &[Block], right: Timestamp) {
        if self.tick >= right.0 {
            return;
        }
        let (now, origin) = (self.tick / 1000, self.origin.timestamp.0 / 1000);
        let block = self.next_block(blocks).filter(|block| block.timestamp < right);
        let block = block.map(|block| block.timestamp.0 / 1000);
        let times = schedule.times.iter().filter_map(|cron| due(cron, now, origin));
        let due = times.chain(block).min();
        let end = (right.0 - self.tick).div_ceil(TICK_MS);
        let ticks = due.map_or(end, |due| due.saturating_sub(now).min(end));
        self.tick = self.tick.saturating_add(ticks.saturating_mul(TICK_MS));
    }

    fn step(&mut self, schedule: &Schedule, blocks: &[Block], right: Timestamp) {
        let tick = self.tick;
        self.tick = self.tick.saturating_add(TICK_MS);
        // At most one block is consumed per tick.
        if let Some(block) = self.next_block(blocks)
            && block.timestamp < right
            && tick / 1000 >= block.timestamp.0 / 1000
        {
            // One that comes late fires now: time does not go back.
            let late = block.timestamp <= self.consumed.timestamp;
            let timestamp = if late { Timestamp(tick) } else { block.timestamp };
            self.consumed = Block { timestamp, height: block.height };
            self.height = block.height;
            let since = block.height.0.checked_sub(self.origin.height.0).filter(|&since| since > 0);
            for (index, cron) in schedule.blocks.iter().enumerate() {
                if fires(cron, since) {
                    self.fired.push_back((Fired::Block(index), timestamp, block.height));
                }
            }
        }
        let since = (tick / 1000).checked_sub(self.origin.timestamp.0 / 1000).filter(|&since| since > 0);
        for (index, cron) in schedule.times.iter().enumerate() {
            if fires(cron, since) {
                self.fired.push_back((Fired::Time(index), Timestamp(tick), self.height));
            }
        }
    }
}

/// The first second from `now` on at which a time cron of a process from `origin` fires.
fn due(cron: &Cron, now: u64, origin: u64) -> Option<u64> {
    let every = cron.every?;
    // The first multiple is one interval after the origin.
    let since = now.saturating_sub(origin).max(1).checked_next_multiple_of(every)?;
    origin.checked_add(since)
}

fn fires(cron: &Cron, since: Option<u64>) -> bool {
    matches!((cron.every, since), (Some(every), Some(since)) if since.is_multiple_of(every))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(height: u64, timestamp: u64) -> Block {
        Block { timestamp: Timestamp(timestamp), height: BlockHeight(height) }
    }

    fn example() -> (Schedule, Vec<Block>) {
        let tags = Tags::from_iter([
            ("Cron-Interval", "10-seconds"),
            ("Cron-Tag-Action", "Tick10"),
            ("Cron-Interval", "2-blocks"),
            ("Cron-Tag-Action", "Blk"),
            ("Cron-Interval", "5-seconds"),
            ("Cron-Tag-Action", "Tick5"),
        ]);
        let blocks =
            vec![block(101, 1000003000), block(102, 1000007000), block(103, 1000007400), block(104, 1000021000)];
        (Schedule::from_tags(&tags).unwrap(), blocks)
    }

    fn walk(schedule: &Schedule, blocks: &[Block], origin: Block, left: Block, right: u64) -> Vec<(String, u64, u64)> {
        let mut walk = Walk::new(origin, left);
        let mut out = Vec::new();
        while let Some(cron) = walk.peek(schedule, blocks, Timestamp(right)) {
            out.push((cron.id, cron.timestamp.0, cron.block_height.0));
            walk.advance();
        }
        out
    }

    fn rows(rows: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
        rows.iter().map(|&(id, timestamp, height)| (id.to_owned(), timestamp, height)).collect()
    }

    #[test]
    fn the_worked_example_of_the_specification_comes_out_exactly() {
        let (schedule, blocks) = example();
        let origin = block(100, 1000000250);
        assert_eq!(
            walk(&schedule, &blocks, origin, origin, 1000010900),
            rows(&[
                ("0-5-seconds", 1000005250, 101),
                ("0-2-blocks", 1000007000, 102),
                ("0-5-seconds", 1000010250, 103),
                ("1-10-seconds", 1000010250, 103),
            ])
        );
        assert_eq!(
            walk(&schedule, &blocks, origin, block(103, 1000010900), 1000022000),
            rows(&[
                ("0-5-seconds", 1000010900, 103),
                ("1-10-seconds", 1000010900, 103),
                ("0-5-seconds", 1000015900, 103),
                ("0-5-seconds", 1000020900, 103),
                ("1-10-seconds", 1000020900, 103),
                ("0-2-blocks", 1000021000, 104),
            ])
        );
    }

    #[test]
    fn a_message_that_was_due_and_has_not_fired_waits_for_a_block() {
        assert_eq!(NextCron::At(Timestamp(5)).after(Timestamp(5)), NextCron::Unknown);
        assert_eq!(NextCron::At(Timestamp(6)).after(Timestamp(5)), NextCron::At(Timestamp(6)));
        assert_eq!(NextCron::Never.after(Timestamp(5)), NextCron::Never);
    }

    #[test]
    fn the_next_message_is_due_when_the_walk_emits_it() {
        let tags = |pairs: &[(&str, &str)]| Schedule::from_tags(&pairs.iter().copied().collect()).unwrap();
        let schedule = tags(&[("Cron-Interval", "10-seconds"), ("Cron-Interval", "7-seconds")]);
        let origin = block(100, 1_000_000_250);
        let mut walk = Walk::new(origin, origin);
        let mut expected = Vec::new();
        for step in 0..400 {
            let right = Timestamp(origin.timestamp.0 + step * 333);
            let promised = walk.next_due(&schedule);
            while let Some(cron) = walk.peek(&schedule, &[], right) {
                expected.push((promised, cron.timestamp));
                walk.advance();
            }
        }
        assert!(expected.len() > 25);
        // Messages of one tick come together; the first of them was promised.
        expected.dedup_by_key(|(promised, _)| *promised);
        for (promised, at) in expected {
            assert_eq!(promised, NextCron::At(at));
        }
        assert_eq!(Walk::new(origin, origin).next_due(&Schedule::default()), NextCron::Never);
        let blocks = tags(&[("Cron-Interval", "1-second"), ("Cron-Interval", "2-blocks")]);
        assert_eq!(Walk::new(origin, origin).next_due(&blocks), NextCron::Unknown);
    }

    /// The worked example as a process sees it: its own entry, crons, a message, and crons again, with the ordinates of their
    /// keys and the exact texts.
    #[test]
    fn the_worked_example_comes_out_of_the_stream_with_its_ordinates_and_texts() {
        use holon_protocol::chain::HashChain;
        use holon_protocol::{AssignmentId, ItemId, Nonce, ProcessId};

        use crate::hydrate::{Identity, Message, Scheduled};
        use crate::log::Link;
        use crate::stream::Stream;

        let (schedule, blocks) = example();
        let process = ProcessId::from_bytes([1; 32]);
        let mut stream = Stream::new(process, "me".into(), block(100, 1000000250), std::sync::Arc::new(schedule));
        let entry = |nonce: u64, timestamp, height| {
            let id = ItemId::from_bytes([nonce as u8; 32]);
            let timestamp = Timestamp(timestamp);
            let hash_chain = HashChain::of([0; 32]);
            let assignment = AssignmentId::from(id);
            Scheduled {
                message: Message { timestamp, block_height: BlockHeight(height), ..Message::default() },
                link: Link { assignment, hash_chain, epoch: 0, nonce: Nonce(nonce), timestamp },
                message_id: id.into(),
                identity: Identity::Id(id),
                deduplicated: false,
                is_process: nonce == 0,
            }
        };
        let entries = vec![entry(0, 1000000250, 100), entry(1, 1000010900, 103)];
        stream.feed(entries, blocks, Some(Timestamp(1000022000)));
        let mut seen = Vec::new();
        while let Some(step) = stream.next() {
            let mut text = String::new();
            step.message.write(&mut text);
            seen.push((step.key.timestamp.0, step.key.ordinate, step.key.cron.clone(), text));
            stream.done(&step, true);
        }
        let keys: Vec<_> = seen.iter().map(|(at, ordinate, cron, _)| (*at, *ordinate, cron.as_deref())).collect();
        let (five, ten, blk) = (Some("0-5-seconds"), Some("1-10-seconds"), Some("0-2-blocks"));
        let expected = [
            (1000000250, 0, None),
            (1000005250, 0, five),
            (1000007000, 0, blk),
            (1000010250, 0, five),
            (1000010250, 0, ten),
            (1000010900, 1, None),
            (1000010900, 1, five),
            (1000010900, 1, ten),
            (1000015900, 1, five),
            (1000020900, 1, five),
            (1000020900, 1, ten),
            (1000021000, 1, blk),
        ];
        assert_eq!(keys, expected);
        let cron = |action: &str, at: u64, height: u64| {
            format!(
                "{{\"Owner\":\"me\",\"Target\":\"{process}\",\"From\":\"me\",\"Tags\":[{{\"name\":\"Action\",\"value\":\"{action}\"}}],\
                 \"Timestamp\":{at},\"Block-Height\":{height},\"Cron\":true,\"Read-Only\":false}}"
            )
        };
        assert_eq!(seen[1].3, cron("Tick5", 1000005250, 101));
        assert_eq!(seen[2].3, cron("Blk", 1000007000, 102));
        assert_eq!(seen[4].3, cron("Tick10", 1000010250, 103));
        assert_eq!(seen[11].3, cron("Blk", 1000021000, 104));
    }

    #[test]
    fn a_block_that_the_scheduler_learned_of_late_fires_once_in_the_next_interval() {
        let schedule = Schedule::from_tags(&Tags::from_iter([("Cron-Interval", "1-block")])).unwrap();
        let origin = block(100, 1_000_000_000);
        let blocks = [block(101, 1_000_003_000), block(102, 1_000_006_000), block(103, 1_000_007_000)];
        let mut crons = Vec::new();
        let mut go = |walk: &mut Walk, known: usize, right: u64| {
            while let Some(cron) = walk.peek(&schedule, &blocks[..known], Timestamp(right)) {
                crons.push((cron.timestamp.0, cron.block_height.0));
                walk.advance();
            }
        };
        // The entry names 101 although 102 was there. The next one names 103, the one after that goes back.
        let mut walk = Walk::new(origin, origin);
        go(&mut walk, 1, 1_000_006_500);
        let mut walk = walk.after(block(101, 1_000_006_500));
        assert_eq!(walk.reached(), BlockHeight(101));
        go(&mut walk, 3, 1_000_009_100);
        let mut walk = walk.after(block(103, 1_000_009_100)).after(block(101, 1_000_009_200));
        assert_eq!(walk.reached(), BlockHeight(103));
        go(&mut walk, 3, 1_000_020_000);
        assert_eq!(crons, [(1_000_003_000, 101), (1_000_006_500, 102), (1_000_007_000, 103)]);
    }

    #[test]
    fn cron_tags_belong_to_the_interval_before_them() {
        let (schedule, _) = example();
        assert_eq!(schedule.times[0].tags, Tags::from_iter([("Action", "Tick5")]));
        assert_eq!(schedule.times[1].tags, Tags::from_iter([("Action", "Tick10")]));
        assert_eq!(schedule.blocks[0].tags, Tags::from_iter([("Action", "Blk")]));
        let early = Tags::from_iter([("Cron-Tag-Action", "x"), ("Cron-Interval", "1-second")]);
        assert!(matches!(Schedule::from_tags(&early), Err(CronError::TagBeforeInterval { .. })));
    }

    #[test]
    fn intervals_are_read_like_the_specification_says() {
        for (text, expected) in [
            ("1-second", Some(1)),
            ("1.5-Seconds", Some(1)),
            ("2-minutes", Some(120)),
            ("1-h", Some(3600)),
            ("1-week", Some(604_800)),
            ("2-years", Some(63_115_200)),
            (" 3 - days ", Some(259_200)),
            ("5000-ms", Some(5)),
            ("1-month", None),
            ("x-seconds", None),
            ("7", None),
        ] {
            let schedule = Schedule::from_tags(&Tags::from_iter([("Cron-Interval", text)])).unwrap();
            assert_eq!(schedule.times[0].every, expected, "{text}");
        }
        for text in ["999-ms", "0-seconds", "0.9-s"] {
            let result = Schedule::from_tags(&Tags::from_iter([("Cron-Interval", text)]));
            assert_eq!(result, Err(CronError::TooShort { interval: text.into() }));
        }
        for (text, expected) in [("10-blocks", Some(10)), ("1-block", Some(1)), ("0-blocks", None), ("x-blocks", None)]
        {
            let schedule = Schedule::from_tags(&Tags::from_iter([("Cron-Interval", text)])).unwrap();
            assert_eq!(schedule.blocks[0].every, expected, "{text}");
        }
    }

    /// The loop of spec 05 §9.3, tick by tick.
    fn naive(schedule: &Schedule, blocks: &[Block], origin: Block, left: Block, right: u64) -> Vec<(String, u64, u64)> {
        let mut queue: VecDeque<Block> = blocks.iter().copied().collect();
        queue.retain(|block| block.timestamp > left.timestamp || block.height > left.height);
        queue.retain(|block| block.timestamp.0 < right);
        let (mut current, mut out, mut t) = (left.height.0, Vec::new(), left.timestamp.0);
        let mut before = left.timestamp.0;
        let sec = |t: u64| t / 1000;
        while t < right {
            if queue.front().is_some_and(|block| sec(t) >= sec(block.timestamp.0)) {
                let block = queue.pop_front().unwrap();
                current = block.height.0;
                before = if block.timestamp.0 > before { block.timestamp.0 } else { t };
                for (index, cron) in schedule.blocks.iter().enumerate() {
                    let since = current.saturating_sub(origin.height.0);
                    if cron.every.is_some_and(|n| since > 0 && since.is_multiple_of(n)) {
                        out.push((format!("{index}-{}", cron.interval), before, current));
                    }
                }
            }
            let (now, start) = (sec(t), sec(origin.timestamp.0));
            for (index, cron) in schedule.times.iter().enumerate() {
                if cron.every.is_some_and(|n| now > start && (now - start).is_multiple_of(n)) {
                    out.push((format!("{index}-{}", cron.interval), t, current));
                }
            }
            t += 1000;
        }
        out
    }

    #[test]
    fn a_walk_over_any_length_of_time_ends_at_once() {
        let forever = u64::MAX - 1;
        let origin = block(1, 0);
        let never = Schedule::from_tags(&Tags::from_iter([("Cron-Interval", "x-seconds")])).unwrap();
        assert_eq!(walk(&never, &[], origin, origin, forever), []);
        let blocks = Schedule::from_tags(&Tags::from_iter([("Cron-Interval", "1-block")])).unwrap();
        let far = block(2, forever - 5000);
        assert_eq!(walk(&blocks, &[far], origin, origin, forever), rows(&[("0-1-block", far.timestamp.0, 2)]));
        let rare = Schedule::from_tags(&Tags::from_iter([("Cron-Interval", "100000000-years")])).unwrap();
        let every = 3_155_760_000_000_000_000;
        let expected = (1..=5).map(|at| ("0-100000000-years".to_owned(), at * every, 1)).collect::<Vec<_>>();
        assert_eq!(walk(&rare, &[], origin, origin, forever), expected);
    }

    proptest! {
        #[test]
        fn leaving_ticks_out_changes_nothing(
            origin in 1_000_000_000u64..1_000_005_000,
            lead in -3000i64..20_000,
            length in 0u64..90_000,
            gaps in prop::collection::vec(1u64..9000, 0..20),
            crons in prop::collection::vec((1u64..25, any::<bool>()), 0..4),
        ) {
            let tags = crons.iter().map(|(every, blocks)| {
                ("Cron-Interval".to_owned(), format!("{every}-{}", if *blocks { "blocks" } else { "seconds" }))
            });
            let tags: Vec<(String, String)> = tags.collect();
            let tags = Tags::from_iter(tags.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let schedule = Schedule::from_tags(&tags).unwrap();
            let left = block(103, origin.saturating_add_signed(lead));
            let origin = block(100, origin);
            let mut at = origin.timestamp.0;
            let blocks: Vec<Block> = gaps.iter().zip(101..).map(|(gap, height)| {
                at += gap;
                block(height, at)
            }).collect();
            let right = left.timestamp.0 + length;
            prop_assert_eq!(
                walk(&schedule, &blocks, origin, left, right),
                naive(&schedule, &blocks, origin, left, right)
            );
        }

        #[test]
        fn stopping_and_continuing_changes_nothing(
            remainder in 0u64..1000,
            gaps in prop::collection::vec(1u64..9, 0..20),
            stops in prop::collection::vec(0u64..60_000, 0..6),
        ) {
            let (schedule, _) = example();
            let origin = block(100, 1_000_000_000 + remainder);
            let mut at = 1_000_000_000;
            let mut blocks: Vec<Block> = gaps.iter().zip(101..).map(|(gap, height)| {
                at += gap * 1000;
                block(height, at)
            }).collect();
            blocks.sort();
            let end = 1_000_060_000;
            let whole = walk(&schedule, &blocks, origin, origin, end);
            let mut stops: Vec<u64> = stops.into_iter().map(|stop| 1_000_000_000 + stop).collect();
            stops.sort_unstable();
            stops.push(end);
            let mut walk = Walk::new(origin, origin);
            let mut pieces = Vec::new();
            for stop in stops {
                while let Some(cron) = walk.peek(&schedule, &blocks, Timestamp(stop)) {
                    pieces.push((cron.id, cron.timestamp.0, cron.block_height.0));
                    walk.advance();
                    // A restart between any two messages.
                    walk = Walk::resume(origin, &schedule, walk.state()).unwrap();
                }
            }
            prop_assert_eq!(&pieces, &whole);
            let mut seen = std::collections::HashSet::new();
            prop_assert!(whole.iter().all(|(id, timestamp, _)| seen.insert((id.clone(), *timestamp))));
            prop_assert!(whole.iter().all(|(_, timestamp, _)| *timestamp < end));
        }
    }
}
