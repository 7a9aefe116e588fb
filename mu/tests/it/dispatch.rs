//! Which task may run: order in lanes, parallelism between them, limits, retry times.

use holon_mu::crank::Fault;
use holon_mu::crank::budget::Budgets;
use holon_mu::crank::descent::Descent;
use holon_mu::crank::dispatch::{Dispatcher, Limits, Verdict, Wait};
use holon_mu::crank::outgoing::{Assign, Message, Spawn};
use holon_mu::crank::task::{Forwarded, ForwardedKind, Purpose, Signed, Task, TaskId, Toward, Work};
use holon_protocol::{ItemId, Nonce, ProcessId, Tags, Timestamp};

fn limits() -> Limits {
    Limits {
        sends: 10,
        pulls: 10,
        early_pulls: 10,
        pulls_per_process: 3,
        unheard: 10,
        slow: 8,
        patience_ms: 1_000,
        patience_failures: 2,
        retry_delay_ms: 100,
        max_retry_delay_ms: 400,
        retry_for_ms: 10_000,
        stranger_retry_for_ms: 5_000,
        order_patience_ms: 5_000,
        stray_after_ms: 30_000,
        busy_delay_ms: 50,
        budgets: Budgets::default(),
    }
}

fn process(byte: u8) -> ProcessId {
    ProcessId::from_bytes([byte; 32])
}

fn message(emitter: u8, target: u8) -> Task {
    let target = ItemId::from_bytes([target; 32]);
    let message = Message { target, anchor: "0".repeat(32), tags: Tags::default(), data: " ".into() };
    Task { root: None, descent: Descent::default(), work: Work::Message { emitter: process(emitter), message } }
}

fn pull(of: u8) -> Task {
    Task {
        root: None,
        descent: Descent::default(),
        work: Work::Pull { message: ItemId::from_bytes([0; 32]).into(), process: process(of), nonce: None },
    }
}

/// The pull of an entry whose place is known.
fn pull_at(of: u8, nonce: u64) -> Task {
    let mut task = pull(of);
    if let Work::Pull { nonce: place, .. } = &mut task.work {
        *place = Some(Nonce(nonce));
    }
    task
}

/// A signed message of one process to another.
fn send(emitter: u8, target: u8) -> Task {
    let purpose = Purpose::Message { process: process(target) };
    let signed = Signed { item: ItemId::from_bytes([9; 32]), emitter: process(emitter), raw: "x".into(), purpose };
    Task { root: None, descent: Descent::default(), work: Work::Send(signed) }
}

fn loaded(limits: Limits, tasks: &[Task]) -> Dispatcher {
    let mut dispatcher = Dispatcher::new(limits);
    for (id, task) in (1..).map(TaskId).zip(tasks) {
        dispatcher.add(id, task, Timestamp(0));
    }
    dispatcher
}

fn start(dispatcher: &mut Dispatcher, now: u64) -> Vec<u64> {
    dispatcher.start(Timestamp(now)).into_iter().map(|id| id.0).collect()
}

#[test]
fn one_emitter_to_one_target_goes_one_by_one_and_others_in_parallel() {
    let mut dispatcher = loaded(limits(), &[message(1, 2), message(1, 2), message(1, 3), message(2, 2), message(1, 3)]);
    assert_eq!(start(&mut dispatcher, 0), [1, 3, 4]);
    dispatcher.finished(TaskId(3));
    assert_eq!(start(&mut dispatcher, 0), [5]);
    dispatcher.finished(TaskId(1));
    assert_eq!(start(&mut dispatcher, 0), [2]);
    for id in [2, 4, 5] {
        dispatcher.finished(TaskId(id));
    }
    assert!(dispatcher.is_empty());
    assert_eq!(start(&mut dispatcher, 0), [0; 0]);
}

