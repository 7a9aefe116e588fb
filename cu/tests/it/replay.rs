//! Rebuilding a process from Arweave alone: the same results and the same state as live, and an error that names the slot
//! where the weave does not hold what the scheduler signed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use holon_arweave::{Gateway, GatewayOptions, Query, Uploader};
use holon_cu::replay::{Replay, ReplayError, ReplayOptions, Report};
use holon_cu::{LogSource, Options, Service};
use holon_protocol::assignment::Assignment;
use holon_protocol::{Bundle, DataItem, ItemId, Nonce, ProcessId, Signer};
use serde_json::{Value, json};
use url::Url;

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
    let (_, live) = network.json(&format!("/results/{process}?limit=1000")).await;
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

/// What changes an answer of the gateway: path, and the JSON of a GraphQL answer or the bytes as a JSON string. Null is a failure.
type Lie = Box<dyn FnMut(&str, &mut Value) + Send>;

/// Pages of other answers in front of those to questions about assignments. Gets the names and values of the tags asked for.
type Flood = Box<dyn FnMut(&Value) -> Vec<Vec<Value>> + Send>;

/// A gateway that changes what another says.
struct Liar {
    url: Url,
    lie: Arc<Mutex<Lie>>,
    flood: Arc<Mutex<Flood>>,
    /// Paths that were asked for.
    seen: Arc<Mutex<Vec<String>>>,
}

struct LiarData {
    base: Url,
    client: reqwest::Client,
    lie: Arc<Mutex<Lie>>,
    flood: Arc<Mutex<Flood>>,
    seen: Arc<Mutex<Vec<String>>>,
}

/// Cursors of pages that are not the weave's.
const FLOOD: &str = "flood ";

/// A page of the flood, or the question as it goes to the weave.
fn flooded(body: &[u8], data: &LiarData) -> Result<Value, Vec<u8>> {
    let Ok(mut question) = serde_json::from_slice::<Value>(body) else { return Err(body.to_vec()) };
    let tags = question["variables"]["tags"].clone();
    if !tags.to_string().contains("Assignment") {
        return Err(body.to_vec());
    }
    let pages = (data.flood.lock().unwrap())(&tags);
    let after = question["variables"]["after"].as_str().map(str::to_owned);
    let at = match after.as_deref().map(|after| after.strip_prefix(FLOOD)) {
        None => 0,
        Some(Some(at)) => at.parse().unwrap(),
        Some(None) => return Err(body.to_vec()),
    };
    match pages.get(at) {
        Some(page) => {
            let cursor = format!("{FLOOD}{}", at + 1);
            let edges: Vec<Value> = page.iter().map(|node| json!({ "cursor": cursor, "node": node })).collect();
            Ok(json!({ "data": { "transactions": { "pageInfo": { "hasNextPage": true }, "edges": edges } } }))
        }
        None => {
            let variables = question["variables"].as_object_mut().unwrap();
            if variables.remove("after").is_some() {
                let query = question["query"].as_str().unwrap();
                question["query"] = json!(query.replace("$after: String, ", "").replace("after: $after, ", ""));
            }
            Err(serde_json::to_vec(&question).unwrap())
        }
    }
}

async fn lie(request: HttpRequest, body: web::Bytes, data: web::Data<LiarData>) -> HttpResponse {
    let path = request.uri().to_string();
    data.seen.lock().unwrap().push(path.clone());
    let body = match flooded(&body, &data) {
        Ok(page) => return HttpResponse::Ok().json(page),
        Err(body) => body,
    };
    let method = request.method().as_str().parse().unwrap();
    let mut forwarded = data.client.request(method, data.base.join(&path).unwrap()).body(body);
    for name in ["content-type", "range"] {
        if let Some(value) = request.headers().get(name) {
            forwarded = forwarded.header(name, value.as_bytes());
        }
    }
    let answer = forwarded.send().await.unwrap();
    let status = actix_web::http::StatusCode::from_u16(answer.status().as_u16()).unwrap();
    let bytes = answer.bytes().await.unwrap();
    let mut response = HttpResponse::build(status);
    match path.as_str() {
        "/graphql" => {
            let mut json = serde_json::from_slice(&bytes).unwrap();
            (data.lie.lock().unwrap())(&path, &mut json);
            response.json(json)
        }
        _ => match std::str::from_utf8(&bytes) {
            Ok(text) => {
                let mut json = Value::String(text.to_owned());
                (data.lie.lock().unwrap())(&path, &mut json);
                match json.as_str() {
                    Some(text) => response.body(text.to_owned()),
                    None => HttpResponse::InternalServerError().finish(),
                }
            }
            Err(_) => response.body(bytes),
        },
    }
}

