//! From a client's item to everything that follows from it, with peers that fail and a messenger that stops in between
//! (spec 04 §10, §11, §13, §21).

use std::time::{Duration, Instant};

use holon_mu::Options;
use holon_mu::crank::step::INDEX_ATTEMPTS;
use holon_protocol::{DataItem, ItemId, ProcessId};
use serde_json::{Value, json};

use crate::network::{MODULE, Network, SCHEDULER, empty, eventually, idle, post};
use crate::peer::Answer;

const A: ProcessId = ProcessId::from_bytes([1; 32]);
const B: ProcessId = ProcessId::from_bytes([2; 32]);
const WALLET: ItemId = ItemId::from_bytes([50; 32]);

fn message(target: impl serde::Serialize, anchor: u32, data: &str) -> Value {
    json!({
        "Target": target, "Anchor": format!("{anchor:032}"), "Data": data,
        "Tags": [{ "name": "Reference", "value": anchor.to_string() }],
    })
}

fn network() -> Network {
    let network = Network::start();
    network.process(1);
    network.process(2);
    network
}

fn result(network: &Network, data: &str, result: Value) {
    network.state.lock().unwrap().results.insert(data.to_owned(), result);
}

fn outbox(messages: Vec<Value>) -> Value {
    json!({ "Messages": messages, "Spawns": [], "Assignments": [] })
}