#[test]
fn a_failing_message_holds_up_its_lane_until_its_retry_time() {
    let mut dispatcher = loaded(limits(), &[message(1, 2), message(1, 2)]);
    assert_eq!(start(&mut dispatcher, 1_000), [1]);
    assert_eq!(dispatcher.failed(TaskId(1), Fault::Task, Timestamp(1_000)), Verdict::RetryAt(Timestamp(1_100)));
    assert_eq!(dispatcher.next_timer(), Some(Timestamp(1_100)));
    assert_eq!(start(&mut dispatcher, 1_099), [0; 0]);
    for (now, again) in [(1_100, 1_300), (1_300, 1_700), (1_700, 2_100), (2_100, 2_500)] {
        assert_eq!(start(&mut dispatcher, now), [1]);
        assert_eq!(dispatcher.failed(TaskId(1), Fault::Task, Timestamp(now)), Verdict::RetryAt(Timestamp(again)));
    }
    assert_eq!(dispatcher.failures(TaskId(1)), 5);
    assert_eq!(start(&mut dispatcher, 11_000), [1]);
    assert_eq!(dispatcher.failed(TaskId(1), Fault::Task, Timestamp(11_000)), Verdict::GiveUp);
    dispatcher.finished(TaskId(1));
    assert_eq!(start(&mut dispatcher, 11_000), [2]);
}

#[test]
fn results_of_a_process_are_fetched_together_and_pushed_in_order() {
    let mut dispatcher = loaded(limits(), &[pull(1), pull(1), pull(1), pull(1), pull(2)]);
    let mut started = start(&mut dispatcher, 0);
    started.sort_unstable();
    assert_eq!(started, [1, 2, 3, 5], "three of one process at a time");
    assert!(!dispatcher.fetched(TaskId(3)));
    assert!(!dispatcher.fetched(TaskId(2)));
    assert!(dispatcher.fetched(TaskId(5)), "another process does not wait");
    assert!(dispatcher.take_turns().is_empty());
    assert!(dispatcher.fetched(TaskId(1)));
    dispatcher.finished(TaskId(1));
    assert_eq!(dispatcher.take_turns(), [TaskId(2)]);
    dispatcher.finished(TaskId(2));
    assert_eq!(dispatcher.take_turns(), [TaskId(3)]);
    assert_eq!(start(&mut dispatcher, 0), [4]);
}

#[test]
fn a_result_that_keeps_failing_gives_way_to_later_ones() {
    let mut dispatcher = loaded(limits(), &[pull(1), pull(1)]);
    assert_eq!(start(&mut dispatcher, 0).len(), 2);
    assert!(!dispatcher.fetched(TaskId(2)));
    dispatcher.failed(TaskId(1), Fault::Task, Timestamp(0));
    assert!(dispatcher.take_turns().is_empty(), "one failure is waited for");
    assert_eq!(start(&mut dispatcher, 100), [1]);
    dispatcher.failed(TaskId(1), Fault::Task, Timestamp(100));
    assert_eq!(dispatcher.take_turns(), [TaskId(2)]);
}

#[test]
fn any_number_of_failing_results_stops_nobody_else() {
    const FAILING: u64 = 200;
    let mut tasks: Vec<_> = (0..FAILING).map(|_| pull(1)).collect();
    tasks.extend([pull(1), pull(2)]);
    let mut dispatcher = loaded(limits(), &tasks);
    let (mut now, mut others) = (0, Vec::new());
    while others.len() < 2 {
        let started = start(&mut dispatcher, now);
        let late = started.iter().filter(|id| **id <= FAILING).count();
        assert!(late <= 20, "only so many are asked for at a time: {late}");
        for id in started {
            if id <= FAILING {
                dispatcher.failed(TaskId(id), Fault::Task, Timestamp(now));
            } else {
                others.extend(dispatcher.fetched(TaskId(id)).then_some(id));
            }
            others.extend(dispatcher.take_turns().into_iter().map(|turn| turn.0));
        }
        now = dispatcher.next_timer().map_or(now, |timer| timer.0.max(now));
        assert!(now < 1_000_000, "the others never had their turn");
    }
}

