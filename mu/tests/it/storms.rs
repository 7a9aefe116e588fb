//! Storms: pushes that never end or grow without bound. They stop at their budgets, and others do not notice them.

use std::time::{Duration, Instant};

use holon_mu::Options;
use holon_mu::crank::budget::Budgets;
use holon_mu::crank::dispatch::Limits;
use holon_protocol::{DataItem, ProcessId};
use serde_json::{Value, json};

use crate::network::{DEADLINE, MODULE, Network, eventually, get, idle, metric, post, retry};
use crate::peer::Answer;

const A: ProcessId = ProcessId::from_bytes([1; 32]);
const B: ProcessId = ProcessId::from_bytes([2; 32]);

fn options(network: &Network, budgets: Budgets) -> Options {
    let options = network.options();
    Options { limits: Limits { budgets, ..options.limits }, ..options }
}

fn network() -> Network {
    let network = Network::start();
    for byte in 1..=40 {
        network.process(byte);
    }
    network
}

/// A message whose data is `word number`, with an anchor that nobody else has.
fn message(target: ProcessId, word: &str, number: u64) -> Value {
    let tags = json!([{ "name": "Number", "value": number.to_string() }]);
    json!({ "Target": target, "Anchor": format!("{number:032}"), "Data": format!("{word} {number}"), "Tags": tags })
}

fn result(messages: Vec<Value>) -> Value {
    json!({ "Messages": messages, "Spawns": [], "Assignments": [] })
}

/// The word and the number of a message.
fn read(item: &DataItem) -> Option<(String, u64)> {
    let text = String::from_utf8(item.data().to_vec()).unwrap();
    let (word, number) = text.split_once(' ')?;
    Some((word.to_owned(), number.parse().ok()?))
}

/// Two processes that answer each other for ever, a message that becomes two, and a neighbour who sends one message on.
fn storms(network: &Network) {
    network.state.lock().unwrap().behaviour = Some(Box::new(|_, item| {
        let item = item?;
        let here = ProcessId::from_bytes(item.target().unwrap());
        let (word, number) = read(item)?;
        match word.as_str() {
            "ball" => Some(result(vec![message(if here == A { B } else { A }, "ball", number + 1)])),
            "bomb" => {
                let target = |place: u64| ProcessId::from_bytes([3 + ((number + place) % 20) as u8; 32]);
                Some(result((0..2).map(|place| message(target(place), "bomb", 2 * number + place)).collect()))
            }
            "post" => Some(result(vec![message(ProcessId::from_bytes([31; 32]), "arrived", number)])),
            _ => None,
        }
    }));
}

