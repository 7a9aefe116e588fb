//! Cron by itself: processes that are monitored from their birth on, polls that come when something is due, failures that
//! hold up nobody.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holon_mu::Options;
use holon_mu::crank::budget::Budgets;
use holon_mu::crank::dispatch::Limits;
use holon_protocol::{DataItem, ProcessId};
use serde_json::{Value, json};

use crate::network::{DEADLINE, Network, empty, eventually, get, idle, post, request};
use crate::peer::{Answer, Peer};

const A: ProcessId = ProcessId::from_bytes([1; 32]);
const B: ProcessId = ProcessId::from_bytes([2; 32]);
/// Longer than any test: polls come by the compute unit's word or not at all.
const NEVER: Duration = Duration::from_secs(3_600);

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn result(number: u32) -> (String, Value) {
    let message =
        json!({ "Target": B, "Anchor": format!("{number:032}"), "Data": format!("tick {number}"), "Tags": [] });
    (format!("c{number}"), json!({ "Messages": [message], "Spawns": [], "Assignments": [] }))
}

fn network() -> Network {
    let network = Network::start();
    for byte in 1..=2 {
        network.process(byte);
    }
    network
}

fn ticks(network: &Network) -> Vec<String> {
    network.log(B).iter().map(|item| String::from_utf8(item.data().to_vec()).unwrap()).collect()
}