#[test]
fn a_late_result_does_not_wait_for_those_that_overtook_it() {
    let mut dispatcher = loaded(limits(), &[pull(1), pull(1)]);
    assert_eq!(start(&mut dispatcher, 0).len(), 2);
    for now in [0, 100] {
        dispatcher.failed(TaskId(1), Fault::Task, Timestamp(now));
        dispatcher.failed(TaskId(2), Fault::Task, Timestamp(now));
        let _ = start(&mut dispatcher, now + 100);
    }
    assert_eq!(start(&mut dispatcher, 1_000).len(), 2);
    assert!(dispatcher.fetched(TaskId(2)) && dispatcher.fetched(TaskId(1)));
    dispatcher.finished(TaskId(2));
    dispatcher.finished(TaskId(1));
    assert!(dispatcher.is_empty());
}

#[test]
fn spawns_to_different_schedulers_do_not_wait_for_each_other() {
    let spawn = |scheduler: Option<u8>| {
        let tags = scheduler.map(|byte| ("Scheduler", ItemId::from_bytes([byte; 32]).to_string()));
        let spawn = Spawn { tags: tags.into_iter().collect(), data: " ".into() };
        Task { root: None, descent: Descent::default(), work: Work::Spawn { emitter: process(1), spawn } }
    };
    let mut dispatcher = loaded(limits(), &[spawn(Some(9)), spawn(None), spawn(Some(9)), spawn(None), spawn(Some(8))]);
    assert_eq!(start(&mut dispatcher, 0), [1, 2, 5]);
}

#[test]
fn a_crowded_peer_is_asked_less_and_less_often_and_a_hurried_task_at_once() {
    let mut dispatcher = loaded(limits(), &[message(1, 2)]);
    for (now, again) in [(0, 50), (50, 150), (150, 350)] {
        assert_eq!(start(&mut dispatcher, now), [1]);
        dispatcher.crowded(TaskId(1), Timestamp(now));
        assert_eq!(dispatcher.next_timer(), Some(Timestamp(again)));
    }
    assert_eq!(start(&mut dispatcher, 349), [0; 0]);
    dispatcher.hurry(TaskId(1));
    assert_eq!(start(&mut dispatcher, 349), [1]);
    assert_eq!((dispatcher.failures(TaskId(1)), dispatcher.next_timer()), (0, None));
}

#[test]
fn early_results_leave_room_for_those_that_everybody_waits_for() {
    let limits = Limits { pulls: 1, early_pulls: 1, ..limits() };
    let mut dispatcher = loaded(limits, &[pull(1), pull(1), pull(1), pull(2), pull(2)]);
    let mut started = start(&mut dispatcher, 0);
    started.sort_unstable();
    assert_eq!(started, [1, 2]);
    dispatcher.fetched(TaskId(2));
    dispatcher.finished(TaskId(1));
    assert_eq!(dispatcher.take_turns(), [TaskId(2)]);
    assert_eq!(start(&mut dispatcher, 0), [4], "the next of its process; the early slot is still taken");
}

#[test]
fn a_busy_unit_is_asked_again_without_counting_a_failure() {
    let mut dispatcher = loaded(limits(), &[pull(1)]);
    assert_eq!(start(&mut dispatcher, 0), [1]);
    dispatcher.again(TaskId(1), Timestamp(0));
    assert_eq!(start(&mut dispatcher, 49), [0; 0]);
    assert_eq!(start(&mut dispatcher, 50), [1]);
    assert_eq!(dispatcher.failures(TaskId(1)), 0);
}

#[test]
fn no_more_tasks_run_than_the_limit_and_the_oldest_first() {
    let tasks: Vec<_> = (0..20).map(|target| message(1, target)).collect();
    let mut dispatcher = loaded(limits(), &tasks);
    assert_eq!(start(&mut dispatcher, 0), (1..=10).collect::<Vec<_>>());
    assert_eq!(start(&mut dispatcher, 0), [0; 0]);
    dispatcher.finished(TaskId(4));
    assert_eq!(start(&mut dispatcher, 0), [11]);
}

#[test]
fn a_push_of_a_thousand_messages_delays_another_push_by_a_few() {
    let of = |origin: u8, target: u8| Task {
        descent: Descent::of_origin(ItemId::from_bytes([origin; 32])),
        ..message(origin, target)
    };
    let storm: Vec<_> = (0..250).map(|target| of(1, target)).collect();
    let mut dispatcher = loaded(limits(), &storm);
    assert_eq!(start(&mut dispatcher, 0).len(), 10);
    let neighbour = TaskId(251);
    dispatcher.add(neighbour, &of(2, 1), Timestamp(0));
    for done in 1..=2 {
        dispatcher.finished(TaskId(done));
    }
    let started = start(&mut dispatcher, 0);
    assert!(started.contains(&neighbour.0), "it is among the next two: {started:?}");
}