impl Liar {
    fn start(base: Url) -> Self {
        let listener = listener();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let lie_now: Arc<Mutex<Lie>> = Arc::new(Mutex::new(Box::new(|_, _| {})));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let flood: Arc<Mutex<Flood>> = Arc::new(Mutex::new(Box::new(|_| Vec::new())));
        let seen = Arc::default();
        let liar = Self { url, lie: lie_now, flood, seen };
        let (lie_now, flood, seen) = (liar.lie.clone(), liar.flood.clone(), liar.seen.clone());
        let data = web::Data::new(LiarData { base, client, lie: lie_now, flood, seen });
        let server = HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(lie)))
            .workers(1)
            .disable_signals()
            .listen(listener)
            .unwrap()
            .run();
        tokio::spawn(server);
        liar
    }

    /// How often this was asked for.
    fn count(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| *seen == path).count()
    }

    fn floods(&self, flood: impl FnMut(&Value) -> Vec<Vec<Value>> + Send + 'static) {
        *self.flood.lock().unwrap() = Box::new(flood);
    }

    fn answers(&self, lie: impl FnMut(&str, &mut Value) + Send + 'static) {
        *self.lie.lock().unwrap() = Box::new(lie);
    }
}

fn edges(body: &Value) -> Vec<Value> {
    body["data"]["transactions"]["edges"].as_array().cloned().unwrap_or_default()
}

fn set_edges(body: &mut Value, edges: Vec<Value>) {
    if body["data"]["transactions"]["edges"].is_array() {
        body["data"]["transactions"]["edges"] = json!(edges);
    }
}

/// The slot that an edge's node claims, if it is an assignment.
fn nonce(edge: &Value) -> Option<u64> {
    let tags = edge["node"]["tags"].as_array()?;
    tags.iter().find(|tag| tag["name"] == "Nonce")?["value"].as_str()?.parse().ok()
}

/// Leaves out or changes assignments.
fn at_slot(body: &mut Value, slot: u64, mut change: impl FnMut(&mut Value) -> bool) {
    let kept = edges(body).into_iter().filter_map(|mut edge| match nonce(&edge) == Some(slot) {
        true => change(&mut edge["node"]).then_some(edge),
        false => Some(edge),
    });
    let kept = kept.collect();
    set_edges(body, kept);
}

