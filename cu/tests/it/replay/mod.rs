//! Rebuilding a process from Arweave alone: the same results and the same state as live, and an error that names the slot
//! where the weave does not hold what the scheduler signed.

mod liar;
mod lies;
mod missing;

use std::time::{Duration, Instant};

use holon_arweave::{Gateway, GatewayOptions, Query};
use holon_cu::replay::{Replay, ReplayError, ReplayOptions, Report};
use holon_cu::{LogSource, Options, Service};
use holon_protocol::{Bundle, DataItem, Nonce, ProcessId};
use serde_json::{Value, json};
use url::Url;

use self::liar::{Liar, edges, nonce};
use crate::network::{Network, answer, listener};

/// Longest wait for uploads.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Waits until the weave has all assignments of a process up to `last`.
async fn settled(network: &Network, process: ProcessId, last: u64) {
    let gateway = Gateway::new(GatewayOptions::new(network.gateway.clone())).unwrap();
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        let mut query = Query::default().tag("Process", process.to_string()).tag("Type", "Assignment");
        let mut found = 0;
        loop {
            let page = gateway.nodes(&query).await.unwrap();
            found += page.nodes.len() as u64;
            if !page.has_next_page {
                break;
            }
            query.after = page.end_cursor;
        }
        if found > last {
            return;
        }
        assert!(Instant::now() < deadline, "{found} of {} assignments are on the weave", last + 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn options(folder: &tempfile::TempDir, gateway: &Url) -> ReplayOptions {
    let mut options = ReplayOptions::new(folder.path().to_owned(), gateway.clone());
    options.retries = 2;
    options.backoff = Duration::from_millis(10);
    options
}

/// Replays in a folder of its own.
async fn replay(gateway: &Url, process: ProcessId, to: Option<u64>) -> Result<Report, ReplayError> {
    let folder = tempfile::tempdir().unwrap();
    let mut replay = Replay::open(options(&folder, gateway), process).await?;
    let report = replay.advance(to.map(Nonce)).await;
    replay.close().await;
    report
}

/// Publishes copies of items in a bundle, so that the gateway knows where their bytes are.
async fn bundle_up(network: &Network, items: &[DataItem]) {
    let bundle = DataItem::builder().tag("Bundle-Format", "binary").tag("Bundle-Version", "2.0.0");
    network.publish(&bundle.data(Bundle::encode(items)).sign(&network.user).unwrap()).await;
}

/// A process with everything that a log can hold; returns its last nonce.
async fn eventful(network: &Network, process: ProcessId) -> u64 {
    let user = &network.user;
    let mut last = 0;
    for action in ["Add", "X-Echo", "X-Fail", "X-Trap", "X-Refuse", "Add", "X-Environment"] {
        network.send(process, action).await;
        last += 1;
    }
    // Data and an anchor that are no text, no anchor at all, no data.
    let message = || {
        DataItem::builder().target(process).tag("Data-Protocol", "ao").tag("Type", "Message").tag("Action", "X-Echo")
    };
    for item in [
        message().anchor([0xff; 32]).data(vec![0xc3, 0x28, 0xff, b'a']).sign(user),
        message().data("kein Anker – aber Umlaute äöü").sign(user),
        message().tag("From-Process", "somebody").data("pushed").sign(user),
        message().tag("From-Process", "somebody").data("pushed").sign(&network.cu_wallet),
        message().sign(user),
    ] {
        network.schedule(&item.unwrap()).await;
        last += 1;
    }
    // Items that are assigned: one twice, one with exclusions, one that names the process as its target.
    let news = DataItem::builder().tag("Action", "X-Echo").data("news").sign(user).unwrap();
    let letter = message().tag("Topic", "letter").anchor([b'7'; 32]).data("read me").sign(user).unwrap();
    for (item, exclude) in [(&news, ""), (&news, "Data"), (&letter, ""), (&letter, "Data,Anchor")] {
        network.publish(item).await;
        network.assign(process, item.id(), exclude).await;
        last += 1;
    }
    network.send(process, "Add").await;
    last + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_rebuilt_from_arweave_alone() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let last = eventful(&network, process).await;
    network.peek(process).await;
    let (_, mut live) = network.json(&format!("/results/{process}?limit=1000")).await;
    // What the scheduler's JSON leaves open, Arweave does not.
    let marks = live["edges"].as_array_mut().unwrap().iter_mut();
    let marked = marks.filter_map(|edge| edge.as_object_mut().unwrap().remove("unchecked")).collect::<Vec<_>>();
    assert_eq!(marked, [json!(true)], "the one with bytes that are no text");
    let image = network.get(&format!("/state/{process}")).await.bytes().await.unwrap();
    // From the scheduler, slot by slot.
    let folder = tempfile::tempdir().unwrap();
    let mut served = options(&folder, &network.gateway);
    served.log = LogSource::Scheduler;
    served.scheduler_urls = vec![(network.su_wallet.address(), network.su.url().parse().unwrap())];
    let mut served = Replay::open(served, process).await.unwrap();
    let mut roots = Vec::new();
    for slot in 0..=last {
        roots.push(served.advance(Some(Nonce(slot))).await.unwrap().state_root);
    }
    served.close().await;

    settled(&network, process, last).await;
    let Network { weave, gateway, su, cu, proxy, client, cu_wallet, .. } = network;
    cu.unwrap().stop().await.unwrap();
    su.stop().await.unwrap();
    drop(proxy);

    // A replay, slot by slot and at once.
    let folder = tempfile::tempdir().unwrap();
    let mut own = Replay::open(options(&folder, &gateway), process).await.unwrap();
    for (slot, root) in roots.iter().enumerate() {
        let report = own.advance(Some(Nonce(slot as u64))).await.unwrap();
        assert_eq!((report.slot, report.state_root), (Nonce(slot as u64), *root));
    }
    assert!(matches!(own.advance(Some(Nonce(0))).await, Err(ReplayError::Passed { .. })));
    let error = own.advance(Some(Nonce(last + 1))).await.unwrap_err();
    assert!(matches!(error, ReplayError::NoSlot { last: end, .. } if end == Nonce(last)), "{error}");
    let path = folder.path().join("image");
    own.write_memory(std::fs::File::create(&path).unwrap()).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == image, "the memory is that of the live process");
    own.close().await;
    let report = replay(&gateway, process, None).await.unwrap();
    assert_eq!((report.slot, Some(&report.state_root)), (Nonce(last), roots.last()));
    assert_eq!(report.memory_bytes, image.len() as u64);

    // A unit that has never seen a scheduler gives the same results.
    let data = tempfile::tempdir().unwrap();
    let mut options = Options::new(data.path().join("cu"), cu_wallet, gateway.clone());
    (options.log, options.retries, options.backoff) = (LogSource::Arweave, 2, Duration::from_millis(10));
    let unit = Service::start(options, listener()).await.unwrap();
    let get = async |path: String| answer(client.get(format!("{}{path}", unit.url())).send().await.unwrap()).await;
    let newest = live["edges"].as_array().unwrap().last().unwrap();
    let (status, state) = get(format!("/state/{process}?to={}", report.timestamp)).await;
    assert_eq!(status, 200, "{state}");
    let (_, rebuilt) = get(format!("/results/{process}?limit=1000")).await;
    assert_eq!(rebuilt, live);
    assert!(newest["node"]["Output"].is_string());
    unit.stop().await.unwrap();
    weave.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_fetched_once_and_an_interrupted_replay_goes_on() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    for _ in 0..230 {
        network.send(process, "Add").await;
    }
    settled(&network, process, 230).await;
    let whole = replay(&network.gateway, process, None).await.unwrap();
    assert_eq!(whole.slot, Nonce(230));
    // The weave goes away while the third window is read.
    let liar = Liar::start(network.gateway.clone());
    liar.answers(|_, body| {
        let third = |edge: &Value| nonce(edge).is_some_and(|nonce| nonce >= 200);
        // The question for the newest ones finds earlier ones, too.
        if !edges(body).is_empty() && edges(body).iter().all(third) {
            *body = json!({ "errors": [{ "message": "gone" }] });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let mut interrupted = Replay::open(options(&folder, &liar.url), process).await.unwrap();
    // What lies before is reached although what follows cannot be read.
    assert_eq!(interrupted.advance(Some(Nonce(60))).await.unwrap().slot, Nonce(60));
    let error = interrupted.advance(None).await.unwrap_err();
    assert!(matches!(error, ReplayError::Failed(_)) && error.to_string().contains("gone"), "{error}");
    interrupted.close().await;
    liar.answers(|_, _| {});
    let mut again = Replay::open(options(&folder, &liar.url), process).await.unwrap();
    let report = again.advance(None).await.unwrap();
    assert_eq!(report.state_root, whole.state_root);
    let progress = again.observer().progress();
    assert_eq!(progress.slots, 231);
    assert_eq!(progress.shelved, 200, "{progress:?}");
    // Assignment and message of each new entry, the process, and its own assignment.
    assert_eq!(progress.verified, 31 * 2 + 2, "{progress:?}");
    again.close().await;
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crons_between_entries_come_out_as_live() {
    let network = Network::start().await;
    let process = network.spawn(&[("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Add")]).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let message = network.send(process, "Add").await;
    let live = network.count(process, message).await;
    assert!(live.parse::<u64>().unwrap() > 3, "no cron fired: {live}");
    settled(&network, process, 1).await;
    let (_, expected) = network.json(&format!("/results/{process}?limit=1000")).await;
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(folder.path().join("cu"), network.cu_wallet.clone(), network.gateway.clone());
    options.log = LogSource::Arweave;
    let unit = Service::start(options, listener()).await.unwrap();
    let get =
        async |path: String| answer(network.client.get(format!("{}{path}", unit.url())).send().await.unwrap()).await.1;
    assert_eq!(get(format!("/result/{message}?process-id={process}")).await["Output"], live);
    let own = get(format!("/results/{process}?limit=1000")).await;
    // The live unit goes on firing after the last entry; the weave cannot say that nothing follows.
    let (own, expected) = (own["edges"].as_array().unwrap(), expected["edges"].as_array().unwrap());
    assert_eq!(own[..], expected[..own.len()]);
    assert_eq!(own.last().unwrap()["node"]["Output"], live);
    unit.stop().await.unwrap();
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_goes_on_from_arweave_when_the_scheduler_is_gone() {
    let mut network = Network::start_with(|options| options.log = LogSource::Auto).await;
    let process = network.spawn(&[]).await;
    let first = network.send(process, "Add").await;
    assert_eq!(network.count(process, first).await, "2");
    let second = network.send(process, "Add").await;
    let third = network.send(process, "Add").await;
    settled(&network, process, 3).await;
    network.proxy.tamper(|_, json| *json = json!({ "nothing": "that a scheduler says" }));
    // The live memory goes on from where it stands.
    assert_eq!(network.count(process, second).await, "3");
    assert_eq!(network.count(process, third).await, "4");
    // So does a unit that knows nothing yet.
    network.stop_cu().await;
    std::fs::remove_dir_all(network.folder.path().join("cu")).unwrap();
    network.start_cu().await;
    assert_eq!(network.count(process, third).await, "4");
    assert_eq!(network.outputs(process).await, ["1", "2", "3", "4"]);
    network.stop().await;
}