#[test]
fn a_process_that_asks_for_too_much_is_held_to_its_pace_and_others_are_not() {
    let budgets = Budgets { per_process_per_second: 4, ..Budgets::default() };
    let tasks: Vec<_> = (0..6).map(|target| message(1, target)).chain([message(2, 1)]).collect();
    let mut dispatcher = loaded(Limits { budgets, ..limits() }, &tasks);
    assert_eq!(start(&mut dispatcher, 10_000), [1, 2, 3, 4, 7]);
    assert_eq!(dispatcher.next_timer(), Some(Timestamp(10_250)));
    assert_eq!(start(&mut dispatcher, 10_250), [5]);
    assert_eq!(start(&mut dispatcher, 10_500), [6]);
    assert_eq!((dispatcher.paced(), dispatcher.failures(TaskId(6))), (2, 0));
}

#[test]
fn a_unit_that_is_down_for_hours_changes_no_order() {
    let mut dispatcher = loaded(limits(), &[pull(1), pull(1)]);
    let mut now = 0;
    while now < 9_000 {
        for id in start(&mut dispatcher, now) {
            assert!(matches!(dispatcher.failed(TaskId(id), Fault::Peer, Timestamp(now)), Verdict::RetryAt(_)));
        }
        now = dispatcher.next_timer().unwrap().0;
    }
    assert_eq!((dispatcher.failures(TaskId(1)) > 10, dispatcher.faults(TaskId(1))), (true, 0));
    start(&mut dispatcher, now + 1_000);
    assert!(!dispatcher.fetched(TaskId(2)), "the first one is still the first");
    assert!(dispatcher.fetched(TaskId(1)));
}

#[test]
fn slow_results_leave_the_places_of_quick_ones_and_share_their_own() {
    let of = |number: u8, task: Task| Task { descent: Descent::of_origin(ItemId::from_bytes([number; 32])), ..task };
    // More slow ones than there are places for any; the second of process 1 is slow as well.
    let slow: Vec<_> = (1..=10).map(|number| of(100, pull(number))).chain([of(100, pull(1))]).collect();
    let mut dispatcher = loaded(limits(), &slow);
    let started = start(&mut dispatcher, 0);
    assert_eq!(started.len(), 11);
    assert!(!dispatcher.slow(TaskId(11)), "an early one waits for its turn");
    let stay: Vec<_> = (1..=10).filter(|id| dispatcher.slow(TaskId(*id))).collect();
    assert_eq!(stay.len(), 3, "one push has a part of the places only: {stay:?}");
    // All places for quick ones are free again. Stopped ones start where slow ones are, which leaves some places free.
    assert_eq!(start(&mut dispatcher, 0).len(), 3, "six of eight");
    let quick: Vec<_> = (0..10)
        .map(|number| {
            let id = TaskId(100 + u64::from(number));
            dispatcher.add(id, &of(1 + number, pull(50 + number)), Timestamp(0));
            id
        })
        .collect();
    assert_eq!(start(&mut dispatcher, 0).len(), 10);
    assert!(dispatcher.slow(quick[0]), "another push has a place that was kept free");
    for id in quick {
        assert!(dispatcher.fetched(id));
        dispatcher.finished(id);
    }
    for id in stay {
        dispatcher.finished(TaskId(id));
    }
    let mut left = 8;
    for _ in 0..20 {
        for id in start(&mut dispatcher, 0) {
            dispatcher.finished(TaskId(id));
            left -= 1;
        }
        for id in 1..=10 {
            if dispatcher.contains(TaskId(id)) && dispatcher.fetched(TaskId(id)) {
                dispatcher.finished(TaskId(id));
            }
        }
    }
    assert!(dispatcher.is_empty(), "{left}, {dispatcher:?}");
}