fn set_tag(node: &mut Value, name: &str, value: &str) {
    for tag in node["tags"].as_array_mut().unwrap() {
        if tag["name"] == name {
            tag["value"] = json!(value);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weave_that_lies_is_found_out_at_the_slot() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.push(network.send(process, "Add").await.to_string());
    }
    settled(&network, process, 5).await;
    let honest = replay(&network.gateway, process, None).await.unwrap();
    let third = messages[2].clone();
    let liar = Liar::start(network.gateway.clone());

    // What is only untidy changes nothing.
    liar.answers(|_, body| {
        let mut edges = edges(body);
        edges.reverse();
        edges.extend(edges.clone());
        set_edges(body, edges);
    });
    assert_eq!(replay(&liar.url, process, None).await.unwrap().state_root, honest.state_root);

    // Without its first entry a log cannot even be begun.
    liar.answers(|_, body| at_slot(body, 0, |_| false));
    let error = replay(&liar.url, process, None).await.unwrap_err().to_string();
    assert_eq!(error, format!("slot 0 of process {process}: no assignment is on Arweave, but there is one for slot 1"));

    let (one, two) = (third.clone(), third.clone());
    let cases: Vec<(u64, &str, Lie)> = vec![
        (3, "no assignment is on Arweave, but there is one for slot ", Box::new(|_, body| at_slot(body, 3, |_| false))),
        (
            3,
            "is forged: ",
            Box::new(|_, body| {
                at_slot(body, 3, |node| {
                    set_tag(node, "Timestamp", "1");
                    true
                });
            }),
        ),
        (
            // One that is good says that it stands elsewhere: that other place has one, and its own has none.
            4,
            "no assignment is on Arweave, but there is one for slot 5",
            Box::new(|_, body| {
                at_slot(body, 4, |node| {
                    set_tag(node, "Nonce", "3");
                    true
                });
            }),
        ),
        (
            3,
            "is forged: ",
            Box::new(move |path, body| {
                if path == format!("/raw/{one}") {
                    *body = json!("other data");
                }
            }),
        ),
        (
            3,
            " is not on Arweave",
            Box::new(move |_, body| {
                let kept = edges(body).into_iter().filter(|edge| edge["node"]["id"] != two.as_str()).collect();
                set_edges(body, kept);
            }),
        ),
    ];
    for (at, (slot, fault, lie)) in cases.into_iter().enumerate() {
        liar.answers(lie);
        let error = replay(&liar.url, process, None).await.unwrap_err();
        let (text, start) = (error.to_string(), format!("slot {slot} of process {process}: "));
        assert!(matches!(error, ReplayError::Log(_)), "case {at}: {text}");
        assert!(text.starts_with(&start) && text.contains(fault), "case {at}: {text}");
        // What lies before it is good.
        assert_eq!(replay(&liar.url, process, Some(2)).await.unwrap().slot, Nonce(2), "case {at}");
    }

    // A tail that is missing cannot be seen; the log ends there.
    liar.answers(|_, body| at_slot(body, 5, |_| false));
    assert_eq!(replay(&liar.url, process, None).await.unwrap().slot, Nonce(4));
    let error = replay(&liar.url, process, Some(5)).await.unwrap_err();
    assert!(error.to_string().contains("ends with slot 4; 5 was asked for"), "{error}");
    network.stop().await;
}

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

/// Publishes an assignment that no scheduler's log holds.
async fn publish_assignment(network: &Network, by: &Signer, says: &Assignment) -> ItemId {
    let item = says.item([0x5a; 32]).sign(by).unwrap();
    Uploader::new(network.gateway.clone()).unwrap().upload(&item).await.unwrap();
    item.id()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_lies_is_found_out_at_the_slot() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut last = None;
    for _ in 0..3 {
        last = Some(network.send(process, "Add").await);
    }
    settled(&network, process, 3).await;
    let gateway = Gateway::new(GatewayOptions::new(network.gateway.clone())).unwrap();
    let query = Query::default().tag("Process", process.to_string()).tag("Nonce", "3");
    let node = gateway.nodes(&query).await.unwrap().nodes.remove(0);
    let third = Assignment::from_tags(&node.tags).unwrap();
    // Another wallet's assignment is nobody's business.
    publish_assignment(&network, &network.user, &third).await;
    assert_eq!(replay(&network.gateway, process, None).await.unwrap().slot, Nonce(3));
    // One that the gateway changes is not the scheduler's: without a later one, the log ends before it.
    let liar = Liar::start(network.gateway.clone());
    let scheduler = network.su_wallet.address().to_string();
    liar.answers(move |_, body| {
        at_slot(body, 3, |node| {
            node["owner"]["address"] = json!(scheduler);
            node["owner"]["key"] = json!(holon_protocol::base64url::encode([9; 32]));
            true
        });
    });
    assert_eq!(replay(&liar.url, process, None).await.unwrap().slot, Nonce(2));
    let error = replay(&liar.url, process, Some(3)).await.unwrap_err().to_string();
    assert!(error.starts_with("slot 3 of process ") && error.contains("is forged"), "{error}");
    // A fourth entry that does not continue the chain.
    let fourth = Assignment {
        nonce: Nonce(4),
        timestamp: holon_protocol::Timestamp(third.timestamp.0 + 1),
        message: last,
        ..third.clone()
    };
    publish_assignment(&network, &network.su_wallet, &fourth).await;
    let error = replay(&network.gateway, process, None).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("slot 4 of process {process}: HashChain invalid")), "{error}");
    assert_eq!(replay(&network.gateway, process, Some(3)).await.unwrap().slot, Nonce(3));
    // A second assignment of one slot.
    let second = publish_assignment(&network, &network.su_wallet, &third).await;
    let error = replay(&network.gateway, process, None).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("slot 3 of process {process}: the scheduler signed two")), "{error}");
    assert!(error.contains(&second.to_string()) && error.contains(&node.id.to_string()), "{error}");
    assert_eq!(replay(&network.gateway, process, Some(2)).await.unwrap().slot, Nonce(2));
    network.stop().await;
}

