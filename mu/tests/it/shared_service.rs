//! Whole messengers with one outbox on a real PostgreSQL: what goes on at another one when the first dies, who says what
//! others have, and what is left of a commit whose answer never came.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holon_mu::outbox::PostgresOptions;
use holon_mu::{Options, Running};
use holon_peers::postgres::{schema, shared};
use holon_protocol::{DataItem, ProcessId};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::network::{Network, eventually, get, idle, post};
use crate::peer::Answer;
use crate::storms::spawning;

const LEASE: Duration = Duration::from_millis(800);
const TARGET: ProcessId = ProcessId::from_bytes([200; 32]);
/// Processes with a cron, of as many shares.
const PROCESSES: u8 = 12;

fn options(network: &Network, url: String) -> Options {
    let postgres = PostgresOptions { schema: schema(), lease: LEASE, connections: 4, ..PostgresOptions::new(url) };
    Options { postgres: Some(postgres), ..network.options() }
}

/// What the crons of each process made, in the order in which it arrived.
fn ticks(network: &Network) -> BTreeMap<String, Vec<String>> {
    let mut ticks = BTreeMap::<_, Vec<_>>::new();
    for item in network.log(TARGET) {
        let from = item.tags().get("From-Process").unwrap().to_owned();
        ticks.entry(from).or_default().push(String::from_utf8(item.data().to_vec()).unwrap());
    }
    ticks
}