#[test]
fn results_are_pushed_in_the_order_of_the_log_whenever_they_were_heard_of() {
    let mut dispatcher = loaded(limits(), &[pull_at(1, 7), pull_at(1, 5), pull_at(1, 8), pull_at(1, 6), pull(1)]);
    let mut started = start(&mut dispatcher, 0);
    started.sort_unstable();
    assert_eq!(started, [1, 2, 4], "the first three of the log");
    assert!(!dispatcher.fetched(TaskId(1)) && !dispatcher.fetched(TaskId(4)));
    assert!(dispatcher.fetched(TaskId(2)));
    dispatcher.finished(TaskId(2));
    assert_eq!(dispatcher.take_turns(), [TaskId(4)]);
    dispatcher.finished(TaskId(4));
    assert_eq!(dispatcher.take_turns(), [TaskId(1)]);
    dispatcher.finished(TaskId(1));
    let mut started = start(&mut dispatcher, 0);
    started.sort_unstable();
    assert_eq!(started, [3, 5]);
    assert!(!dispatcher.fetched(TaskId(5)), "what is of no known place comes last");
}

#[test]
fn where_places_are_not_told_results_are_pushed_in_the_order_in_which_what_they_are_of_was_posted() {
    let mut dispatcher = Dispatcher::new(limits());
    let item = |number: u8| ItemId::from_bytes([number; 32]);
    let of = |number: u8, nonce: Option<u64>| {
        let work = Work::Pull { message: item(number).into(), process: process(1), nonce: nonce.map(Nonce) };
        Task { root: None, descent: Descent::default(), work }
    };
    dispatcher.add(TaskId(1), &of(1, None), Timestamp(0));
    // The answer to the first of these two is lost; where it is becomes known later.
    dispatcher.posts(TaskId(2), process(1), item(2), Timestamp(0));
    dispatcher.posts(TaskId(3), process(1), item(3), Timestamp(0));
    dispatcher.add(TaskId(4), &of(3, None), Timestamp(0));
    dispatcher.settled(TaskId(3));
    dispatcher.add(TaskId(5), &of(2, Some(0)), Timestamp(0));
    dispatcher.settled(TaskId(2));
    let mut order = Vec::new();
    while !dispatcher.is_empty() {
        for id in start(&mut dispatcher, 0) {
            dispatcher.fetched(TaskId(id));
        }
        let next = [1, 4, 5].into_iter().find(|id| dispatcher.contains(TaskId(*id)) && dispatcher.fetched(TaskId(*id)));
        order.push(next.unwrap());
        dispatcher.finished(TaskId(next.unwrap()));
        dispatcher.take_turns();
    }
    assert_eq!(order, [1, 5, 4]);
}

#[test]
fn results_that_wait_for_earlier_ones_leave_them_their_places() {
    let limits = Limits { pulls: 2, early_pulls: 1, ..limits() };
    let mut dispatcher = loaded(limits, &[pull_at(1, 9), pull_at(2, 9)]);
    assert_eq!(start(&mut dispatcher, 0).len(), 2, "each is the first of its process, as far as is known");
    dispatcher.add(TaskId(3), &pull_at(1, 8), Timestamp(0));
    dispatcher.add(TaskId(4), &pull_at(2, 8), Timestamp(0));
    assert!(!dispatcher.fetched(TaskId(1)) && !dispatcher.fetched(TaskId(2)));
    let mut started = start(&mut dispatcher, 0);
    started.sort_unstable();
    assert_eq!(started, [3, 4]);
    for (earlier, later) in [(3, 1), (4, 2)] {
        assert!(dispatcher.fetched(TaskId(earlier)));
        dispatcher.finished(TaskId(earlier));
        assert_eq!(dispatcher.take_turns(), [TaskId(later)]);
        dispatcher.finished(TaskId(later));
    }
    assert!(dispatcher.is_empty());
}