/// Changes what a gateway says about some items.
fn about(body: &mut Value, ids: &[String], mut change: impl FnMut(&mut Value)) {
    let mut edges = edges(body);
    for edge in &mut edges {
        if ids.iter().any(|id| edge["node"]["id"] == id.as_str()) {
            change(&mut edge["node"]);
        }
    }
    set_edges(body, edges);
}

/// Publishes copies of items in a bundle, so that the gateway knows where their bytes are.
async fn bundle_up(network: &Network, items: &[DataItem]) {
    let bundle = DataItem::builder().tag("Bundle-Format", "binary").tag("Bundle-Version", "2.0.0");
    network.publish(&bundle.data(Bundle::encode(items)).sign(&network.user).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_and_what_was_assigned_is_read_from_the_items_and_not_from_what_a_gateway_says_of_them() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    // Its anchor and its sender look different when it is assigned.
    let sent = network.message(process, "X-Echo", &[("From-Process", "somebody")]);
    network.schedule(&sent).await;
    let news = DataItem::builder().tag("Action", "X-Echo").anchor([b'1'; 32]).data("news").sign(&network.user).unwrap();
    network.publish(&news).await;
    network.assign(process, news.id(), "").await;
    settled(&network, process, 2).await;
    bundle_up(&network, &[sent.clone(), news.clone()]).await;
    let honest = replay(&network.gateway, process, None).await.unwrap();
    let liar = Liar::start(network.gateway.clone());
    let sent = [sent.id().to_string()];
    liar.answers(move |_, body| about(body, &sent, |node| node["recipient"] = json!("")));
    assert_eq!(replay(&liar.url, process, None).await.unwrap().state_root, honest.state_root, "sent");
    let (news, me) = ([news.id().to_string()], process.to_string());
    liar.answers(move |_, body| {
        about(body, &news, |node| {
            node["recipient"] = json!(me);
            node["tags"].as_array_mut().unwrap().push(json!({ "name": "Type", "value": "Message" }));
        });
        // Nor does the gateway know the bundle in which the scheduler put the assignment.
        let mut edges = edges(body);
        for edge in edges.iter_mut().filter(|edge| nonce(edge).is_some()) {
            edge["node"]["bundledIn"] = Value::Null;
        }
        set_edges(body, edges);
    });
    assert_eq!(replay(&liar.url, process, None).await.unwrap().state_root, honest.state_root, "assigned");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_would_say_whether_an_item_was_assigned_must_be_the_schedulers() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let letter = network.message(process, "X-Echo", &[("From-Process", "somebody")]);
    network.publish(&letter).await;
    network.assign(process, letter.id(), "").await;
    network.send(process, "Add").await;
    settled(&network, process, 2).await;
    let gateway = Gateway::new(GatewayOptions::new(network.gateway.clone())).unwrap();
    let query = Query::default().tag("Process", process.to_string()).tag("Nonce", "1");
    let container = gateway.placed_nodes(&query).await.unwrap().nodes[0].bundled_in.unwrap().to_string();
    let liar = Liar::start(network.gateway.clone());
    liar.answers(move |_, body| {
        about(body, std::slice::from_ref(&container), |node| set_tag(node, "Bundle-Version", "2.0.0 "))
    });
    // A bundle that is hidden says nothing, and nothing else that is signed tells that the letter was not sent.
    let sent = replay(&liar.url, process, None).await.unwrap();
    assert_ne!(sent.state_root, replay(&network.gateway, process, None).await.unwrap().state_root);
    liar.answers({
        let container = gateway.placed_nodes(&query).await.unwrap().nodes[0].bundled_in.unwrap().to_string();
        move |_, body| {
            about(body, std::slice::from_ref(&container), |node| {
                node["anchor"] = json!(holon_protocol::base64url::encode([9; 32]));
            });
        }
    });
    let error = replay(&liar.url, process, None).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("slot 1 of process {process}: bundle ")), "{error}");
    assert!(error.contains("which is said to hold the assignment, is forged"), "{error}");
    network.stop().await;
}

