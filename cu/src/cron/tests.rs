//! Which cron messages fire when.

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
    let blocks = vec![block(101, 1000003000), block(102, 1000007000), block(103, 1000007400), block(104, 1000021000)];
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
    let now = Timestamp(5);
    let again = |pause: u64| NextCron::At(Timestamp(5 + pause));
    for waiting in [NextCron::At(now), NextCron::Blocks] {
        assert_eq!(waiting.after(now, Some(0)), again(500));
        assert_eq!(waiting.after(now, Some(8_000)), again(2_000));
        assert_eq!(waiting.after(now, Some(120_000)), again(10_000));
        assert_eq!(waiting.after(now, None), again(2_000));
    }
    for known in [NextCron::At(Timestamp(6)), NextCron::Never, NextCron::Unknown] {
        assert_eq!(known.after(now, Some(8_000)), known);
    }
    assert_eq!(spacing_ms(&[block(1, 1_000), block(4, 7_000)]), Some(2_000));
    assert_eq!(spacing_ms(&[block(1, 1_000)]), None);
    assert_eq!(spacing_ms(&[]), None);
}

#[test]
fn whoever_asks_so_often_that_hardly_a_block_is_new_is_told_how_often_they_come_all_the_same() {
    let origin = block(100, 1_000_000);
    let schedule = Schedule::from_tags(&Tags::from_iter([("Cron-Interval", "1-second")])).unwrap();
    let mut walk = Walk::new(origin, origin);
    assert_eq!(walk.spacing_ms(&[]), None, "there is no other block");
    let blocks = [block(101, 1_002_000), block(102, 1_004_000), block(103, 1_006_000)];
    assert_eq!(walk.spacing_ms(&blocks[..1]), Some(2_000));
    while walk.peek(&schedule, &blocks, Timestamp(1_005_000)).is_some() {
        walk.advance();
    }
    assert_eq!(walk.spacing_ms(&[]), Some(2_000), "of those that were consumed");
    assert_eq!(walk.spacing_ms(&blocks[2..]), Some(2_000));
    assert_eq!(walk.spacing_ms(&[block(101, 1_001_000), block(103, 1_009_000)]), Some(4_000));
}

#[test]
fn blocks_of_one_time_fire_at_that_time_and_each_cron_once() {
    let tags = [("Cron-Interval", "1-block"), ("Cron-Interval", "2-blocks"), ("Cron-Interval", "3-blocks")];
    let schedule = Schedule::from_tags(&Tags::from_iter(tags)).unwrap();
    let origin = block(100, 1000000250);
    let blocks = [block(101, 1000003000), block(102, 1000003000), block(103, 1000003000), block(104, 1000009000)];
    assert_eq!(
        walk(&schedule, &blocks, origin, origin, 1000010900),
        rows(&[
            ("0-1-block", 1000003000, 101),
            ("1-2-blocks", 1000003000, 102),
            ("2-3-blocks", 1000003000, 103),
            ("0-1-block", 1000009000, 104),
            ("1-2-blocks", 1000009000, 104),
        ])
    );
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
    assert_eq!(Walk::new(origin, origin).next_due(&blocks), NextCron::Blocks);
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
            link: Link { assignment, hash_chain, epoch: 0, nonce: Nonce(nonce), timestamp, clock: timestamp },
            message_id: id.into(),
            identity: Identity::Id(id),
            deduplicated: false,
            is_process: nonce == 0,
            unchecked: None,
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
    for (text, expected) in [("10-blocks", Some(10)), ("1-block", Some(1)), ("0-blocks", None), ("x-blocks", None)] {
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
