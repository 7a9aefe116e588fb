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
    /// With some block to come.
    Blocks,
    /// Nobody here knows.
    Unknown,
}

/// Shortest and longest time, in milliseconds, after which somebody asks again who waits for a block.
const ASK_AGAIN_MS: std::ops::RangeInclusive<u64> = 500..=10_000;
/// The same as long as nobody knows how often blocks come.
const ASK_AGAIN_UNKNOWN_MS: u64 = 2_000;

impl NextCron {
    /// The same for somebody who has evaluated everything up to `now`: a message that was due and has not fired waits for a
    /// block, and so it makes sense to ask again after a quarter of the time between two blocks, `spacing_ms`.
    pub fn after(self, now: Timestamp, spacing_ms: Option<u64>) -> Self {
        match self {
            Self::At(at) if at > now => self,
            Self::At(_) | Self::Blocks => {
                let (least, most) = ASK_AGAIN_MS.into_inner();
                let pause = spacing_ms.map_or(ASK_AGAIN_UNKNOWN_MS, |spacing| (spacing / 4).clamp(least, most));
                Self::At(Timestamp(now.0.saturating_add(pause)))
            }
            next => next,
        }
    }
}

/// Milliseconds between two blocks, on average; `None` for fewer than two.
pub fn spacing_ms(blocks: &[Block]) -> Option<u64> {
    let (first, last) = (blocks.first()?, blocks.last()?);
    last.timestamp.0.saturating_sub(first.timestamp.0).checked_div(last.height.0.saturating_sub(first.height.0))
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
            return NextCron::Blocks;
        }
        let (now, origin) = (self.tick / 1000, self.origin.timestamp.0 / 1000);
        let due = schedule.times.iter().filter_map(|cron| due(cron, now, origin)).min();
        let at = due.and_then(|due| due.saturating_sub(now).checked_mul(TICK_MS)?.checked_add(self.tick));
        at.map_or(NextCron::Never, |at| NextCron::At(Timestamp(at)))
    }

    /// Milliseconds between two blocks, on average: of `blocks`, or since the process's own one when too few of them are new;
    /// `None` before there is another one.
    pub fn spacing_ms(&self, blocks: &[Block]) -> Option<u64> {
        let consumed = (self.consumed.height != NONE).then_some(self.consumed);
        let newest = blocks.last().copied().or(consumed);
        spacing_ms(blocks).or_else(|| spacing_ms(&[self.origin, newest?]))
    }

    /// The next message before `right`, or `None` when there is none; it stays the next one until [`Self::advance`].
    /// `blocks` ascends in height and holds the blocks above [`Self::needs_above`] that count.
    pub fn peek<'a>(&mut self, schedule: &'a Schedule, blocks: &[Block], right: Timestamp) -> Option<CronMessage<'a>> {
        loop {
            if let Some(&(fired, timestamp, block_height)) = self.fired.front() {
                // The one before may have been further to the right.
                if timestamp >= right {
                    return None;
                }
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
            // Blocks of one time all fire at it, and each cron once (spec 05 §9.3). Another that comes late fires now: time
            // does not go back.
            let before = &blocks[..blocks.partition_point(|before| before.height < block.height)];
            let twin = block.timestamp == self.consumed.timestamp && before.last() == Some(&self.consumed);
            let late = !twin && block.timestamp <= self.consumed.timestamp;
            let timestamp = if late { Timestamp(tick) } else { block.timestamp };
            self.consumed = Block { timestamp, height: block.height };
            self.height = block.height;
            let since = |block: &Block| block.height.0.checked_sub(self.origin.height.0).filter(|&since| since > 0);
            let twins: Vec<&Block> = match twin {
                true => before.iter().rev().take_while(|before| before.timestamp == block.timestamp).collect(),
                false => Vec::new(),
            };
            for (index, cron) in schedule.blocks.iter().enumerate() {
                if fires(cron, since(&block)) && !twins.iter().any(|twin| fires(cron, since(twin))) {
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
mod tests;