#[test]
fn a_result_waits_to_hear_of_what_was_posted_to_its_process_before_but_not_for_long() {
    let mut dispatcher = Dispatcher::new(limits());
    let intent = TaskId(1);
    dispatcher.posts(intent, process(1), ItemId::from_bytes([99; 32]), Timestamp(0));
    dispatcher.add(TaskId(2), &pull_at(1, 6), Timestamp(0));
    dispatcher.posts(TaskId(3), process(1), ItemId::from_bytes([99; 32]), Timestamp(0));
    dispatcher.add(TaskId(4), &pull_at(2, 6), Timestamp(0));
    assert_eq!(start(&mut dispatcher, 0).len(), 2);
    assert!(dispatcher.fetched(TaskId(4)), "nothing was posted to that one");
    assert!(!dispatcher.fetched(TaskId(2)));
    // What was posted before has its place before; what was posted later does not matter.
    dispatcher.add(TaskId(5), &pull_at(1, 5), Timestamp(0));
    dispatcher.settled(intent);
    assert!(dispatcher.take_turns().is_empty());
    assert_eq!(start(&mut dispatcher, 0), [5]);
    assert!(!dispatcher.fetched(TaskId(5)), "that was heard of after the other post had begun");
    dispatcher.settled(TaskId(3));
    assert_eq!(dispatcher.take_turns(), [TaskId(5)]);
    dispatcher.finished(TaskId(5));
    assert_eq!(dispatcher.take_turns(), [TaskId(2)]);

    // Of what nobody ever says anything.
    dispatcher.posts(TaskId(6), process(3), ItemId::from_bytes([99; 32]), Timestamp(100));
    dispatcher.add(TaskId(7), &pull_at(3, 1), Timestamp(100));
    assert_eq!(start(&mut dispatcher, 100), [7]);
    assert!(!dispatcher.fetched(TaskId(7)));
    assert_eq!(dispatcher.next_timer(), Some(Timestamp(5_100)));
    assert!(start(&mut dispatcher, 5_099).is_empty() && dispatcher.take_turns().is_empty());
    assert!(start(&mut dispatcher, 5_100).is_empty());
    assert_eq!(dispatcher.take_turns(), [TaskId(7)]);
}

#[test]
fn results_that_wait_to_hear_take_no_place_of_others_and_are_no_more_than_so_many() {
    let limits = Limits { early_pulls: 1, unheard: 2, ..limits() };
    let mut dispatcher = Dispatcher::new(limits);
    for number in 1..=4 {
        // Something is on its way to each of these processes.
        let (task, item) = (TaskId(100 + number), ItemId::from_bytes([99; 32]));
        dispatcher.posts(task, process(number as u8), item, Timestamp(0));
        dispatcher.add(TaskId(number), &pull_at(number as u8, 5), Timestamp(0));
    }
    assert_eq!(start(&mut dispatcher, 0), [1, 2, 3, 4]);
    for id in [1, 2].map(TaskId) {
        assert!(!dispatcher.put_off(id, Timestamp(0)) && !dispatcher.fetched(id));
    }
    assert!(dispatcher.put_off(TaskId(3), Timestamp(0)) && dispatcher.put_off(TaskId(4), Timestamp(0)));
    // Another process, and its results before their turn.
    dispatcher.add(TaskId(5), &pull_at(7, 1), Timestamp(0));
    dispatcher.add(TaskId(6), &pull_at(7, 2), Timestamp(0));
    assert_eq!(start(&mut dispatcher, 0), [5, 6]);
    assert!(!dispatcher.put_off(TaskId(6), Timestamp(0)) && !dispatcher.fetched(TaskId(6)));
    assert!(!dispatcher.put_off(TaskId(5), Timestamp(0)) && dispatcher.fetched(TaskId(5)));
    dispatcher.finished(TaskId(5));
    assert_eq!(dispatcher.take_turns(), [TaskId(6)]);
    dispatcher.finished(TaskId(6));
    // Those that were put off fetch theirs again, and go on once there is room.
    assert_eq!(start(&mut dispatcher, 50), [3, 4]);
    dispatcher.settled(TaskId(101));
    assert_eq!(dispatcher.take_turns(), [TaskId(1)]);
    dispatcher.finished(TaskId(1));
    assert!(!dispatcher.put_off(TaskId(3), Timestamp(50)) && !dispatcher.fetched(TaskId(3)));
    dispatcher.settled(TaskId(104));
    assert!(!dispatcher.put_off(TaskId(4), Timestamp(50)) && dispatcher.fetched(TaskId(4)));
    dispatcher.finished(TaskId(4));
    assert!(start(&mut dispatcher, 5_000).is_empty());
    assert_eq!(dispatcher.take_turns().len(), 2, "of the others nothing was ever heard");
}

