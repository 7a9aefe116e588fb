//! Where schedulers are: what a messenger believes of it, for how long, and what becomes of those that are nowhere (spec 04 §9, §16).

use holon_protocol::{DataItem, ItemId, ProcessId};
use serde_json::{Value, json};

use crate::network::{MODULE, Network, SCHEDULER, idle, post};
use crate::peer::Answer;

const P: ProcessId = ProcessId::from_bytes([1; 32]);
const AN_HOUR_MS: &str = "3600000";
const FOR_EVER_MS: &str = "18446744073709551615";

/// The record of a scheduler that says where it is.
fn location(wallet: ItemId, url: &str, time_to_live_ms: &str) -> Value {
    let tag = |name: &str, value: &str| json!({ "name": name, "value": value });
    let tags = [
        tag("Data-Protocol", "ao"),
        tag("Type", "Scheduler-Location"),
        tag("Variant", "ao.TN.1"),
        tag("Url", url),
        tag("Time-To-Live", time_to_live_ms),
    ];
    json!({ "id": wallet, "owner": { "address": wallet, "key": "" }, "tags": tags,
        "block": { "id": "b", "height": 1, "timestamp": 1 } })
}

/// A process of the scheduler with this wallet, unlike those of other numbers.
fn process_at(network: &Network, scheduler: ItemId, number: usize) -> DataItem {
    DataItem::builder()
        .tag("Data-Protocol", "ao")
        .tag("Variant", "ao.TN.1")
        .tag("Type", "Process")
        .tag("Module", MODULE.to_string())
        .tag("Scheduler", scheduler.to_string())
        .tag("Number", number.to_string())
        .sign(&network.client)
        .unwrap()
}