fn data(log: &[DataItem]) -> Vec<String> {
    log.iter().map(|item| String::from_utf8(item.data().to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn everything_a_result_asks_for_is_sent_in_order_and_what_cannot_be_is_skipped() {
    let network = network();
    let messages = vec![
        message(B, 1, "first"),
        message(WALLET, 2, "to a wallet"),
        message(B, 3, "second"),
        json!({ "Anchor": "4", "Tags": [], "Data": "no target" }),
        message(B, 5, "third"),
    ];
    let assigned = ItemId::from_bytes([60; 32]);
    result(
        &network,
        "go",
        json!({
            "Messages": messages,
            "Spawns": [{
                "Data": "boot me", "Anchor": "6",
                "Tags": [{ "name": "Module", "value": MODULE }, { "name": "Reference", "value": "6" }],
            }],
            "Assignments": [{ "Processes": [B], "Message": assigned, "BaseLayer": true, "Exclude": ["Data"] }],
        }),
    );
    result(&network, "first", outbox(vec![message(A, 1, "answer")]));
    let messenger = network.messenger().await;
    let item = network.message(A, "go");
    assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    idle(&messenger).await;

    assert_eq!(data(&network.log(B)), ["first", "second", "third"]);
    let pushed = &network.log(B)[0];
    assert_eq!(pushed.owner_address(), network.wallet.address());
    let (emitter, root, module) = (A.to_string(), item.id().to_string(), MODULE.to_string());
    let tags: Vec<_> = pushed.tags().iter().map(|tag| (tag.name.as_str(), tag.value.as_str())).collect();
    let expected = [
        ("Reference", "1"),
        ("Data-Protocol", "ao"),
        ("Type", "Message"),
        ("Variant", "ao.TN.1"),
        ("From-Process", &emitter),
        ("From-Module", &module),
        ("Pushed-For", &root),
    ];
    assert_eq!(tags, expected);
    assert_eq!(&pushed.anchor().unwrap(), b"00000000000000000000000000000001");

    let spawned = {
        let state = network.state.lock().unwrap();
        assert_eq!(data(&state.uploads), ["to a wallet"]);
        let (path, _) = &state.assignments[0];
        assert_eq!(*path, format!("/?process-id={B}&assign={assigned}&base-layer&exclude=Data"));
        *state.processes.keys().find(|id| ![A, B].contains(id)).unwrap()
    };

    let log = network.log(A);
    let notice = log.iter().find(|item| item.tags().get("Action") == Some("Spawned")).unwrap();
    assert_eq!(notice.tags().get("Process"), Some(&*spawned.to_string()));
    assert_eq!(notice.tags().get("From-Process"), Some(&*emitter));
    assert_eq!(notice.tags().get("Reference"), Some("6"));
    let answer = log.iter().find(|item| item.data()[..] == *b"answer").unwrap();
    assert_eq!(answer.tags().get("Pushed-For"), Some(&*root), "the root, not the parent");
    let boots = network.compute.asked("GET", &format!("/result/{spawned}?process-id={spawned}&no-busy=1"));
    assert_eq!(boots.len(), 1, "the boot's result is pulled once");

    let dead = messenger.dead_letters(10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, "Target is missing");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_clients_process_is_booted_known_at_once_and_announced_to_its_target() {
    let network = network();
    let messenger = network.messenger().await;
    let item = network.spawn(Some(B));
    let process = ProcessId::from(item.id());
    result(&network, &process.to_string(), outbox(vec![message(process, 1, "to myself")]));
    let (status, body) = post(&messenger, "/", item.raw().clone()).await;
    assert_eq!((status, body), (202, json!({ "message": "Processing DataItem", "id": item.id() })));
    assert_eq!(post(&messenger, "/", network.message(process, "hello").raw().clone()).await.0, 202);
    idle(&messenger).await;
    let mut log = data(&network.log(process));
    log.sort();
    assert_eq!(log, [" ", "hello", "to myself"], "the process itself is the first entry");
    let announced = network.state.lock().unwrap().assignments[0].0.clone();
    assert_eq!(announced, format!("/?process-id={B}&assign={process}"));
    let asked = network.scheduler.asked("GET", &format!("/processes/{process}"));
    assert_eq!(asked.len(), 0, "the messenger knows what it forwarded");
    messenger.stop().await.unwrap();

    let quiet = network.messenger_with(Options { push_boots: false, ..network.options() }).await;
    let item = network.spawn(None);
    assert_eq!(post(&quiet, "/", item.raw().clone()).await.0, 202);
    idle(&quiet).await;
    assert_eq!(network.compute.asked("GET", &format!("/result/{}", item.id())).len(), 0);
    quiet.stop().await.unwrap();
}

#[tokio::test]
async fn a_scheduler_that_fails_gets_the_same_bytes_again_and_order_is_kept() {
    let network = network();
    result(&network, "go", outbox((1..=5).map(|number| message(B, number, &number.to_string())).collect()));
    let messenger = network.messenger().await;
    let item = network.message(A, "go");
    assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    {
        let mut state = network.state.lock().unwrap();
        for _ in 0..3 {
            state.instead.push(("POST /", Answer::Json(500, json!({ "error": "down" }))));
        }
        state.instead.push(("POST /", Answer::Silence));
        state.instead.push(("POST /", Answer::Redirect(307, "/".into())));
    }
    idle(&messenger).await;
    assert_eq!(data(&network.log(B)), ["1", "2", "3", "4", "5"]);
    let bodies: std::collections::BTreeSet<_> =
        network.scheduler.asked("POST", "/").into_iter().map(|call| call.body).collect();
    assert_eq!(bodies.len(), 6, "the client's item and five others, never signed twice");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn an_item_whose_answer_was_lost_is_found_and_its_result_pushed() {
    let network = network();
    result(&network, "go", outbox(vec![message(B, 1, "ping")]));
    result(&network, "ping", outbox(vec![message(A, 1, "pong")]));
    let messenger = network.messenger().await;
    let item = network.message(A, "go");
    // The client's item and the first pushed one are taken, but nobody hears of it.
    network.state.lock().unwrap().lost =
        vec![Answer::Json(502, json!("bad gateway")), Answer::Json(500, json!("lost"))];
    assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 502);
    eventually("the answer arrives", || network.log(A).into_iter().find(|item| item.data()[..] == *b"pong")).await;
    idle(&messenger).await;
    assert_eq!(data(&network.log(B)), ["ping"]);
    assert!(!network.scheduler.asked("GET", &format!("/{}?process-id={A}", item.id())).is_empty());
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_busy_or_failing_compute_unit_is_asked_again() {
    let network = network();
    result(&network, "go", outbox(vec![message(B, 1, "done")]));
    {
        let mut state = network.state.lock().unwrap();
        for _ in 0..3 {
            state.instead.push(("GET /result", Answer::Json(500, json!({ "error": "down" }))));
        }
        state.instead.push(("GET /result", Answer::Json(202, json!({ "message": "in progress" }))));
        state.instead.push(("GET /result", Answer::Json(200, json!({ "Messages": [] }))));
        state.instead.push(("GET /result", Answer::Redirect(302, format!("{}moved", network.compute.url()))));
        state.instead.push(("GET /moved", Answer::Json(425, json!({ "error": "later" }))));
    }
    let messenger = network.messenger().await;
    assert_eq!(post(&messenger, "/", network.message(A, "go").raw().clone()).await.0, 202);
    eventually("the message is scheduled", || (data(&network.log(B)) == ["done"]).then_some(())).await;
    idle(&messenger).await;
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_refusal_for_good_becomes_a_dead_letter_with_its_reason_and_the_rest_goes_on() {
    let network = network();
    result(&network, "go", outbox(vec![message(B, 1, "refused"), message(B, 2, "taken")]));
    let messenger = network.messenger().await;
    {
        let mut state = network.state.lock().unwrap();
        state.instead.push(("GET /result", Answer::Json(413, json!({ "error": "module is too large" }))));
    }
    assert_eq!(post(&messenger, "/", network.message(A, "evaluation is refused").raw().clone()).await.0, 202);
    idle(&messenger).await;
    assert_eq!(post(&messenger, "/", network.message(A, "go").raw().clone()).await.0, 202);
    network.state.lock().unwrap().instead.push(("POST /", Answer::Json(400, json!({ "error": "not on this unit" }))));
    idle(&messenger).await;
    assert_eq!(data(&network.log(B)), ["taken"]);
    let reasons: Vec<_> = messenger.dead_letters(10).await.unwrap().into_iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons[0].contains("module is too large") && reasons[1].contains("not on this unit"), "{reasons:?}");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_left_when_the_unit_stops_goes_on_when_it_starts_again() {
    let network = network();
    result(&network, "go", outbox((1..=20).map(|number| message(B, number, &number.to_string())).collect()));
    let item = network.message(A, "go");
    let messenger = network.messenger().await;
    // The compute unit does not answer: the push is pending when the unit stops.
    network.state.lock().unwrap().instead.push(("GET /result", Answer::Silence));
    assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    eventually("the result is asked for", || network.compute.asked("GET", "/result").pop()).await;
    messenger.stop().await.unwrap();
    assert_eq!(network.log(B).len(), 0);

    // Stop again and again while it is pushed.
    for stop_after in [1, 5, 12] {
        let messenger = network.messenger().await;
        eventually("some are scheduled", || (network.log(B).len() >= stop_after).then_some(())).await;
        messenger.stop().await.unwrap();
    }
    let messenger = network.messenger().await;
    idle(&messenger).await;
    let expected: Vec<_> = (1..=20).map(|number| number.to_string()).collect();
    assert_eq!(data(&network.log(B)), expected);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn an_item_forwarded_when_the_unit_stopped_is_pushed_after_the_start() {
    let network = network();
    result(&network, "go", outbox(vec![message(B, 1, "ping")]));
    let item = network.message(A, "go");
    let patient = Options { scheduler_timeout: std::time::Duration::from_secs(60), ..network.options() };
    let messenger = network.messenger_with(patient).await;
    // The scheduler takes the item and never answers; the unit is stopped meanwhile.
    network.state.lock().unwrap().lost = vec![Answer::Silence];
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(messenger.url()).body(item.raw().clone()).timeout(std::time::Duration::from_millis(300));
    assert!(request.send().await.is_err(), "the client hears nothing");
    assert_eq!(network.log(A).len(), 1);
    messenger.stop().await.unwrap();
    assert_eq!(network.log(B).len(), 0);
    let messenger = network.messenger().await;
    eventually("its result is pushed", || (data(&network.log(B)) == ["ping"]).then_some(())).await;
    idle(&messenger).await;
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn cron_results_are_pushed_once_across_restarts_and_not_after_unmonitoring() {
    let network = network();
    let tick = |number: u32| (format!("cursor+{number}="), outbox(vec![message(B, number, &number.to_string())]));
    {
        let mut state = network.state.lock().unwrap();
        // Evaluated before monitoring began: not pushed.
        state.cron.push(("start".into(), outbox(vec![message(B, 999, "too early")])));
        state.cron.extend((1..=120).map(tick));
    }
    let monitor = DataItem::builder().target(A).data(b" ".to_vec()).sign(&network.client).unwrap();
    let messenger = network.messenger().await;
    let path = format!("/monitor/{A}");
    assert_eq!(post(&messenger, &path, monitor.raw().clone()).await.0, 200);
    eventually("the backlog is pushed", || (network.log(B).len() == 120).then_some(())).await;
    messenger.stop().await.unwrap();

    let messenger = network.messenger().await;
    network.state.lock().unwrap().cron.push(tick(121));
    eventually("the next tick is pushed", || (network.log(B).len() == 121).then_some(())).await;
    let pushed = network.log(B).pop().unwrap();
    assert_eq!(pushed.tags().get("Pushed-For"), None);
    let expected: Vec<_> = (1..=121).map(|number| number.to_string()).collect();
    assert_eq!(data(&network.log(B)), expected);
    let (status, _) = crate::network::request(&messenger, reqwest::Method::DELETE, &path, monitor.raw().clone()).await;
    assert_eq!(status, 200);
    let asked = network.compute.asked("GET", "/cron/");
    assert_eq!(asked[0].path, format!("/cron/{A}?from=start&limit=50"));
    let first = network.compute.asked("GET", "/results/");
    assert_eq!(first[0].path, format!("/results/{A}?sort=DESC&limit=1&processId={A}"));
    idle(&messenger).await;
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_spawn_may_name_its_scheduler_and_a_wallet_is_not_remembered_for_long() {
    let network = network();
    let scheduler = SCHEDULER.to_string();
    let mut asked = empty();
    asked["Spawns"] = json!([{
        "Tags": [{ "name": "Module", "value": "m" }, { "name": "Scheduler", "value": scheduler }],
    }]);
    result(&network, "go", asked);
    let messenger = network.messenger().await;
    assert_eq!(post(&messenger, "/", network.message(A, "go").raw().clone()).await.0, 202);
    idle(&messenger).await;
    let posted = network.scheduler.asked("POST", "/");
    let spawn = DataItem::parse(posted[1].body.clone()).unwrap();
    assert_eq!(spawn.tags().all("Scheduler").collect::<Vec<_>>(), [&*scheduler]);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn results_are_pushed_in_the_order_that_the_scheduler_names_with_its_answers() {
    let network = network();
    let [second, first] = ["second", "first"].map(|data| network.message(A, data));
    for (data, anchor) in [("second", 2), ("first", 1)] {
        result(&network, data, outbox(vec![message(B, anchor, &format!("of the {data}"))]));
    }
    let messenger = network.messenger().await;
    {
        // Somebody else posted in between: what is posted here first has the later place.
        let mut state = network.state.lock().unwrap();
        let answer = |item: &DataItem, nonce: &str| {
            Answer::With(("nonce", nonce.to_owned()), json!({ "id": item.id(), "timestamp": 1 }))
        };
        state.lost = vec![answer(&second, "7"), answer(&first, "6")];
        let start: &'static str = format!("GET /result/{}", second.id()).leak();
        state.instead.extend((0..20).map(|_| (start, Answer::Json(202, json!({})))));
    }
    for item in [&second, &first] {
        assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    }
    idle(&messenger).await;
    assert_eq!(data(&network.log(B)), ["of the first", "of the second"]);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_gateway_has_and_does_not_index_is_no_wallet_and_not_waited_for_without_end() {
    let network = network();
    let [never, later] = [51, 52].map(|byte| ItemId::from_bytes([byte; 32]));
    network.state.lock().unwrap().unindexed = vec![never, later];
    let entries = [(never.into(), "lost"), (later.into(), "late"), (B, "soon")];
    result(&network, "go", outbox(entries.map(|(target, data)| message(target, 1, data)).into()));
    let mut options = network.options();
    options.limits.max_retry_delay_ms = 20;
    let messenger = network.messenger_with(options).await;
    let (status, body) = post(&messenger, "/", network.message(never.into(), "x").raw().clone()).await;
    assert_eq!(status, 404, "{body}");
    assert_eq!(post(&messenger, "/", network.message(A, "go").raw().clone()).await.0, 202);
    eventually("the other one is not held up", || (data(&network.log(B)) == ["soon"]).then_some(())).await;
    let process = network.process(52);
    eventually("it arrives once it is known", || (data(&network.log(process)) == ["late"]).then_some(())).await;
    idle(&messenger).await;
    let dead = messenger.dead_letters(10).await.unwrap();
    let reasons: Vec<_> = dead.iter().map(|letter| &*letter.reason).collect();
    assert_eq!(
        reasons,
        [format!("{never} is on Arweave, but the gateway's index does not say whether it is a process")]
    );
    let looked = network.gateway.asked("HEAD", &format!("/{never}")).len();
    assert!(looked > INDEX_ATTEMPTS as usize / 2, "an index may be late: it was looked up {looked} times");
    assert_eq!(network.state.lock().unwrap().uploads.len(), 0, "nothing was taken for a wallet");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_result_that_never_comes_is_given_up_when_the_scheduler_does_not_have_the_message() {
    let network = network();
    let messenger = network.messenger().await;
    // The scheduler answers as if it took these, and files them elsewhere.
    for number in 0..40 {
        let receipt = json!({ "id": ItemId::from_bytes([9; 32]), "timestamp": 1 });
        let item = network.message(A, &format!("lost {number}"));
        {
            let mut state = network.state.lock().unwrap();
            state.instead.push(("POST /", Answer::Json(200, receipt)));
            for _ in 0..4 {
                let start: &'static str = format!("GET /result/{}", item.id()).leak();
                state.instead.push((start, Answer::Json(500, json!({ "error": "no such message" }))));
            }
        }
        assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    }
    result(&network, "go", outbox(vec![message(B, 1, "ping")]));
    assert_eq!(post(&messenger, "/", network.message(A, "go").raw().clone()).await.0, 202);
    eventually("the one behind is pushed", || (data(&network.log(B)) == ["ping"]).then_some(())).await;
    idle(&messenger).await;
    let dead = messenger.dead_letters(100).await.unwrap();
    assert_eq!(dead.len(), 40);
    assert!(dead.iter().all(|letter| letter.reason.contains("does not have this message")));
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn spawns_and_assignments_are_tried_again_while_the_scheduler_is_unavailable() {
    let network = network();
    let assigned = ItemId::from_bytes([60; 32]);
    result(
        &network,
        "go",
        json!({
            "Messages": [],
            "Spawns": [{ "Tags": [{ "name": "Module", "value": MODULE }], "Data": "x" }],
            "Assignments": [{ "Processes": [B], "Message": assigned }],
        }),
    );
    let messenger = network.messenger().await;
    let item = network.message(A, "go");
    network.state.lock().unwrap().instead.push(("GET /result", Answer::Json(202, json!({}))));
    assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    {
        let mut state = network.state.lock().unwrap();
        for _ in 0..8 {
            state.instead.push(("POST /", Answer::Json(503, json!({ "error": "the gateway did not answer" }))));
        }
    }
    idle(&messenger).await;
    {
        let state = network.state.lock().unwrap();
        assert_eq!((state.processes.len(), state.assignments.len()), (3, 1));
    }
    assert!(messenger.dead_letters(10).await.unwrap().is_empty());
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn an_assignment_whose_answer_was_lost_is_told_from_the_message_that_was_posted() {
    let network = network();
    let messenger = network.messenger().await;
    network.state.lock().unwrap().lost = vec![Answer::Json(502, json!("bad gateway"))];
    let assigned = ItemId::from_bytes([60; 32]);
    assert_eq!(post(&messenger, &format!("/?process-id={B}&assign={assigned}"), "").await.0, 502);
    idle(&messenger).await;
    let made = network.state.lock().unwrap().assignments[0].1;
    let pulls: Vec<_> = network.compute.asked("GET", "/result/").into_iter().map(|call| call.path).collect();
    assert_eq!(pulls, [format!("/result/{made}?process-id={B}&no-busy=1")]);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn results_keep_the_order_of_the_log_when_an_answer_was_lost() {
    let network = network();
    let messenger = network.messenger().await;
    let [first, second] = ["first", "second"].map(|data| network.message(A, data));
    result(&network, "first", outbox(vec![message(B, 1, "from the first")]));
    result(&network, "second", outbox(vec![message(B, 2, "from the second")]));
    {
        let mut state = network.state.lock().unwrap();
        // The scheduler takes it, nobody hears so, and it cannot be asked for a while.
        state.lost = vec![Answer::Json(502, json!("bad gateway"))];
        let asked: &'static str = Box::leak(format!("GET /{}?", first.id()).into_boxed_str());
        state.instead.extend((0..6).map(|_| (asked, Answer::Json(500, json!({ "error": "restarting" })))));
    }
    assert_eq!(post(&messenger, "/", first.raw().clone()).await.0, 502);
    assert_eq!(post(&messenger, "/", second.raw().clone()).await.0, 202);
    idle(&messenger).await;
    assert_eq!(data(&network.log(B)), ["from the first", "from the second"]);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_compute_unit_that_takes_a_minute_is_asked_once_and_keeps_nobody_else_waiting() {
    const MINUTE: Duration = Duration::from_secs(60);
    let network = network();
    let messenger = network.messenger().await;
    let slow = network.message(A, "slow");
    let asked: &'static str = Box::leak(format!("GET /result/{}", slow.id()).into_boxed_str());
    let answer = Answer::Later(MINUTE, outbox(vec![message(B, 1, "after a minute")]));
    network.state.lock().unwrap().instead.push((asked, answer));
    result(&network, "quick", outbox(vec![message(A, 1, "at once")]));
    let begun = Instant::now();
    assert_eq!(post(&messenger, "/", slow.raw().clone()).await.0, 202);
    assert_eq!(post(&messenger, "/", network.message(B, "quick").raw().clone()).await.0, 202);
    eventually("the quick one", || data(&network.log(A)).contains(&"at once".to_owned()).then_some(())).await;
    assert!(begun.elapsed() < MINUTE / 2);
    while !data(&network.log(B)).contains(&"after a minute".to_owned()) {
        assert!(begun.elapsed() < MINUTE * 2, "it never comes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() >= MINUTE);
    idle(&messenger).await;
    let asked = asked.trim_start_matches("GET ");
    assert_eq!(network.compute.asked("GET", asked).len(), 1, "not again and again");
    messenger.stop().await.unwrap();
}