/// A node like this one that nobody signed.
fn forged(node: &Value, nonce: &str, number: usize) -> Value {
    use sha2::Digest;
    let mut node = node.clone();
    let mut signature = [0xab; 64];
    signature[..8].copy_from_slice(&number.to_le_bytes());
    node["signature"] = json!(holon_protocol::base64url::encode(signature));
    node["id"] = json!(holon_protocol::base64url::encode(sha2::Sha256::digest(signature)));
    set_tag(&mut node, "Nonce", nonce);
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_in_the_schedulers_name_never_stand_in_the_way_of_its_assignments() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    for _ in 0..5 {
        network.send(process, "Add").await;
    }
    settled(&network, process, 5).await;
    let honest = replay(&network.gateway, process, None).await.unwrap();
    let liar = Liar::start(network.gateway.clone());
    let template = Arc::new(Mutex::new(Value::Null));
    let learned = template.clone();
    liar.answers(move |_, body| {
        if let Some(edge) = edges(body).into_iter().find(|edge| nonce(edge) == Some(2)) {
            *learned.lock().unwrap() = edge["node"].clone();
        }
    });
    assert_eq!(replay(&liar.url, process, None).await.unwrap().state_root, honest.state_root);
    let template = template.lock().unwrap().clone();
    // The slot after the last, one far away, and some that there are; in front of every answer, and as the only newest ones.
    let few: Vec<Value> =
        (0..).zip(["6", "1000000000000", "2", "3", "0", "6"]).map(|(n, at)| forged(&template, at, n)).collect();
    let stranger = {
        let says = Assignment::from_tags(&serde_json::from_value(template["tags"].clone()).unwrap()).unwrap();
        let says = Assignment { nonce: Nonce(3), ..says };
        publish_assignment(&network, &network.user, &says).await.to_string()
    };
    let gateway = Gateway::new(GatewayOptions::new(network.gateway.clone())).unwrap();
    let stranger = gateway.graphql(&json!({ "query": format!(
        "{{ transactions(ids: [\"{stranger}\"]) {{ edges {{ node {{ id anchor signature recipient owner {{ address key }} \
         tags {{ name value }} data {{ size }} }} }} }} }}") })).await.unwrap();
    let mut stranger = stranger["transactions"]["edges"][0]["node"].clone();
    stranger["owner"]["address"] = json!(network.su_wallet.address());
    liar.floods(move |_| vec![few.iter().cloned().chain([stranger.clone()]).collect()]);
    let report = replay(&liar.url, process, None).await.unwrap();
    assert_eq!((report.slot, &report.state_root), (Nonce(5), &honest.state_root));
    // More of them for one slot than pages are read for many.
    let nodes: Vec<Value> = (0..1200).map(|number| forged(&template, "2", number)).collect();
    let pages: Vec<Vec<Value>> = nodes.chunks(100).map(<[Value]>::to_vec).collect();
    liar.floods(move |tags| match tags.to_string().contains("\"2\"") {
        true => pages.clone(),
        false => Vec::new(),
    });
    let report = replay(&liar.url, process, None).await.unwrap();
    assert_eq!((report.slot, &report.state_root), (Nonce(5), &honest.state_root));
    // More than are read for one slot, whichever end is read from: the link of the chain tells which one is meant.
    let nodes: Vec<Value> = (0..5200).map(|number| forged(&template, "2", number)).collect();
    let pages: Vec<Vec<Value>> = nodes.chunks(100).map(<[Value]>::to_vec).collect();
    liar.floods(move |tags| match tags.to_string() {
        tags if tags.contains("\"2\"") && !tags.contains("Hash-Chain") => pages.clone(),
        _ => Vec::new(),
    });
    let report = replay(&liar.url, process, None).await.unwrap();
    assert_eq!((report.slot, &report.state_root), (Nonce(5), &honest.state_root));
    // A gap is a gap although the newest assignments are nobody's.
    let far: Vec<Value> = (0..100).map(|number| forged(&template, &(1_000_000 + number).to_string(), number)).collect();
    liar.floods(move |tags| match tags.to_string().contains("Nonce") {
        true => Vec::new(),
        false => vec![far.clone(); 2],
    });
    liar.answers(|_, body| at_slot(body, 4, |_| false));
    let error = replay(&liar.url, process, None).await.unwrap_err().to_string();
    assert!(
        error.ends_with(
            "slot 4 of process {process}: no assignment is on Arweave, but there is one for slot 5"
                .replace("{process}", &process.to_string())
                .as_str()
        ),
        "{error}"
    );
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