#[tokio::test]
async fn what_cannot_have_been_sent_leaves_nothing_behind() {
    let network = Network::start();
    network.process(1);
    let (gone, closed) = {
        let listener = holon_unit::server::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // Nobody listens there any more.
        (ItemId::from_bytes([70; 32]), format!("http://127.0.0.1:{port}"))
    };
    let [nameless, inside] = [71, 72].map(|byte| ItemId::from_bytes([byte; 32]));
    network.state.lock().unwrap().published.extend([
        location(nameless, "http://no-such-scheduler.invalid", AN_HOUR_MS),
        location(inside, "http://localhost:9", AN_HOUR_MS),
    ]);
    let mut options = network.options();
    options.scheduler_urls.push((gone.to_string().parse().unwrap(), closed.parse().unwrap()));
    let messenger = network.messenger_with(options).await;
    for wallet in [gone, nameless, inside] {
        let item = process_at(&network, wallet, 0);
        let (status, body) = post(&messenger, "/", item.raw().clone()).await;
        assert!(matches!(status, 404 | 502), "{status} {body}");
        let error = body["error"].as_str().unwrap();
        assert!(error.contains("nothing was sent") || error.contains("is refused"), "{wallet}: {body}");
        assert_eq!(messenger.queued(), 0, "{wallet}");
    }
    messenger.stop().await.unwrap();
    // Nor in the outbox.
    let messenger = network.messenger().await;
    assert_eq!(messenger.queued(), 0);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_scheduler_that_moved_is_looked_for_again_long_before_its_record_is_over() {
    let network = Network::start();
    let other = Network::start();
    let wallet = ItemId::from_bytes([73; 32]);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let publish = |url: &str| network.state.lock().unwrap().published = vec![location(wallet, url, FOR_EVER_MS)];
    publish(&format!("http://{gone}"));
    let mut options = network.options();
    options.allow_private_urls = true;
    let messenger = network.messenger_with(options).await;
    let spawn = process_at(&network, wallet, 0);
    assert_eq!(post(&messenger, "/", spawn.raw().clone()).await.0, 502);
    publish(other.scheduler.url().as_str());
    let begun = std::time::Instant::now();
    while post(&messenger, "/", spawn.raw().clone()).await.0 != 202 {
        assert!(begun.elapsed() < crate::network::DEADLINE, "the old address is believed");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(other.state.lock().unwrap().processes.contains_key(&spawn.id().into()));
    let looked = network.gateway.asked("POST", "/graphql").len();
    assert!(looked <= 4, "not for each post: {looked}");
    idle(&messenger).await;
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_scheduler_that_failed_once_is_not_forgotten_while_the_gateway_says_nothing_of_it() {
    let network = Network::start();
    let other = Network::start();
    let wallet = ItemId::from_bytes([75; 32]);
    let record = location(wallet, other.scheduler.url().as_str(), AN_HOUR_MS);
    network.state.lock().unwrap().published = vec![record];
    let mut options = network.options();
    options.allow_private_urls = true;
    let messenger = network.messenger_with(options).await;
    let spawn = |number| process_at(&network, wallet, number);
    assert_eq!(post(&messenger, "/", spawn(0).raw().clone()).await.0, 202);
    network.state.lock().unwrap().published.clear();
    // What is known for less than five seconds is not doubted.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    other.state.lock().unwrap().instead.push(("POST /", Answer::Json(500, json!("out of order"))));
    // It is looked for after the failure, or with the post that comes next.
    let before = network.gateway.asked("POST", "/graphql").len();
    assert_eq!(post(&messenger, "/", spawn(1).raw().clone()).await.0, 502);
    for number in 2..=5 {
        let (status, body) = post(&messenger, "/", spawn(number).raw().clone()).await;
        assert_eq!(status, 202, "{body}");
    }
    let looked = network.gateway.asked("POST", "/graphql").len() - before;
    assert!((1..=4).contains(&looked), "once for the scheduler, not for each post: {looked}");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_scheduler_that_only_fails_fills_no_more_than_its_room() {
    let network = Network::start();
    network.process(1);
    let stranger = Network::start();
    let wallet = ItemId::from_bytes([70; 32]);
    // Not even that makes it ask for each message.
    let record = location(wallet, stranger.scheduler.url().as_str(), "0");
    network.state.lock().unwrap().published.push(record);
    let broken = || Answer::Json(500, json!({ "error": "broken" }));
    stranger.state.lock().unwrap().instead.extend((0..6_000).map(|_| ("", broken())));
    let mut options = network.options();
    options.allow_private_urls = true;
    options.limits.retry_delay_ms = 60_000;
    options.limits.max_retry_delay_ms = 60_000;
    let messenger = network.messenger_with(options).await;
    let messenger = &messenger;
    let spawn = |number| process_at(&network, wallet, number);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let room = 1_000;
    let (mut failed, mut refused) = (0, None);
    for round in 0..2 * room / 16 {
        let posts =
            (0..16).map(|number| http.post(messenger.url()).body(spawn(round * 16 + number).raw().clone()).send());
        for answer in futures_util::future::join_all(posts).await {
            let answer = answer.unwrap();
            match answer.status().as_u16() {
                502 => failed += 1,
                503 => refused = Some(answer),
                other => panic!("{other}"),
            }
        }
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("it is told that there is no room");
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert!(refused.text().await.unwrap().contains("has yet to say"));
    // Those that are forwarded at the same time may be over it.
    assert!((room..room + 32).contains(&failed) && messenger.queued() <= room + 32, "{failed}, {}", messenger.queued());
    let looked_up = network.gateway.asked("POST", "/graphql").len();
    assert!(looked_up < 20, "{looked_up} queries for {failed} messages");
    assert!(crate::network::metric(messenger, "ao_mu_unresolved").await.unwrap() >= room as f64);
    assert_eq!(post(messenger, "/", network.message(P, "to another one").raw().clone()).await.0, 202);
}

#[tokio::test]
async fn a_router_is_asked_once_where_a_process_lives_when_the_operator_says_so() {
    let (network, router) = (Network::start(), Network::start());
    for one in [&network, &router] {
        one.process(1);
    }
    let home = || Answer::Redirect(307, format!("{}?process-id={P}", network.scheduler.url()));
    router.state.lock().unwrap().instead.push(("GET /?process-id", home()));
    let options = holon_mu::Options {
        scheduler_urls: vec![(SCHEDULER, router.scheduler.url())],
        allow_private_urls: true,
        probe_routers: true,
        ..network.options()
    };
    let messenger = network.messenger_with(options).await;
    for number in 0..3 {
        let item = network.message(P, &format!("number {number}"));
        assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    }
    idle(&messenger).await;
    assert_eq!((network.log(P).len(), router.log(P).len()), (3, 0));
    assert_eq!(router.scheduler.asked("GET", "/?process-id").len(), 1);
    assert!(router.scheduler.asked("POST", "/").is_empty());
    messenger.stop().await.unwrap();
}