fn tick(network: &Network, number: u32) {
    let message =
        json!({ "Target": TARGET, "Anchor": format!("{number:032}"), "Data": format!("tick {number}"), "Tags": [] });
    let result = json!({ "Messages": [message], "Spawns": [], "Assignments": [] });
    network.state.lock().unwrap().cron.push((format!("c{number}"), result));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crons_go_on_at_another_messenger_when_the_first_dies_without_gap_or_double() {
    let network = Network::start();
    network.process(200);
    let processes: Vec<_> = (1..=PROCESSES).map(|byte| network.process(byte)).collect();
    let options = options(&network, shared().unwrap());
    // A runtime of its own, which ends at once with all that is in it.
    let doomed = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let first = {
        let options = options.clone();
        let begun = doomed.spawn(async move {
            let listener = holon_unit::server::bind("127.0.0.1:0").unwrap();
            holon_mu::Service::start(options, listener).await.unwrap()
        });
        begun.await.unwrap()
    };
    for process in &processes {
        let item = DataItem::builder().target(*process).data(b" ".to_vec()).sign(&network.client).unwrap();
        assert_eq!(post(&first, &format!("/monitor/{process}"), item.raw().clone()).await.0, 200);
    }
    tick(&network, 1);
    let all = |last: u32| {
        let all: Vec<_> = (1..=last).map(|number| format!("tick {number}")).collect();
        let network = &network;
        move || {
            let ticks = ticks(network);
            (ticks.len() == usize::from(PROCESSES) && ticks.values().all(|ticks| *ticks == all)).then_some(())
        }
    };
    eventually("the first tick of all", all(1)).await;

    let second = network.messenger_with(Options { data_dir: network.folder.path().join("second"), ..options }).await;
    let mut seen = json!(null);
    let begun = std::time::Instant::now();
    while seen["others"][0]["shares"] != 32 {
        assert!(begun.elapsed() < crate::network::DEADLINE, "{seen}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        seen = get(&second, "/monitors").await;
    }
    tick(&network, 2);
    eventually("the second tick of all, from both of them", all(2)).await;
    let seen = get(&second, "/monitors").await;
    let (own, theirs) = (seen["total"].as_u64().unwrap(), seen["others"][0]["monitors"].as_u64().unwrap());
    assert_eq!(own + theirs, u64::from(PROCESSES), "{seen}");
    assert!(seen["others"][0]["messenger"].is_string() && own < u64::from(PROCESSES), "{seen}");

    doomed.shutdown_background();
    tick(&network, 3);
    eventually("the third tick of all, from the one that is left", all(3)).await;
    tick(&network, 4);
    eventually("and so on", all(4)).await;
    idle(&second).await;
    assert_eq!(get(&second, "/monitors").await["total"], PROCESSES);
    assert_eq!(get(&second, "/dead-letters").await["deadLetters"], json!([]));
    drop(first);
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_repeats_at_another_messenger_is_pushed_once() {
    let network = Network::start();
    let process = network.process(1);
    let options = options(&network, shared().unwrap());
    let first = network.messenger_with(options.clone()).await;
    let second = network.messenger_with(options).await;
    let down = || Answer::Json(500, json!({ "error": "down" }));
    let assigned = network.message(process, "assigned").id();
    let assign = format!("/?process-id={process}&assign={assigned}");
    for number in 0..5 {
        // The first one does not hear whether its scheduler took it, and goes on asking; it has not.
        let item = network.message(process, &format!("twice {number}"));
        network.state.lock().unwrap().instead.push(("POST /", down()));
        assert_eq!(post(&first, "/", item.raw().clone()).await.0, 502);
        assert_eq!(post(&second, "/", item.raw().clone()).await.0, 202);
    }
    network.state.lock().unwrap().instead.push(("POST /", down()));
    assert_eq!(post(&first, &assign, "").await.0, 502);
    assert_eq!(post(&second, &assign, "").await.0, 202);
    idle(&first).await;
    idle(&second).await;
    eventually("everything is pushed", || (network.compute.asked("GET", "/result/").len() >= 6).then_some(())).await;
    idle(&first).await;
    idle(&second).await;
    let mut pulls: Vec<_> = network.compute.asked("GET", "/result/").into_iter().map(|call| call.path).collect();
    pulls.sort();
    let all = pulls.len();
    pulls.dedup();
    assert_eq!((all, pulls.len()), (6, 6), "{pulls:?}");
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_messenger_signed_is_not_pushed_by_another_one_with_another_wallet() {
    let network = Network::start();
    let (from, to) = (network.process(1), network.process(2));
    let entry = json!({ "Target": to, "Anchor": "1", "Tags": [], "Data": "signed here" });
    let module = json!([{ "name": "Module", "value": crate::network::MODULE }]);
    let spawn = json!({ "Anchor": "2", "Tags": module, "Data": "spawned here" });
    let assignment = json!({ "Processes": [to], "Message": from });
    let result = json!({ "Messages": [entry], "Spawns": [spawn], "Assignments": [assignment] });
    network.state.lock().unwrap().results.insert("go".into(), result);
    let mut options = options(&network, shared().unwrap());
    // Nobody is believed dead, and nothing pulled once more for that.
    options.postgres.as_mut().unwrap().lease = Duration::from_secs(30);
    let other =
        Options { wallet: network.client.clone(), data_dir: network.folder.path().join("other"), ..options.clone() };
    let messengers = [network.messenger_with(options).await, network.messenger_with(other).await];
    assert_eq!(post(&messengers[0], "/", network.message(from, "go").raw().clone()).await.0, 202);
    // The root, the message, the notice, the boot of the new process, the assignment.
    let pulls = || {
        let mut pulls: Vec<_> = network.compute.asked("GET", "/result/").into_iter().map(|call| call.path).collect();
        pulls.sort();
        pulls
    };
    eventually("everything is pushed", || (pulls().len() >= 5).then_some(())).await;
    for messenger in &messengers {
        idle(messenger).await;
    }
    let logs: Vec<_> = network.state.lock().unwrap().processes.values().flatten().cloned().collect();
    let signed: Vec<_> = logs.into_iter().filter(|item| item.tags().get("From-Process").is_some()).collect();
    assert_eq!(signed.len(), 3, "a message, a process and a notice");
    for messenger in &messengers {
        for item in &signed {
            assert_eq!(post(messenger, "/", item.raw().clone()).await.0, 202);
        }
        idle(messenger).await;
    }
    let all = pulls();
    let mut once = all.clone();
    once.dedup();
    assert_eq!((all.len(), once.len()), (5, 5), "{all:?}");
    for messenger in messengers {
        messenger.stop().await.unwrap();
    }
}

/// Two messengers, of which each has half of the work.
async fn sharing(network: &Network, options: Options) -> [Running; 2] {
    let first = network.messenger_with(options.clone()).await;
    let second = network.messenger_with(Options { data_dir: network.folder.path().join("second"), ..options }).await;
    let begun = std::time::Instant::now();
    while get(&second, "/monitors").await["others"][0]["shares"] != 32 {
        assert!(begun.elapsed() < crate::network::DEADLINE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    [first, second]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crons_that_spawn_crons_have_the_places_of_one_lineage_at_all_messengers_together() {
    const PLACES: usize = 4;
    let network = Network::start();
    network.state.lock().unwrap().cron = (1..=3).map(spawning).collect();
    let mut options = Options { auto_cron: true, ..options(&network, shared().unwrap()) };
    options.limits.budgets.crons_per_lineage = PLACES;
    let [first, second] = sharing(&network, options).await;
    let item = network.spawn_with(None, &[("Cron-Interval", "1-second")]);
    assert_eq!(post(&first, "/", item.raw().clone()).await.0, 202);
    let monitored = async |messenger: &Running| get(messenger, "/monitors").await["total"].as_u64().unwrap() as usize;
    let made = || network.state.lock().unwrap().processes.len();
    // Two that count at the same moment may both find the last place.
    let most = PLACES + 1;
    eventually("all that may be", || (made() > 6 * PLACES).then_some(())).await;
    let begun = std::time::Instant::now();
    let polled = loop {
        idle(&first).await;
        idle(&second).await;
        let polled = monitored(&first).await + monitored(&second).await;
        assert!(polled <= most && made() <= 1 + 6 * most, "{polled} of {} processes are polled", made());
        if made() == 1 + 6 * polled {
            break polled;
        }
        assert!(begun.elapsed() < crate::network::DEADLINE, "{polled} of {} processes are polled", made());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(polled >= PLACES);
    first.stop().await.unwrap();

    // Whoever goes on alone counts those that the other one began.
    network.state.lock().unwrap().cron.push(spawning(4));
    eventually("what the fourth result asks for", || (made() == 1 + 8 * polled).then_some(())).await;
    idle(&second).await;
    assert_eq!(monitored(&second).await, polled);
    second.stop().await.unwrap();
}

/// Processes of shares of either messenger, which pass on to one target what they get; `said` is how long the scheduler takes to say what
/// it took.
fn passing_on(network: &Network, said: fn(usize) -> Duration) -> Vec<ProcessId> {
    network.process(200);
    let mut state = network.state.lock().unwrap();
    state.numbered = Some(said);
    state.behaviour = Some(Box::new(|_, item| {
        let item = item.filter(|item| item.target() != Some(*TARGET.as_bytes()))?;
        let data = String::from_utf8(item.data().to_vec()).unwrap();
        let message = json!({ "Target": TARGET, "Anchor": format!("{data:0>32}"), "Data": data, "Tags": [] });
        Some(json!({ "Messages": [message], "Spawns": [], "Assignments": [] }))
    }));
    drop(state);
    (1..=6).map(|byte| network.process(byte)).collect()
}

/// How long the scheduler takes to say what it took: sometimes so long that what came after it has been heard of elsewhere.
fn said_after(place: usize) -> Duration {
    Duration::from_millis([0, 60, 5, 0, 30, 1, 0][place % 7])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_through_two_messengers_is_pushed_in_the_order_of_the_log() {
    const CLIENTS: usize = 8;
    const EACH: usize = 75;
    let network = Network::start();
    let processes = passing_on(&network, said_after);
    let mut options = options(&network, shared().unwrap());
    options.postgres.as_mut().unwrap().connections = 8;
    // On a machine that is busy an answer may take longer than results wait for it otherwise.
    options.limits.order_patience_ms = 60_000;
    let [first, second] = sharing(&network, options).await;
    let client = async |client: usize| {
        for number in 0..EACH {
            let process = processes[(client + number) % processes.len()];
            let item = network.message(process, &format!("{client:04}{number:04}"));
            let messenger = if (client * 7 + number * 3) % 5 < 2 { &first } else { &second };
            assert_eq!(post(messenger, "/", item.raw().clone()).await.0, 202);
        }
    };
    futures_util::future::join_all((0..CLIENTS).map(client)).await;
    for tenth in 1..=10 {
        let some = CLIENTS * EACH * tenth / 10;
        eventually("more are pushed", || (network.log(TARGET).len() >= some).then_some(())).await;
    }
    let text = |item: &DataItem| String::from_utf8(item.data().to_vec()).unwrap();
    for process in processes {
        let order: Vec<_> = network.log(process).iter().map(text).collect();
        let from = process.to_string();
        let arrived = network.log(TARGET);
        let arrived = arrived.iter().filter(|item| item.tags().get("From-Process") == Some(&from));
        assert_eq!(arrived.map(text).collect::<Vec<_>>(), order);
    }
    idle(&first).await;
    idle(&second).await;
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

/// The first item of a log is there long before anybody hears of it.
fn said_late(place: usize) -> Duration {
    if place == 0 { Duration::from_millis(1_500) } else { Duration::ZERO }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_waits_to_hear_of_what_another_messenger_posts_is_fetched_once() {
    let network = Network::start();
    let processes = passing_on(&network, said_late);
    let mut options = options(&network, shared().unwrap());
    // On a machine that is busy too nothing takes longer than results wait for it, nor is anybody believed dead.
    options.limits.order_patience_ms = 60_000;
    options.postgres.as_mut().unwrap().lease = Duration::from_secs(10);
    let [first, second] = sharing(&network, options).await;
    let items: Vec<_> = processes
        .iter()
        .flat_map(|process| ["1", "2"].map(|data| (*process, network.message(*process, data))))
        .collect();
    let early = async |(_, item): &(ProcessId, DataItem)| {
        assert_eq!(post(&first, "/", item.raw().clone()).await.0, 202);
    };
    let late = async {
        for (process, item) in items.iter().skip(1).step_by(2) {
            eventually("the first one is in its log", || (!network.log(*process).is_empty()).then_some(())).await;
            assert_eq!(post(&second, "/", item.raw().clone()).await.0, 202);
        }
    };
    futures_util::join!(futures_util::future::join_all(items.iter().step_by(2).map(early)), late);
    eventually("all are pushed", || (network.log(TARGET).len() == items.len()).then_some(())).await;
    for process in processes {
        let from = process.to_string();
        let arrived = network.log(TARGET);
        let arrived = arrived.iter().filter(|item| item.tags().get("From-Process") == Some(&from));
        let texts: Vec<_> = arrived.map(|item| String::from_utf8(item.data().to_vec()).unwrap()).collect();
        assert_eq!(texts, ["1", "2"]);
    }
    for (_, item) in &items {
        let fetched = network.compute.asked("GET", &format!("/result/{}", item.id())).len();
        assert_eq!(fetched, 1, "a result is not fetched again to pass the time");
    }
    idle(&first).await;
    idle(&second).await;
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

/// Passes on what is said to a database, and while it is deaf, no answer to a commit: the connection breaks instead.
async fn deaf_between(url: &str, deaf: Arc<AtomicBool>) -> String {
    let (before, rest) = url.split_once("127.0.0.1:").unwrap();
    let (port, after) = rest.split_once('/').unwrap();
    let port: u16 = port.parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let deaf = Arc::clone(&deaf);
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                let commits = AtomicBool::new(false);
                let there = async {
                    let mut bytes = vec![0; 64 * 1024];
                    while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
                        let commit = b"FROM change(";
                        commits
                            .store(bytes[..read].windows(commit.len()).any(|found| found == commit), Ordering::SeqCst);
                        if to_server.write_all(&bytes[..read]).await.is_err() {
                            return;
                        }
                    }
                };
                let back = async {
                    let mut bytes = vec![0; 64 * 1024];
                    while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
                        let unheard = deaf.load(Ordering::SeqCst) && commits.load(Ordering::SeqCst);
                        if unheard || to_client.write_all(&bytes[..read]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = there => {}
                    () = back => {}
                }
            });
        }
    });
    format!("{before}127.0.0.1:{own}/{after}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_whose_commit_was_never_answered_is_removed_and_nothing_was_forwarded() {
    let network = Network::start();
    network.process(1);
    let direct = shared().unwrap();
    let deaf = Arc::new(AtomicBool::new(false));
    let mut options = options(&network, deaf_between(&direct, Arc::clone(&deaf)).await);
    options.limits.stray_after_ms = 300;
    let postgres = options.postgres.as_mut().unwrap();
    postgres.lease = Duration::from_secs(30);
    let sql = format!("SELECT count(*) FROM {}.task WHERE holder IS NOT NULL", postgres.schema);
    let messenger = network.messenger_with(options).await;
    let process = ProcessId::from_bytes([1; 32]);
    // Its connections are there, and it has its shares.
    assert_eq!(post(&messenger, "/", network.message(process, "first").raw().clone()).await.0, 202);
    idle(&messenger).await;
    eventually("its result is asked for", || (!network.compute.asked("GET", "/result/").is_empty()).then_some(()))
        .await;
    idle(&messenger).await;

    let (client, connection) = tokio_postgres::connect(&direct, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let held = async || client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(held().await, 0);
    deaf.store(true, Ordering::SeqCst);
    let (status, body) = post(&messenger, "/", network.message(process, "second").raw().clone()).await;
    deaf.store(false, Ordering::SeqCst);
    assert_eq!(status, 503, "{body}");
    assert_eq!(network.log(process).len(), 1, "nothing was forwarded");
    assert_eq!(held().await, 1, "the database has made the change all the same");
    let begun = std::time::Instant::now();
    while held().await > 0 {
        assert!(begun.elapsed() < crate::network::DEADLINE, "it stays for as long as the messenger lives");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(post(&messenger, "/", network.message(process, "third").raw().clone()).await.0, 202);
    idle(&messenger).await;
    assert_eq!(get(&messenger, "/dead-letters").await["deadLetters"], json!([]));
    messenger.stop().await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
}