#[test]
fn a_result_waits_to_hear_of_assignments_as_well() {
    let message = ItemId::from_bytes([9; 32]);
    let of_client = |process| Work::ConfirmAssignment { process, message, first: Some(Nonce(3)), toward: None };
    let of_process = |process, first| {
        let assign = Assign { process, message, base_layer: false, exclude: Vec::new() };
        Work::Assign { emitter: self::process(9), assign, first }
    };
    let task = |work| Task { root: None, descent: Descent::default(), work };
    assert_eq!(task(of_process(process(1), None)).posted_to(), None, "nothing has been sent");
    for work in [of_client(process(1)), of_process(process(1), Some(Nonce(3)))] {
        let mut dispatcher = loaded(limits(), &[task(work), pull_at(1, 6), pull_at(2, 6)]);
        assert_eq!(start(&mut dispatcher, 0).len(), 3);
        assert!(dispatcher.fetched(TaskId(3)) && !dispatcher.fetched(TaskId(2)));
        dispatcher.finished(TaskId(1));
        assert_eq!(dispatcher.take_turns(), [TaskId(2)]);
    }
    let [client, other] = [1, 2].map(|byte| task(of_client(process(byte))).posted_to().unwrap().1);
    assert!(client != other && client != message, "nor is it taken for the item itself");
}

#[test]
fn results_that_wait_for_other_messengers_take_no_place_of_others_and_are_no_more_than_so_many() {
    let limits = Limits { pulls: 1, early_pulls: 1, unheard: 2, ..limits() };
    let mut dispatcher = loaded(limits, &[1, 2, 3, 4].map(|of| pull_at(of, 5)));
    for (id, wait) in [(1, Wait::Held), (2, Wait::Held), (3, Wait::PutOff)] {
        assert_eq!(start(&mut dispatcher, 0), [id], "the place is free again");
        let id = TaskId(id);
        assert!(!dispatcher.put_off(id, Timestamp(0)) && dispatcher.fetched(id));
        assert_eq!((dispatcher.waits(id, Timestamp(0)), dispatcher.was_tried(id)), (wait, wait == Wait::PutOff));
    }
    assert_eq!(dispatcher.waits(TaskId(1), Timestamp(0)), Wait::Held, "as long as need be");
    assert_eq!(start(&mut dispatcher, 0), [4]);
    dispatcher.finished(TaskId(4));
    // Something turned out to come before one of them.
    dispatcher.add(TaskId(5), &pull_at(1, 4), Timestamp(0));
    assert!(!dispatcher.fetched(TaskId(1)));
    assert_eq!(start(&mut dispatcher, 0), [5]);
    dispatcher.finished(TaskId(5));
    assert_eq!(dispatcher.take_turns(), [TaskId(1)]);
    dispatcher.finished(TaskId(1));
    dispatcher.finished(TaskId(2));
    assert_eq!(start(&mut dispatcher, 50), [3]);
    assert_eq!(dispatcher.waits(TaskId(3), Timestamp(50)), Wait::Held);
    dispatcher.finished(TaskId(3));
    assert_eq!((dispatcher.len(), dispatcher.waits(TaskId(3), Timestamp(50))), (0, Wait::Needless));
}

#[test]
fn what_was_sent_before_a_restart_is_waited_for_and_tried_again_at_once_when_something_waits() {
    let mut dispatcher = loaded(limits(), &[pull_at(1, 6), send(9, 1), send(8, 1)]);
    assert_eq!(start(&mut dispatcher, 0).len(), 3);
    dispatcher.failed(TaskId(2), Fault::Peer, Timestamp(0));
    dispatcher.failed(TaskId(3), Fault::Task, Timestamp(0));
    assert!(!dispatcher.fetched(TaskId(1)), "it may be in the log");
    assert_eq!(start(&mut dispatcher, 0), [2], "long before its time");
    dispatcher.finished(TaskId(2));
    assert_eq!(dispatcher.take_turns(), [TaskId(1)], "the other one was answered");
}