fn arrived(network: &Network, number: u64) -> bool {
    let log = network.log(ProcessId::from_bytes([31; 32]));
    log.iter().any(|item| read(item) == Some(("arrived".into(), number)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_answer_each_other_stop_at_their_budget_and_go_on_when_the_operator_says_so() {
    let network = network();
    storms(&network);
    let messenger = network.messenger_with(options(&network, Budgets { per_push: 30, ..Budgets::default() })).await;
    let ball = network.message(A, "ball 0");
    assert_eq!(post(&messenger, "/", ball.raw().clone()).await.0, 202);
    idle(&messenger).await;
    let count = || network.log(A).len() + network.log(B).len();
    assert_eq!(count(), 31, "the client's message and thirty more");

    let letters = get(&messenger, "/dead-letters").await;
    let letter = &letters["deadLetters"][0];
    assert_eq!(letter["origin"], json!(ball.id()));
    assert!(letter["reason"].as_str().unwrap().contains("has had 30 of 30 items"), "{letter}");
    assert_eq!(metric(&messenger, "ao_mu_over_budget_total{limit=\"push\"}").await, Some(1.0));

    assert_eq!(retry(&messenger, &letter["id"]).await, 202);
    eventually("thirty more", || (count() == 61).then_some(())).await;
    idle(&messenger).await;
    assert_eq!(get(&messenger, "/dead-letters").await["deadLetters"].as_array().unwrap().len(), 1, "the next one");
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_gives_a_push_no_new_budget() {
    let network = network();
    storms(&network);
    let options = options(&network, Budgets { per_push: 60, ..Budgets::default() });
    let mut messenger = network.messenger_with(options.clone()).await;
    assert_eq!(post(&messenger, "/", network.message(A, "ball 0").raw().clone()).await.0, 202);
    let count = || network.log(A).len() + network.log(B).len();
    for some in [10, 25, 40] {
        eventually("some more", || (count() >= some).then_some(())).await;
        messenger.stop().await.unwrap();
        messenger = network.messenger_with(options.clone()).await;
    }
    idle(&messenger).await;
    // What a stop interrupts may be counted twice, and is sent once.
    assert!((50..=61).contains(&count()), "{}", count());
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_keeps_its_latency_beside_storms_and_the_queue_stays_bounded() {
    const WAITING: usize = 2_000;
    let network = network();
    storms(&network);
    let messenger = network.messenger_with(options(&network, Budgets { waiting: WAITING, ..Budgets::default() })).await;
    for storm in [network.message(A, "ball 0"), network.message(ProcessId::from_bytes([3; 32]), "bomb 1")] {
        assert_eq!(post(&messenger, "/", storm.raw().clone()).await.0, 202);
    }
    eventually("the storm is big", || (messenger.queued() > 500).then_some(())).await;
    let mut slowest = Duration::ZERO;
    for number in 0..15 {
        let begun = Instant::now();
        let item = network.message(ProcessId::from_bytes([30; 32]), &format!("post {number}"));
        assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
        eventually("the neighbour's message arrives", || arrived(&network, number).then_some(())).await;
        slowest = slowest.max(begun.elapsed());
        // The two storms, the neighbour, and what is between two stages.
        assert!(messenger.queued() <= WAITING + 1_000, "{} tasks wait", messenger.queued());
    }
    println!("slowest of the neighbour's messages: {slowest:?}, {} tasks wait", messenger.queued());
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_out_bomb_ends_at_what_may_wait_and_what_is_cut_is_kept() {
    let network = network();
    storms(&network);
    let messenger = network.messenger_with(options(&network, Budgets { waiting: 200, ..Budgets::default() })).await;
    let bomb = network.message(ProcessId::from_bytes([3; 32]), "bomb 1");
    assert_eq!(post(&messenger, "/", bomb.raw().clone()).await.0, 202);
    eventually("it went on for long", || {
        assert!(messenger.queued() <= 250, "{} tasks wait", messenger.queued());
        (network.compute.calls().len() > 1_000).then_some(())
    })
    .await;
    let letters = get(&messenger, "/dead-letters").await;
    let reason = letters["deadLetters"][0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("they would be over 200"), "{reason}");
    assert!(metric(&messenger, "ao_mu_over_budget_total{limit=\"waiting\"}").await.unwrap() >= 1.0);
    assert!(metric(&messenger, "ao_mu_pushes").await.unwrap() >= 1.0);
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_spawn_processes_stop_at_the_depth_limit() {
    let network = network();
    network.state.lock().unwrap().behaviour = Some(Box::new(|id, item| {
        // The boot of a process spawns the next one.
        let is_process = item?.tags().get("Type") == Some("Process");
        let tags = json!([{ "name": "Module", "value": MODULE }, { "name": "Parent", "value": id }]);
        is_process.then(|| json!({ "Messages": [], "Assignments": [], "Spawns": [{ "Tags": tags, "Data": "" }] }))
    }));
    let before = network.state.lock().unwrap().processes.len();
    let messenger = network.messenger_with(options(&network, Budgets { depth: 5, ..Budgets::default() })).await;
    assert_eq!(post(&messenger, "/", network.spawn(None).raw().clone()).await.0, 202);
    idle(&messenger).await;
    let spawned = network.state.lock().unwrap().processes.len() - before;
    let letters = get(&messenger, "/dead-letters").await;
    assert!((3..=6).contains(&spawned), "{spawned} processes, {letters}");
    assert_eq!(metric(&messenger, "ao_mu_over_budget_total{limit=\"depth\"}").await, Some(1.0));

    // Taken up again it goes as deep once more, instead of dying where it did.
    assert_eq!(retry(&messenger, &letters["deadLetters"][0]["id"]).await, 202);
    idle(&messenger).await;
    let more = network.state.lock().unwrap().processes.len() - before - spawned;
    assert!((3..=6).contains(&more), "{more} more processes");
    messenger.stop().await.unwrap();
}

/// A cron result that spawns two processes with crons; each has results of its own number only.
pub fn spawning(number: u32) -> (String, Value) {
    let spawn = |place: u32| {
        let tags = [
            ("Module", MODULE.to_string()),
            ("Cron-Interval", "1-second".into()),
            ("Number", format!("{number}.{place}")),
        ];
        json!({ "Tags": tags.map(|(name, value)| json!({ "name": name, "value": value })), "Data": "" })
    };
    (format!("c{number}"), json!({ "Messages": [], "Spawns": [spawn(1), spawn(2)], "Assignments": [] }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crons_that_spawn_crons_end_at_the_places_of_their_lineage_and_others_have_theirs() {
    const PLACES: usize = 4;
    let network = network();
    let waking = |number| [("Cron-Interval", "1-second"), ("Number", number)];
    // Every process has three cron results, and each of them spawns two more that have crons: without end.
    network.state.lock().unwrap().cron = (1..=3).map(spawning).collect();
    let options = options(&network, Budgets { crons_per_lineage: PLACES, ..Budgets::default() });
    let options = Options { auto_cron: true, ..options };
    let messenger = network.messenger_with(options.clone()).await;
    let made = || network.state.lock().unwrap().processes.len();
    let before = made();
    assert_eq!(post(&messenger, "/", network.spawn_with(None, &waking("one")).raw().clone()).await.0, 202);
    // The client's process, and six of each that is polled.
    let one = 1 + 6 * PLACES;
    eventually("all that may be", || (made() == before + one && messenger.queued() == 0).then_some(())).await;
    let monitors = async || get(&messenger, "/monitors").await["total"].as_u64().unwrap();
    assert_eq!(monitors().await, PLACES as u64);
    let refused = (one - PLACES) as f64;
    assert_eq!(metric(&messenger, "ao_mu_over_budget_total{limit=\"crons\"}").await, Some(refused));
    let letters = get(&messenger, "/dead-letters").await["deadLetters"].as_array().unwrap().clone();
    assert_eq!(letters.len() as f64, refused, "each is told of");
    let told = letters[0].to_string();
    assert!(told.contains("of its lineage wake by themselves already") && told.contains("cron of "), "{told}");
    assert!(letters.iter().any(|letter| letter["emitter"].is_string()), "whoever spawned it answers for it: {told}");

    // Another client's has a lineage of its own.
    assert_eq!(post(&messenger, "/", network.spawn_with(None, &waking("two")).raw().clone()).await.0, 202);
    eventually("the other one's", || (made() == before + 2 * one && messenger.queued() == 0).then_some(())).await;
    assert_eq!(monitors().await, 2 * PLACES as u64);

    // A restart gives nobody new places. One that has none has another client's, once that client writes to it, and so have those that
    // come of it: no more than the client's lineage has.
    messenger.stop().await.unwrap();
    let refused: ProcessId = told.split("cron of ").nth(1).unwrap()[..43].parse().unwrap();
    network.state.lock().unwrap().cron.push(spawning(4));
    let messenger = network.messenger_with(options).await;
    assert_eq!(post(&messenger, "/", network.message(refused, "hello").raw().clone()).await.0, 202);
    let more = before + 2 * one + 2 * 2 * PLACES + 4 * 2 * PLACES;
    eventually("what they ask for", || (made() == more && messenger.queued() == 0).then_some(())).await;
    assert!(!network.compute.asked("GET", &format!("/cron/{refused}")).is_empty());
    assert_eq!(get(&messenger, "/monitors").await["total"], 3 * PLACES);
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_fails_and_hides_what_it_took_gets_a_full_lineage_no_places() {
    const OTHERS: u8 = 10;
    let network = network();
    let targets: Vec<_> = (3..3 + OTHERS).map(|byte| ProcessId::from_bytes([byte; 32])).collect();
    {
        let mut state = network.state.lock().unwrap();
        state.waking = targets.clone();
        let messages = targets.iter().zip(0..).map(|(target, number)| message(*target, "wake", number));
        state.results.insert("go".into(), result(messages.collect()));
        state.instead = (0..1_000).map(|_| ("GET /result/", Answer::Json(500, json!({})))).collect();
    }
    let options = options(&network, Budgets { crons_per_lineage: 1, ..Budgets::default() });
    let messenger = network.messenger_with(Options { auto_cron: true, ..options }).await;
    assert_eq!(post(&messenger, "/", network.message(A, "go").raw().clone()).await.0, 202);
    // From here on it fails, and then takes things without saying where: so it is asked where they are.
    let fails = (0..3 * OTHERS).map(|_| ("POST /", Answer::Json(500, json!({}))));
    network.state.lock().unwrap().instead = fails.collect();
    let came = || targets.iter().all(|target| network.log(*target).len() == 1);
    eventually("everything is sent", || (came() && messenger.queued() == 0).then_some(())).await;
    let asked = network.scheduler.asked("GET", "/").into_iter().filter(|call| call.path.contains("?process-id="));
    assert!(asked.count() > 1, "it is asked where they are");
    let refused = f64::from(OTHERS - 1);
    let begun = Instant::now();
    while metric(&messenger, "ao_mu_over_budget_total{limit=\"crons\"}").await != Some(refused) {
        assert!(begun.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(get(&messenger, "/monitors").await["total"], 1);
    messenger.stop().await.unwrap();
}
