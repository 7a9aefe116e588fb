//! What is missing, comes late or is too large: what is waited for, and what is not.

use std::time::{Duration, Instant};

use holon_arweave::{Gateway, GatewayOptions, Query};
use holon_cu::replay::{Replay, ReplayError, ReplayOptions};
use holon_cu::{LogSource, Options, Service};
use holon_protocol::assignment::Assignment;
use holon_protocol::{DataItem, Nonce};
use serde_json::{Value, json};
use url::Url;

use super::liar::{Liar, about, at_slot, set_tag};
use super::{bundle_up, options, replay, settled};
use crate::network::{Network, answer, listener};

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_slot_that_is_asked_for_is_not_waited_for() {
    // One look again would take longer than the test allows.
    const PAUSE: Duration = Duration::from_secs(20);
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..6 {
        messages.push(network.send(process, "Add").await);
    }
    settled(&network, process, 6).await;
    let liar = Liar::start(network.gateway.clone());
    let hidden = format!("/raw/{}", messages[4]);
    liar.answers(move |path, body| {
        at_slot(body, 4, |_| false);
        if path == hidden {
            *body = Value::Null;
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let options = ReplayOptions { backoff: PAUSE, ..options(&folder, &liar.url) };
    assert_eq!(options.clone().patient(Duration::from_secs(61)).retries, 3);
    let begun = Instant::now();
    let mut replay = Replay::open(options, process).await.unwrap();
    for slot in [0, 2, 3] {
        assert_eq!(replay.advance(Some(Nonce(slot))).await.unwrap().slot, Nonce(slot));
    }
    assert!(begun.elapsed() < PAUSE, "it took {:?}", begun.elapsed());
    // What is needed is waited for, and it is said which slot that is.
    let observer = replay.observer();
    let waits = async {
        while observer.progress().waiting.is_none_or(|(_, since)| since < Duration::from_millis(200)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        observer.progress().waiting.map(|(slot, _)| slot)
    };
    tokio::select! {
        slot = waits => assert_eq!(slot, Some(Nonce(4))),
        report = replay.advance(Some(Nonce(4))) => panic!("{report:?}"),
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_a_slot_that_is_missing_is_evaluated_at_once_and_the_slot_is_waited_for_once() {
    const PATIENCE: Duration = Duration::from_secs(6);
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    for _ in 0..5 {
        network.send(process, "Add").await;
    }
    settled(&network, process, 5).await;
    let liar = Liar::start(network.gateway.clone());
    liar.answers(|_, body| at_slot(body, 3, |_| false));
    let folder = tempfile::tempdir().unwrap();
    let options =
        ReplayOptions { backoff: Duration::from_millis(200), ..options(&folder, &liar.url) }.patient(PATIENCE);
    let mut replay = Replay::open(options, process).await.unwrap();
    let (observer, begun) = (replay.observer(), Instant::now());
    let waits = async {
        loop {
            let progress = observer.progress();
            if let (3, Some((slot, _))) = (progress.slots, progress.waiting) {
                return (slot, begun.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (report, (slot, took)) = tokio::join!(replay.advance(Some(Nonce(5))), waits);
    let whole = begun.elapsed();
    assert_eq!(slot, Nonce(3));
    assert!(took < PATIENCE / 2, "slots 0 to 2 took {took:?}");
    assert!(report.unwrap_err().to_string().contains("slot 3"));
    // The pauses double, so the last of them may end later.
    assert!((PATIENCE..PATIENCE * 2).contains(&whole), "{whole:?}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn assignments_that_carry_more_than_a_window_holds_are_read_one_after_the_other() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let message = network.send(process, "Add").await;
    settled(&network, process, 1).await;
    let gateway = Gateway::new(GatewayOptions::new(network.gateway.clone())).unwrap();
    let query = Query::default().tag("Process", process.to_string()).tag("Nonce", "1");
    let node = gateway.nodes(&query).await.unwrap().nodes.remove(0);
    let (mut says, mut last) = (Assignment::from_tags(&node.tags).unwrap(), node.id.into());
    for nonce in 2..7 {
        says = Assignment {
            nonce: Nonce(nonce),
            timestamp: holon_protocol::Timestamp(says.timestamp.0 + 1),
            hash_chain: says.hash_chain.next(last),
            message: Some(message),
            ..says
        };
        // Far more than is read at once; its bytes are found in the bundle.
        let item = says.item([nonce as u8; 32]).data(vec![b'x'; 8 << 20]).sign(&network.su_wallet).unwrap();
        last = item.id().into();
        bundle_up(&network, &[item]).await;
    }
    assert_eq!(replay(&network.gateway, process, None).await.unwrap().slot, Nonce(6));
    assert_eq!(replay(&network.gateway, process, Some(4)).await.unwrap().slot, Nonce(4));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_that_cannot_be_fetched_holds_up_no_other() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..6 {
        messages.push(network.send(process, "Add").await.to_string());
    }
    settled(&network, process, 6).await;
    let liar = Liar::start(network.gateway.clone());
    let fourth = format!("/raw/{}", messages[3]);
    let failing = fourth.clone();
    liar.answers(move |path, body| {
        if path == failing {
            *body = Value::Null;
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let mut broken = Replay::open(options(&folder, &liar.url), process).await.unwrap();
    let error = broken.advance(None).await.unwrap_err();
    assert!(matches!(error, ReplayError::Failed(_)) && error.to_string().contains("500"), "{error}");
    assert_eq!(broken.report().await.unwrap().slot, Nonce(3));
    broken.close().await;
    liar.answers(|_, _| {});
    let mut again = Replay::open(options(&folder, &liar.url), process).await.unwrap();
    assert_eq!(again.advance(None).await.unwrap().slot, Nonce(6));
    let progress = again.observer().progress();
    assert_eq!((progress.shelved, progress.verified), (6, 2 + 2), "{progress:?}");
    again.close().await;
    for message in messages.iter().filter(|message| !fourth.contains(*message)) {
        assert_eq!(liar.count(&format!("/raw/{message}")), 1, "{message}");
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_stops_in_front_of_an_assigned_item_that_is_too_large_unless_its_data_is_excluded() {
    let network = Network::start_with(|options| options.assigned_max_bytes = 1000).await;
    let process = network.spawn(&[]).await;
    let large = DataItem::builder().tag("Action", "X-Echo").data(vec![b'x'; 1001]).sign(&network.user).unwrap();
    let small = DataItem::builder().tag("Action", "X-Echo").data(vec![b'y'; 1000]).sign(&network.user).unwrap();
    for item in [&large, &small] {
        network.publish(item).await;
    }
    let before = network.send(process, "Add").await;
    network.assign(process, large.id(), "Data").await;
    let fits = network.assign(process, small.id(), "").await;
    let stops = network.assign(process, large.id(), "").await;
    let after = network.send(process, "Add").await;
    // Live.
    for message in [stops, after] {
        let (status, body) = network.json(&format!("/result/{message}?process-id={process}")).await;
        let stop =
            format!("slot 4 of process {process}: the data of message {} is larger than the 1000 bytes", large.id());
        assert!(status == 422 && body["error"].as_str().unwrap().starts_with(&stop), "{status}: {body}");
    }
    assert_eq!(network.count(process, before).await, "2");
    let seen = network.result(process, fits).await["Output"].clone();
    assert_eq!((&seen["Nonce"], seen["Data"].as_str().map(str::len)), (&json!(3), Some(1000)));
    // From Arweave.
    settled(&network, process, 5).await;
    let liar = Liar::start(network.gateway.clone());
    let folder = tempfile::tempdir().unwrap();
    let options = ReplayOptions { assigned_max_bytes: 1000, ..options(&folder, &liar.url) };
    let mut own = Replay::open(options, process).await.unwrap();
    let error = own.advance(None).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("slot 4 of process {process}: the data of message")), "{error}");
    let at_three = own.report().await.unwrap();
    assert_eq!(at_three.slot, Nonce(3));
    own.close().await;
    // Only to hash what is excluded was it read, and once.
    assert_eq!(liar.count(&format!("/raw/{}", large.id())), 1);
    // Whoever reads more goes on.
    let report = replay(&network.gateway, process, None).await.unwrap();
    assert_eq!(report.slot, Nonce(5));
    assert_eq!(replay(&network.gateway, process, Some(3)).await.unwrap().state_root, at_three.state_root);
    network.stop().await;
}

/// A unit of its own that reads logs from the network's scheduler and everything else from `gateway`.
async fn unit(network: &Network, gateway: &Url, folder: &tempfile::TempDir) -> holon_cu::Running {
    let mut options = Options::new(folder.path().join("cu"), network.cu_wallet.clone(), gateway.clone());
    options.scheduler_urls = vec![(network.su_wallet.address(), network.su.url().parse().unwrap())];
    options.allow_private_urls = true;
    (options.retries, options.backoff) = (1, Duration::from_millis(10));
    Service::start(options, listener()).await.unwrap()
}

async fn get(network: &Network, unit: &holon_cu::Running, path: &str) -> (u16, Value) {
    answer(network.client.get(format!("{}{path}", unit.url())).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_waits_for_the_blocks_that_the_log_names_instead_of_going_on_without_them() {
    let network = Network::start().await;
    let process = network.spawn(&[("Cron-Interval", "1-block"), ("Cron-Tag-Action", "Add")]).await;
    let ask = async |path: String| {
        answer(network.client.get(format!("{}{path}", network.su.url())).send().await.unwrap()).await.1
    };
    let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let origin = number(&ask(format!("/processes/{process}")).await["block"]);
    // The scheduler looks at the height every few seconds.
    let deadline = Instant::now() + Duration::from_secs(60);
    while number(&ask("/timestamp".into()).await["block_height"]) < origin + 3 {
        assert!(Instant::now() < deadline, "the scheduler hears of no blocks");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let message = network.send(process, "Add").await;
    let entry = ask(format!("/{message}?process-id={process}")).await;
    let tags = serde_json::from_value(entry["assignment"]["tags"].clone()).unwrap();
    let named = Assignment::from_tags(&tags).unwrap().block_height.0;
    let liar = Liar::start(network.gateway.clone());
    let hides = move |path: &str, body: &mut Value| {
        if let Some(height) = path.strip_prefix("/block/height/")
            && height.parse::<u64>().unwrap() + 1 >= named
        {
            *body = Value::Null;
        }
        if let Some(edges) = body.pointer_mut("/data/blocks/edges").and_then(Value::as_array_mut) {
            edges.retain(|edge| edge["node"]["height"].as_u64().unwrap() + 1 < named);
        }
    };
    liar.answers(hides);
    let folder = tempfile::tempdir().unwrap();
    let late = unit(&network, &liar.url, &folder).await;
    let path = format!("/result/{message}?process-id={process}");
    let (status, body) = get(&network, &late, &path).await;
    assert_eq!(status, 500, "{body}");
    assert!(body["error"].as_str().unwrap().contains(&format!("blocks from height {}", named - 1)), "{body}");
    // It knows them now, and is where everybody else is.
    liar.answers(|_, _| {});
    let (status, body) = get(&network, &late, &path).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["Output"], network.count(process, message).await);
    late.stop().await.unwrap();
    settled(&network, process, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(folder.path().join("cu"), network.cu_wallet.clone(), network.gateway.clone());
    options.log = LogSource::Arweave;
    let replayed = Service::start(options, listener()).await.unwrap();
    assert_eq!(get(&network, &replayed, &path).await.1["Output"], body["Output"]);
    replayed.stop().await.unwrap();
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_what_its_signature_covers_and_not_what_a_gateway_says_of_it() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let message = network.send(process, "Add").await;
    let (liar, module) = (Liar::start(network.gateway.clone()), network.module.to_string());
    liar.answers(move |_, body| {
        about(body, std::slice::from_ref(&module), |node| set_tag(node, "Compute-Limit", "100000001"));
    });
    let folder = tempfile::tempdir().unwrap();
    let believing = unit(&network, &liar.url, &folder).await;
    let path = format!("/result/{message}?process-id={process}");
    let (status, body) = get(&network, &believing, &path).await;
    assert!(status == 500 && body["error"].as_str().unwrap().contains("is not what its signature covers"), "{body}");
    liar.answers(|_, _| {});
    let (status, body) = get(&network, &believing, &path).await;
    assert_eq!((status, &body["Output"]), (200, &json!("2")), "{body}");
    believing.stop().await.unwrap();
    network.stop().await;
}