#[test]
fn a_result_that_waits_for_its_turn_does_not_wait_for_ever_for_what_comes_up_meanwhile() {
    let mut dispatcher = loaded(limits(), &[pull_at(1, 5), pull_at(1, 6)]);
    assert_eq!(start(&mut dispatcher, 0).len(), 2);
    assert!(!dispatcher.fetched(TaskId(2)), "nothing was posted, but it is not its turn");
    // Something that another messenger may have sent at any time, to a scheduler that does not answer.
    dispatcher.add(TaskId(3), &send(9, 1), Timestamp(1_000));
    assert!(!dispatcher.fetched(TaskId(1)));
    let (mut now, mut order) = (1_000, Vec::new());
    while now < 6_000 {
        if start(&mut dispatcher, now).contains(&3) {
            dispatcher.failed(TaskId(3), Fault::Peer, Timestamp(now));
        }
        assert!(dispatcher.take_turns().is_empty(), "{now}");
        now = dispatcher.next_timer().unwrap().0;
    }
    while !order.contains(&2) {
        if start(&mut dispatcher, now).contains(&3) {
            dispatcher.failed(TaskId(3), Fault::Peer, Timestamp(now));
        }
        for id in dispatcher.take_turns() {
            assert!(now <= 6_500, "{id:?} waits until {now}");
            order.push(id.0);
            dispatcher.finished(id);
        }
        order.extend(dispatcher.take_turns().into_iter().map(|id| id.0));
        now += 100;
        assert!(now < 20_000, "held for ever: {order:?}");
    }
    assert_eq!(order, [1, 2]);
}

#[test]
fn what_keeps_failing_is_waited_for_once_and_keeps_its_waits() {
    let mut dispatcher = loaded(Limits { retry_for_ms: 1_000_000, ..limits() }, &[message(9, 1)]);
    let (sender, item) = (TaskId(1), ItemId::from_bytes([9; 32]));
    let (mut now, mut waited, mut attempts) = (0, Vec::new(), 0);
    for number in 0..100 {
        let pull = TaskId(10 + number);
        dispatcher.add(pull, &pull_at(1, number), Timestamp(now));
        let heard = now;
        let mut here = false;
        loop {
            for id in start(&mut dispatcher, now) {
                if TaskId(id) == sender {
                    attempts += 1;
                    assert_eq!(dispatcher.posts(sender, process(1), item, Timestamp(now)), attempts == 1);
                    dispatcher.failed(sender, Fault::Peer, Timestamp(now));
                } else {
                    here = dispatcher.fetched(TaskId(id));
                }
            }
            if here || dispatcher.take_turns().contains(&pull) {
                break;
            }
            now = dispatcher.next_timer().unwrap().0;
        }
        waited.push(now - heard);
        dispatcher.finished(pull);
        now += 10;
    }
    assert!(waited.iter().sum::<u64>() <= 5_000, "every later one waits too: {waited:?}");
    assert!(attempts <= now / 400 + 6, "it is asked {attempts} times in {now} ms: once for each that waits");
}

#[test]
fn whether_a_stranger_took_something_is_asked_for_a_shorter_time() {
    let confirm = |stranger: bool| {
        let kind = ForwardedKind::Message { process: process(1) };
        let toward = Some(Toward { origin: "https://scheduler".into(), stranger });
        let item = ItemId::from_bytes([u8::from(stranger); 32]);
        let forwarded = Forwarded { item, kind, toward, came: None };
        Task { root: None, descent: Descent::default(), work: Work::Confirm(forwarded) }
    };
    let mut dispatcher = loaded(limits(), &[confirm(true), confirm(false)]);
    let mut fail = |now: u64| {
        start(&mut dispatcher, now);
        [1, 2].map(|id| dispatcher.failed(TaskId(id), Fault::Peer, Timestamp(now)) == Verdict::GiveUp)
    };
    assert_eq!([fail(0), fail(4_999), fail(5_000)], [[false, false], [false, false], [true, false]]);
}