fn monitor_item(network: &Network, process: ProcessId) -> DataItem {
    DataItem::builder().target(process).data(b" ".to_vec()).sign(&network.client).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_cron_tags_runs_from_its_birth_until_somebody_says_otherwise() {
    let network = network();
    let options = Options { auto_cron: true, ..network.options() };
    let messenger = network.messenger_with(options.clone()).await;
    network.state.lock().unwrap().cron = vec![result(1), result(2)];
    let plain = network.spawn_with(None, &[("Name", "plain")]);
    let waking = network.spawn_with(None, &[("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Tick")]);
    for item in [&plain, &waking] {
        assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    }
    // What was evaluated before the first poll is pushed as well: it belongs to nobody else.
    eventually("both ticks", || (ticks(&network) == ["tick 1", "tick 2"]).then_some(())).await;
    let polled = |process: ProcessId| network.compute.asked("GET", &format!("/cron/{process}")).len();
    assert_eq!(polled(plain.id().into()), 0);

    // A restart goes on after the last one.
    messenger.stop().await.unwrap();
    let before = polled(waking.id().into());
    network.state.lock().unwrap().cron.push(result(3));
    let messenger = network.messenger_with(options.clone()).await;
    eventually("the third tick", || (ticks(&network).len() == 3).then_some(())).await;
    assert!(polled(waking.id().into()) > before);
    assert_eq!(ticks(&network), ["tick 1", "tick 2", "tick 3"]);

    // Unmonitored, it stays so.
    let item = monitor_item(&network, waking.id().into());
    let path = format!("/monitor/{}", waking.id());
    assert_eq!(request(&messenger, reqwest::Method::DELETE, &path, item.raw().clone()).await.0, 200);
    messenger.stop().await.unwrap();
    let before = polled(waking.id().into());
    let messenger = network.messenger_with(options).await;
    assert_eq!(get(&messenger, "/monitors").await, json!({ "monitors": [], "total": 0 }));
    assert_eq!(polled(waking.id().into()), before);
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_operators_leave_no_process_is_monitored_by_itself() {
    let network = network();
    let messenger = network.messenger().await;
    let waking = network.spawn_with(None, &[("Cron-Interval", "1-second")]);
    assert_eq!(post(&messenger, "/", waking.raw().clone()).await.0, 202);
    crate::network::idle(&messenger).await;
    assert_eq!(get(&messenger, "/monitors").await["total"], 0);
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polls_come_when_the_compute_unit_says_that_something_is_due() {
    let network = network();
    let messenger = network.messenger_with(Options { cron_interval: NEVER, ..network.options() }).await;
    let polls = || network.compute.asked("GET", &format!("/cron/{A}")).len();
    let due = now() + 700;
    network.state.lock().unwrap().cron_next = Some(due.to_string());
    let item = monitor_item(&network, A);
    let (status, _) = post(&messenger, &format!("/monitor/{A}"), item.raw().clone()).await;
    assert_eq!(status, 200);
    eventually("the first poll", || (polls() == 1).then_some(())).await;
    let row = || async { get(&messenger, "/monitors").await["monitors"][0].clone() };
    loop {
        let row = row().await;
        if row["due"].is_u64() && row["polled"].is_u64() {
            assert_eq!(row["due"], due + 1, "{row}");
            break;
        }
        assert!(now() < due, "{row}");
    }
    assert!(now() >= due || polls() == 1, "not before it is due");
    eventually("the second poll", || (polls() == 2).then_some(())).await;
    assert!(now() >= due, "polled {} ms early", due - now());
    network.state.lock().unwrap().cron_next = Some("never".into());
    eventually("the third poll", || (polls() >= 3).then_some(())).await;
    let quiet = polls();
    let wait = row().await["due"].as_u64();
    assert!(wait.is_none_or(|due| due > now() + 1_000_000), "{wait:?}");
    assert!(polls() <= quiet + 1);
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_cron_fails_is_reported_and_retried_and_holds_up_nobody() {
    let network = network();
    let failing: Vec<_> = (50..150).map(|byte| network.process(byte)).collect();
    let messenger = network.messenger().await;
    {
        let mut state = network.state.lock().unwrap();
        // More of them than there are places for polls; each of them fails or does not answer at all.
        for (number, _) in failing.iter().enumerate() {
            let path: &'static str = Box::leak(format!("GET /cron/{}", failing[number]).into_boxed_str());
            let answer =
                || if number % 2 == 0 { Answer::Json(500, json!({ "error": "broken" })) } else { Answer::Silence };
            state.instead.extend((0..100).map(|_| (path, answer())));
        }
        state.cron = vec![result(1)];
    }
    for process in failing.iter().chain([&A]) {
        let item = monitor_item(&network, *process);
        assert_eq!(post(&messenger, &format!("/monitor/{process}"), item.raw().clone()).await.0, 200);
    }
    eventually("the tick of the one that works", || (ticks(&network) == ["tick 1"]).then_some(())).await;
    network.state.lock().unwrap().cron.push(result(2));
    eventually("its next tick", || (ticks(&network).len() == 2).then_some(())).await;
    let page = get(&messenger, "/monitors?limit=1").await;
    assert_eq!(page["total"], 101);
    assert!(page["monitors"][0]["failures"].as_u64().unwrap() >= 1, "{page}");
    assert!(page["monitors"][0]["error"].as_str().unwrap().contains("broken"), "{page}");
    assert!(crate::network::metric(&messenger, "ao_mu_cron_failing").await.unwrap() >= 1.0);

    // The fault ends: whoever failed is served again, the results that came meanwhile as well.
    network.state.lock().unwrap().instead.clear();
    eventually("a process that failed answers", || {
        let path = format!("/cron/{}?from=c2", failing[0]);
        (!network.compute.asked("GET", &path).is_empty()).then_some(())
    })
    .await;
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn monitoring_is_answered_once_it_is_stored_where_the_process_is() {
    let network = network();
    let options = Options { cron_interval: NEVER, ..network.options() };
    let messenger = network.messenger_with(options.clone()).await;
    let failing = || ("GET /results/", Answer::Json(500, json!({ "error": "not now" })));
    network.state.lock().unwrap().cron = vec![("start".into(), empty())];
    network.state.lock().unwrap().instead = vec![failing()];
    let item = monitor_item(&network, A);
    let path = format!("/monitor/{A}");
    assert_eq!(post(&messenger, &path, item.raw().clone()).await.0, 502, "nobody knows where it is");
    assert_eq!(get(&messenger, "/monitors").await["total"], 0);
    // No poll works between the answer and the end of the program; a result comes to be meanwhile.
    network.state.lock().unwrap().instead.extend((0..50).map(|_| ("GET /cron/", failing().1)));
    assert_eq!(post(&messenger, &path, item.raw().clone()).await.0, 200);
    messenger.stop().await.unwrap();
    {
        let mut state = network.state.lock().unwrap();
        state.cron.push(result(1));
        let newest = json!({ "edges": [{ "cursor": "c1", "node": empty() }] });
        state.instead = vec![("GET /results/", Answer::Json(200, newest))];
    }
    let messenger = network.messenger_with(options).await;
    eventually("the result that came after the answer", || (ticks(&network) == ["tick 1"]).then_some(())).await;
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unmonitoring_does_not_wait_for_a_poll_that_hangs() {
    let network = network();
    let messenger = network.messenger().await;
    network.state.lock().unwrap().instead = (0..10).map(|_| ("GET /cron/", Answer::Silence)).collect();
    let (item, path) = (monitor_item(&network, A), format!("/monitor/{A}"));
    let polls = || network.compute.asked("GET", "/cron/").len();
    for round in 1..=3 {
        assert_eq!(post(&messenger, &path, item.raw().clone()).await.0, 200);
        eventually("a poll hangs", || (polls() >= round).then_some(())).await;
        let begun = std::time::Instant::now();
        assert_eq!(request(&messenger, reqwest::Method::DELETE, &path, item.raw().clone()).await.0, 200);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(get(&messenger, "/monitors").await["total"], 0);
    }
    // The polls that hung are over, and a new monitor works.
    network.state.lock().unwrap().instead.clear();
    network.state.lock().unwrap().cron = vec![result(1)];
    assert_eq!(post(&messenger, &path, item.raw().clone()).await.0, 200);
    network.state.lock().unwrap().cron.push(result(2));
    eventually("a tick", || (!ticks(&network).is_empty()).then_some(())).await;
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_born_elsewhere_runs_from_the_first_message_for_it_on() {
    let network = network();
    network.state.lock().unwrap().waking = vec![A];
    let options = Options { auto_cron: true, ..network.options() };
    let messenger = network.messenger_with(options.clone()).await;
    network.state.lock().unwrap().cron = vec![("start".into(), empty())];
    assert_eq!(get(&messenger, "/monitors").await["total"], 0);
    for process in [A, B] {
        assert_eq!(post(&messenger, "/", network.message(process, "hello").raw().clone()).await.0, 202);
    }
    let polled = |process: ProcessId| network.compute.asked("GET", &format!("/cron/{process}")).len();
    eventually("it is polled", || (polled(A) > 0).then_some(())).await;
    network.state.lock().unwrap().cron.push(result(1));
    eventually("its tick", || ticks(&network).contains(&"tick 1".to_owned()).then_some(())).await;
    assert_eq!(polled(B), 0, "the other one does not wake by itself");

    // What somebody says holds, whatever comes by later.
    let (item, path) = (monitor_item(&network, A), format!("/monitor/{A}"));
    assert_eq!(request(&messenger, reqwest::Method::DELETE, &path, item.raw().clone()).await.0, 200);
    messenger.stop().await.unwrap();
    let before = polled(A);
    let messenger = network.messenger_with(options).await;
    assert_eq!(post(&messenger, "/", network.message(A, "again").raw().clone()).await.0, 202);
    crate::network::idle(&messenger).await;
    assert_eq!((get(&messenger, "/monitors").await["total"].clone(), polled(A)), (json!(0), before));
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_that_are_too_large_together_are_asked_for_in_smaller_pages() {
    let network = network();
    let messenger = network.messenger_with(Options { max_result_bytes: 20_000, ..network.options() }).await;
    network.state.lock().unwrap().cron = (1..=60)
        .map(|number| {
            let (cursor, mut node) = result(number);
            node["Output"] = json!("x".repeat(1_000));
            (cursor, node)
        })
        .collect();
    let item = monitor_item(&network, A);
    assert_eq!(post(&messenger, &format!("/monitor/{A}"), item.raw().clone()).await.0, 200);
    eventually("all ticks", || (ticks(&network).len() == 60).then_some(())).await;
    assert_eq!(ticks(&network), (1..=60).map(|number| format!("tick {number}")).collect::<Vec<_>>());
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_cron_asks_for_more_than_can_be_sent_waits_for_room_and_loses_nothing() {
    let network = network();
    let options = network.options();
    let budgets = Budgets { waiting_per_cron: 10, ..Budgets::default() };
    let options = Options { limits: Limits { budgets, ..options.limits }, ..options };
    let messenger = network.messenger_with(options).await;
    {
        let mut state = network.state.lock().unwrap();
        state.cron = (1..=200).map(result).collect();
        state.instead = (0..10_000).map(|_| ("POST /", Answer::Json(500, json!({ "error": "down" })))).collect();
    }
    let item = monitor_item(&network, A);
    assert_eq!(post(&messenger, &format!("/monitor/{A}"), item.raw().clone()).await.0, 200);
    eventually("it fills what it may have", || (messenger.queued() == 10).then_some(())).await;
    let mut page = Value::Null;
    for _ in 0..200 {
        page = get(&messenger, "/monitors").await;
        if page["monitors"][0]["error"].is_string() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(page["monitors"][0]["error"].as_str().unwrap().contains("when there is room"), "{page}");
    assert_eq!(messenger.queued(), 10);
    network.state.lock().unwrap().instead.clear();
    eventually("all ticks", || (ticks(&network).len() == 200).then_some(())).await;
    assert_eq!(ticks(&network), (1..=200).map(|number| format!("tick {number}")).collect::<Vec<_>>());
    assert_eq!(get(&messenger, "/dead-letters").await["deadLetters"], json!([]));
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_born_elsewhere_has_room_of_its_own_whoever_wrote_to_it_first() {
    // Of several pages: two that are polled at the same moment may be over it together, by a page.
    const ROOM: usize = 200;
    let network = network();
    {
        let mut state = network.state.lock().unwrap();
        state.waking = vec![A];
        state.cron = vec![("start".into(), empty())];
        state.behaviour = Some(Box::new(|_, item| {
            let boots = item?.tags().get("Type") == Some("Process");
            let hello = json!({ "Target": A, "Anchor": "1", "Data": "hello", "Tags": [] });
            boots.then(|| json!({ "Messages": [hello], "Spawns": [], "Assignments": [] }))
        }));
    }
    let options = network.options();
    let budgets = Budgets { waiting_per_cron: ROOM, ..Budgets::default() };
    let limits = Limits { budgets, ..options.limits };
    let messenger = network.messenger_with(Options { auto_cron: true, limits, ..options }).await;
    let first = network.spawn_with(None, &[("Cron-Interval", "1-second")]);
    assert_eq!(post(&messenger, "/", first.raw().clone()).await.0, 202);
    let polled = |process: ProcessId| !network.compute.asked("GET", &format!("/cron/{process}")).is_empty();
    eventually("both are polled", || (polled(first.id().into()) && polled(A)).then_some(())).await;
    idle(&messenger).await;
    {
        let mut state = network.state.lock().unwrap();
        state.instead = (0..30_000).map(|_| ("POST /", Answer::Json(500, json!({ "error": "down" })))).collect();
        state.cron.extend((1..=600).map(result));
    }
    eventually("each has filled its own", || (messenger.queued() == 2 * ROOM).then_some(())).await;
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_monitored_already_takes_no_place_of_a_lineage_that_writes_to_it() {
    const MONITORED: u8 = 20;
    let network = network();
    let monitored: Vec<_> = (3..3 + MONITORED).map(|byte| network.process(byte)).collect();
    let new = network.process(100);
    {
        let mut state = network.state.lock().unwrap();
        let all: Vec<_> = monitored.iter().copied().chain([new]).collect();
        let message = |target: &ProcessId| json!({ "Target": target, "Anchor": "1", "Data": "wake", "Tags": [] });
        let messages: Vec<_> = all.iter().map(message).collect();
        state.results.insert("go".into(), json!({ "Messages": messages, "Spawns": [], "Assignments": [] }));
        state.waking = all;
    }
    let options = network.options();
    let budgets = Budgets { crons_per_lineage: 1, ..Budgets::default() };
    let options = Options { auto_cron: true, limits: Limits { budgets, ..options.limits }, ..options };
    let messenger = network.messenger_with(options.clone()).await;
    for process in &monitored {
        let item = monitor_item(&network, *process);
        assert_eq!(post(&messenger, &format!("/monitor/{process}"), item.raw().clone()).await.0, 200);
    }
    assert_eq!(get(&messenger, "/monitors").await["total"], MONITORED);
    messenger.stop().await.unwrap();
    let messenger = network.messenger_with(options).await;
    assert_eq!(post(&messenger, "/", network.message(A, "go").raw().clone()).await.0, 202);
    let polled = || !network.compute.asked("GET", &format!("/cron/{new}")).is_empty();
    eventually("the new one has the place", || polled().then_some(())).await;
    assert_eq!(get(&messenger, "/monitors").await["total"], MONITORED + 1);
    assert_eq!(crate::network::metric(&messenger, "ao_mu_over_budget_total{limit=\"crons\"}").await, Some(0.0));
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_cron_result_that_cannot_be_read_or_used_is_a_dead_letter_and_those_after_it_have_their_turn() {
    let network = network();
    let messenger = network.messenger_with(Options { max_result_bytes: 20_000, ..network.options() }).await;
    network.state.lock().unwrap().cron = (1..=9)
        .map(|number| {
            let (cursor, mut node) = result(number);
            match number {
                3 => node["Output"] = json!({ "cursor": "not this", "data": "x".repeat(100_000) }),
                6 => node = json!({ "Error": "no arrays" }),
                _ => {}
            }
            (cursor, node)
        })
        .collect();
    let item = monitor_item(&network, A);
    assert_eq!(post(&messenger, &format!("/monitor/{A}"), item.raw().clone()).await.0, 200);
    eventually("the others", || (ticks(&network).len() == 7).then_some(())).await;
    assert_eq!(ticks(&network), [1, 2, 4, 5, 7, 8, 9].map(|number| format!("tick {number}")));
    let letters = get(&messenger, "/dead-letters").await["deadLetters"].clone();
    let told = |letter: &Value| {
        [&letter["emitter"], &letter["entry"], &letter["reason"]].map(|it| it.as_str().unwrap().to_owned())
    };
    let told: Vec<_> = letters.as_array().unwrap().iter().rev().map(told).collect();
    assert_eq!(told.len(), 2, "{letters}");
    for ([emitter, entry, reason], (cursor, why)) in
        told.iter().zip([("c3", "more than 20000 bytes"), ("c6", "no array")])
    {
        assert_eq!(
            (emitter.as_str(), entry.as_str()),
            (A.to_string().as_str(), format!("cron result {cursor}").as_str())
        );
        assert!(reason.contains(why), "{reason}");
    }
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lateness_is_counted_from_when_the_cron_message_was_due() {
    use base64::Engine;
    let network = network();
    let messenger = network.messenger().await;
    let late = |number: u32, by: u64| {
        let cursor = json!({ "timestamp": now() - by, "ordinate": "0", "cron": "1-second", "sort": "ASC" }).to_string();
        (base64::engine::general_purpose::STANDARD.encode(cursor), result(number).1)
    };
    let item = monitor_item(&network, A);
    network.state.lock().unwrap().cron = vec![late(1, 90_000), late(2, 40_000), ("unreadable".into(), result(3).1)];
    assert_eq!(post(&messenger, &format!("/monitor/{A}"), item.raw().clone()).await.0, 200);
    eventually("the ticks", || (ticks(&network).len() == 3).then_some(())).await;
    let counted =
        async |what: &str| crate::network::metric(&messenger, &format!("ao_mu_cron_lateness_seconds_{what}")).await;
    assert_eq!(counted("count").await, Some(2.0));
    let sum = counted("sum").await.unwrap();
    assert!((130.0..150.0).contains(&sum), "{sum}");
    messenger.stop().await.unwrap();
}

/// A network whose compute unit answers every `GET /cron/{process}` with these results, wherever it was asked to begin.
fn repeating(results: u32) -> (Network, Peer) {
    let edges: Vec<_> = (0..results)
        .map(|number| {
            let (cursor, node) = result(number);
            json!({ "cursor": cursor, "node": node })
        })
        .collect();
    let compute = Peer::start(move |call| match call.path.as_str() {
        path if path.starts_with("/cron/") => Answer::Json(200, json!({ "edges": edges })),
        path if path.starts_with("/results/") => Answer::Json(200, json!({ "edges": [] })),
        _ => Answer::Json(200, empty()),
    });
    (network(), compute)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compute_unit_that_tells_the_same_again_is_asked_less_and_less_often_and_nothing_is_pushed_twice() {
    // A full page, after which the next one is asked for at once, and a short one.
    for results in [50, 1] {
        let (network, compute) = repeating(results);
        let options = Options { cu_url: compute.url(), ..network.options() };
        let messenger = network.messenger_with(options).await;
        let item = monitor_item(&network, A);
        assert_eq!(post(&messenger, &format!("/monitor/{A}"), item.raw().clone()).await.0, 200);
        let monitor = || async { get(&messenger, "/monitors").await["monitors"][0].clone() };
        let deadline = Instant::now() + DEADLINE;
        while monitor().await["failures"].as_u64() != Some(3) {
            assert!(Instant::now() < deadline, "{}", monitor().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let error = monitor().await["error"].clone();
        assert!(error.as_str().unwrap().contains("after the cursor"), "{error}");
        assert!(compute.asked("GET", "/cron/").len() <= 5, "{}", compute.asked("GET", "/cron/").len());
        eventually("each result is pushed", || (ticks(&network).len() == results as usize).then_some(())).await;
        idle(&messenger).await;
        assert_eq!(network.scheduler.asked("POST", "/").len(), results as usize, "posted once each");
        messenger.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compute_unit_that_leads_round_in_a_circle_is_noticed_and_each_result_is_pushed_once() {
    const ROUND: usize = 3;
    let network = network();
    let edges: Vec<_> = (0..ROUND as u32).map(result).collect();
    let compute = Peer::start(move |call| match call.path.as_str() {
        path if path.starts_with("/cron/") => {
            let at = edges.iter().position(|(cursor, _)| path.contains(&format!("from={cursor}&")));
            let (cursor, node) = &edges[at.map_or(0, |at| (at + 1) % ROUND)];
            Answer::Json(200, json!({ "edges": [{ "cursor": cursor, "node": node }] }))
        }
        path if path.starts_with("/results/") => Answer::Json(200, json!({ "edges": [] })),
        _ => Answer::Json(200, empty()),
    });
    let messenger = network.messenger_with(Options { cu_url: compute.url(), ..network.options() }).await;
    let item = monitor_item(&network, A);
    assert_eq!(post(&messenger, &format!("/monitor/{A}"), item.raw().clone()).await.0, 200);
    let monitor = || async { get(&messenger, "/monitors").await["monitors"][0].clone() };
    let deadline = Instant::now() + DEADLINE;
    while monitor().await["failures"].as_u64() != Some(2) {
        assert!(Instant::now() < deadline, "{}", monitor().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(monitor().await["error"].as_str().unwrap().contains("at one before it"), "{}", monitor().await);
    assert_eq!(compute.asked("GET", "/cron/").len(), ROUND + 2);
    eventually("each result is pushed", || (ticks(&network).len() == ROUND).then_some(())).await;
    idle(&messenger).await;
    assert_eq!(network.scheduler.asked("POST", "/").len(), ROUND, "posted once each");
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compute_unit_that_always_has_something_due_is_not_asked_without_pause() {
    let network = network();
    network.state.lock().unwrap().cron_next = Some("0".into());
    let messenger = network.messenger_with(Options { cron_interval: NEVER, ..network.options() }).await;
    let item = monitor_item(&network, A);
    assert_eq!(post(&messenger, &format!("/monitor/{A}"), item.raw().clone()).await.0, 200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    // At 0, 50, 150, 350, 750 and 1550 ms.
    let polls = network.compute.asked("GET", "/cron/").len();
    assert!((2..=6).contains(&polls), "{polls} polls in two seconds");
    messenger.stop().await.unwrap();
}
