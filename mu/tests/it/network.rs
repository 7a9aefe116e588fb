//! A small network of scripted peers around a real messenger: a scheduler that schedules, a compute unit whose results
//! the test chooses, a gateway that knows nothing, a bundler that takes everything.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use holon_mu::crank::dispatch::Limits;
use holon_mu::{Options, Running, Service};
use holon_protocol::{Address, DataItem, ItemId, ProcessId, Signer};
use serde_json::{Value, json};

use crate::peer::{Answer, Call, Peer};

pub const OPERATOR_TOKEN: &str = "operator";
pub const SCHEDULER: Address = Address::from_bytes([77; 32]);
pub const MODULE: ItemId = ItemId::from_bytes([66; 32]);
/// Longest any condition may take to come true.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What the scheduler has and the compute unit says.
#[derive(Default)]
pub struct State {
    pub processes: BTreeMap<ProcessId, Vec<DataItem>>,
    pub assignments: Vec<(String, ItemId)>,
    /// Results by message id or, failing that, by data of the message.
    pub results: HashMap<String, Value>,
    /// Processes with a tag `Cron-Interval`.
    pub waking: Vec<ProcessId>,
    /// Items with this data are refused for good.
    pub refused: Option<&'static str>,
    /// Results that depend on more than that: from the id, and the item if it is a message.
    pub behaviour: Option<Behaviour>,
    /// Value of the header `cron-next`.
    pub cron_next: Option<String>,
    /// Nodes that the gateway's GraphQL knows.
    pub published: Vec<Value>,
    /// What the gateway has without knowing what it is.
    pub unindexed: Vec<ItemId>,
    pub uploads: Vec<DataItem>,
    pub cron: Vec<(String, Value)>,
    /// Answers used up before the normal ones, by `METHOD /start-of-path`.
    pub instead: Vec<(&'static str, Answer)>,
    /// Items that stand in their logs since two hours ago.
    pub old: Vec<ItemId>,
    /// The next item or assignment posted is taken, but the answer is this.
    pub lost: Vec<Answer>,
    /// The scheduler assigns the same item as often as it is asked to.
    pub repeats: bool,
    /// With this the scheduler says which place an item has, so long after it has it.
    pub numbered: Option<fn(usize) -> Duration>,
}

pub type Behaviour = Box<dyn Fn(&str, Option<&DataItem>) -> Option<Value> + Send>;

pub type Shared = Arc<Mutex<State>>;

pub struct Network {
    pub state: Shared,
    pub scheduler: Peer,
    pub compute: Peer,
    pub gateway: Peer,
    pub folder: tempfile::TempDir,
    pub wallet: Signer,
    pub client: Signer,
}

pub fn empty() -> Value {
    json!({ "Messages": [], "Spawns": [], "Assignments": [], "Output": "" })
}

fn instead(state: &Shared, call: &Call) -> Option<Answer> {
    let mut state = state.lock().unwrap();
    let line = format!("{} {}", call.method, call.path);
    let index = state.instead.iter().position(|(start, _)| line.starts_with(start))?;
    Some(state.instead.remove(index).1)
}

fn receipt(id: impl serde::Serialize) -> Answer {
    Answer::Json(200, json!({ "id": id, "timestamp": 1_700_000_000_000_u64 }))
}

/// Since when an item stands in its log, in milliseconds.
fn since(state: &State, item: ItemId) -> u64 {
    let ago = if state.old.contains(&item) { Duration::from_secs(2 * 60 * 60) } else { Duration::ZERO };
    u64::try_from((std::time::SystemTime::now() - ago).duration_since(std::time::UNIX_EPOCH).unwrap().as_millis())
        .unwrap()
}

fn refused(text: &str) -> Answer {
    Answer::Json(400, json!({ "error": text }))
}

fn parameter(path: &str, name: &str) -> Option<String> {
    let query = path.split_once('?')?.1;
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn schedule(state: &mut State, call: &Call) -> Answer {
    if let (Some(process), Some(message)) = (parameter(&call.path, "process-id"), parameter(&call.path, "assign")) {
        if !state.repeats
            && state.assignments.iter().any(|(path, _)| path.contains(&process) && path.contains(&message))
        {
            return refused("Deep hash already exists");
        }
        let id = ItemId::from_bytes([u8::try_from(state.assignments.len()).unwrap() + 100; 32]);
        state.assignments.push((call.path.clone(), id));
        return if state.lost.is_empty() { receipt(id) } else { state.lost.remove(0) };
    }
    let item = DataItem::parse_verified(call.body.clone()).expect("the messenger forwards valid items only");
    let process = match item.tags().get("Type") {
        Some("Process") => {
            let id = item.id().into();
            if state.processes.contains_key(&id) {
                return refused("Message already exists");
            }
            state.processes.insert(id, Vec::new());
            id
        }
        _ => ProcessId::from_bytes(item.target().unwrap()),
    };
    if state.refused.is_some_and(|data| *item.data() == *data.as_bytes()) {
        return refused("not today");
    }
    let Some(log) = state.processes.get_mut(&process) else { return refused("Process not found") };
    if log.iter().any(|old| old.id() == item.id()) {
        return refused("Message already exists");
    }
    let (id, place) = (item.id(), log.len());
    log.push(item);
    if let Some(wait) = state.numbered.filter(|_| state.lost.is_empty()) {
        let json = json!({ "id": id, "timestamp": 1_700_000_000_000_u64 });
        return Answer::LaterWith(wait(place), ("nonce", place.to_string()), json);
    }
    if state.lost.is_empty() { receipt(id) } else { state.lost.remove(0) }
}

fn scheduler(state: &Shared, call: &Call) -> Answer {
    if let Some(answer) = instead(state, call) {
        return answer;
    }
    let mut state = state.lock().unwrap();
    if call.method == "POST" {
        return schedule(&mut state, call);
    }
    if let Some(id) = call.path.strip_prefix("/processes/") {
        return match id.parse().ok().filter(|id| state.processes.contains_key(id)) {
            Some(id) => {
                let owner = state.processes[&id].first().map(|item| item.owner_address().to_string());
                let mut tags = vec![
                    json!({ "name": "Module", "value": MODULE }),
                    json!({ "name": "Scheduler", "value": SCHEDULER }),
                ];
                if state.waking.contains(&id) {
                    tags.push(json!({ "name": "Cron-Interval", "value": "1-second" }));
                }
                let owner = json!({ "address": owner.unwrap_or_default(), "key": "" });
                let timestamp = since(&state, id.into());
                Answer::Json(200, json!({ "process_id": id, "owner": owner, "tags": tags, "timestamp": timestamp }))
            }
            None => refused("Process not found"),
        };
    }
    let id = call.path.trim_start_matches('/').split('?').next().unwrap_or_default();
    if let Some(id) = id.strip_suffix("/latest").and_then(|id| id.parse::<ProcessId>().ok()) {
        // Two entries for each assignment, see below.
        let entries = 2 * state.assignments.iter().filter(|(path, _)| path.contains(&id.to_string())).count();
        return match entries.checked_sub(1) {
            Some(newest) => Answer::Json(
                200,
                json!({ "message": null, "assignment": { "id": id, "tags": [{ "name": "Nonce", "value": newest.to_string() }] } }),
            ),
            None => refused("Process not found"),
        };
    }
    if let Some(process) = id.parse::<ProcessId>().ok().filter(|id| state.processes.contains_key(id)) {
        let made = state.assignments.iter().filter(|(path, _)| path.contains(&process.to_string()));
        let edges: Vec<_> = made
            .enumerate()
            .flat_map(|(number, (path, id))| {
                let tags = |nonce: usize| {
                    json!([
                        { "name": "Message", "value": parameter(path, "assign") },
                        { "name": "Nonce", "value": nonce.to_string() },
                    ])
                };
                // The message was posted here as well, later: that entry has a body and is somebody else's to push.
                let posted = ItemId::from_bytes([99; 32]);
                [(json!(null), *id, 0), (json!({ "id": "x" }), posted, 1)].map(|(message, id, place)| {
                    let tags = tags(2 * number + place);
                    json!({ "cursor": "1", "node": { "message": message, "assignment": { "id": id, "tags": tags } } })
                })
            })
            .collect();
        return Answer::Json(200, json!({ "page_info": { "has_next_page": false }, "edges": edges }));
    }
    let process = parameter(&call.path, "process-id").and_then(|id| id.parse().ok());
    let log = process.and_then(|process| state.processes.get(&process));
    if let Some(nonce) = log.and_then(|log| log.iter().position(|item| item.id().to_string() == id)) {
        let tags = json!([
            { "name": "Block-Height", "value": "000001590000" },
            { "name": "Nonce", "value": nonce.to_string() },
            { "name": "Timestamp", "value": since(&state, id.parse().unwrap()).to_string() },
        ]);
        return Answer::Json(200, json!({ "message": {}, "assignment": { "tags": tags } }));
    }
    refused("Message or Process not found")
}

fn compute(state: &Shared, call: &Call) -> Answer {
    if let Some(answer) = instead(state, call) {
        return answer;
    }
    let state = state.lock().unwrap();
    if call.path.starts_with("/cron/") {
        let from = parameter(&call.path, "from");
        let start = state.cron.iter().position(|(cursor, _)| Some(cursor) == from.as_ref()).map_or(0, |at| at + 1);
        let edges: Vec<_> = state.cron[start..]
            .iter()
            .take(parameter(&call.path, "limit").map_or(50, |limit| limit.parse().unwrap()))
            .map(|(cursor, node)| json!({ "cursor": cursor, "node": node }))
            .collect();
        let page = json!({ "pageInfo": { "hasNextPage": false }, "edges": edges });
        return match &state.cron_next {
            Some(next) => Answer::With(("cron-next", next.clone()), page),
            None => Answer::Json(200, page),
        };
    }
    if call.path.starts_with("/results/") {
        let newest = state.cron.iter().find(|(cursor, _)| cursor == "start");
        let edges: Vec<_> =
            newest.into_iter().map(|(cursor, node)| json!({ "cursor": cursor, "node": node })).collect();
        return Answer::Json(200, json!({ "pageInfo": { "hasNextPage": false }, "edges": edges }));
    }
    let id = call.path.trim_start_matches("/result/").split('?').next().unwrap_or_default();
    let item = state.processes.values().flatten().find(|item| item.id().to_string() == id);
    if let Some(result) = state.behaviour.as_ref().and_then(|behaviour| behaviour(id, item)) {
        return Answer::Json(200, result);
    }
    let data = item;
    let data = data.map(|item| String::from_utf8_lossy(&item.data()).into_owned());
    let result = state.results.get(id).or_else(|| state.results.get(&data?));
    Answer::Json(200, result.cloned().unwrap_or_else(empty))
}

fn gateway(state: &Shared, call: &Call) -> Answer {
    if let Some(answer) = instead(state, call) {
        return answer;
    }
    match (call.method.as_str(), call.path.as_str()) {
        ("POST", "/graphql") => {
            let asked: Value = serde_json::from_slice(&call.body).unwrap();
            let names = |list: &Value, id: &Value| list.as_array().is_none_or(|list| list.contains(id));
            let state = state.lock().unwrap();
            let edges: Vec<_> = (state.published.iter())
                .filter(|node| {
                    let asked = &asked["variables"];
                    names(&asked["ids"], &node["id"]) && names(&asked["owners"], &node["owner"]["address"])
                })
                .map(|node| json!({ "cursor": "c", "node": node }))
                .collect();
            let page = json!({ "pageInfo": { "hasNextPage": false }, "edges": edges });
            Answer::Json(200, json!({ "data": { "transactions": page } }))
        }
        ("POST", "/tx/arweave") => {
            let item = DataItem::parse_verified(call.body.clone()).expect("a valid item");
            let id = item.id();
            state.lock().unwrap().uploads.push(item);
            receipt(id)
        }
        ("HEAD", path) => {
            let there = state.lock().unwrap().unindexed.iter().any(|id| path == format!("/{id}"));
            Answer::Json(if there { 200 } else { 404 }, json!({}))
        }
        _ => Answer::Json(404, json!({ "error": "not found" })),
    }
}

impl Network {
    pub fn start() -> Self {
        let state = Shared::default();
        let peer = |script: fn(&Shared, &Call) -> Answer| {
            let state = Arc::clone(&state);
            Peer::start(move |call| script(&state, call))
        };
        Self {
            scheduler: peer(scheduler),
            compute: peer(compute),
            gateway: peer(gateway),
            state,
            folder: tempfile::tempdir().unwrap(),
            wallet: Signer::generate_ed25519().unwrap(),
            client: Signer::generate_ed25519().unwrap(),
        }
    }

    pub fn options(&self) -> Options {
        let mut options = Options::new(self.folder.path(), self.wallet.clone(), self.gateway.url(), self.compute.url());
        options.scheduler_urls = vec![(SCHEDULER, self.scheduler.url())];
        options.public_traces = true;
        options.operator_token = Some(OPERATOR_TOKEN.to_owned().into());
        options.cron_interval = Duration::from_millis(100);
        options.scheduler_timeout = Duration::from_secs(2);
        options.limits = Limits { retry_delay_ms: 20, busy_delay_ms: 20, max_retry_delay_ms: 200, ..Limits::default() };
        options
    }

    pub async fn messenger(&self) -> Running {
        self.messenger_with(self.options()).await
    }

    /// Starts a messenger, also right after another one on the same folder has stopped.
    pub async fn messenger_with(&self, options: Options) -> Running {
        let started = Instant::now();
        loop {
            let listener = holon_unit::server::bind("127.0.0.1:0").unwrap();
            match Service::start(options.clone(), listener).await {
                Ok(running) => return running,
                Err(error) => assert!(started.elapsed() < DEADLINE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A process that is there already.
    pub fn process(&self, byte: u8) -> ProcessId {
        let id = ProcessId::from_bytes([byte; 32]);
        self.state.lock().unwrap().processes.insert(id, Vec::new());
        id
    }

    pub fn message(&self, target: ProcessId, data: &str) -> DataItem {
        let tags = [("Action", "Eval"), ("Data-Protocol", "ao"), ("Variant", "ao.TN.1"), ("Type", "Message")];
        let item =
            DataItem::builder().target(target).tags(tags.map(|(name, value)| holon_protocol::Tag::new(name, value)));
        item.data(data.to_owned().into_bytes()).sign(&self.client).unwrap()
    }

    pub fn spawn(&self, target: Option<ProcessId>) -> DataItem {
        self.spawn_with(target, &[])
    }

    /// A process with further tags.
    pub fn spawn_with(&self, target: Option<ProcessId>, tags: &[(&str, &str)]) -> DataItem {
        let (module, scheduler) = (MODULE.to_string(), SCHEDULER.to_string());
        let mut item = DataItem::builder()
            .tag("Data-Protocol", "ao")
            .tag("Variant", "ao.TN.1")
            .tag("Type", "Process")
            .tag("Module", module)
            .tag("Scheduler", scheduler);
        for (name, value) in tags {
            item = item.tag(*name, *value);
        }
        if let Some(target) = target {
            item = item.target(target);
        }
        item.data(" ".as_bytes().to_vec()).sign(&self.client).unwrap()
    }

    /// The items in a process's log.
    pub fn log(&self, process: ProcessId) -> Vec<DataItem> {
        self.state.lock().unwrap().processes.get(&process).cloned().unwrap_or_default()
    }
}

/// Posts an item; status and JSON of the answer.
pub async fn post(messenger: &Running, path: &str, body: impl Into<Bytes>) -> (u16, Value) {
    request(messenger, reqwest::Method::POST, path, body).await
}

pub async fn request(messenger: &Running, method: reqwest::Method, path: &str, body: impl Into<Bytes>) -> (u16, Value) {
    let request = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
        .request(method, format!("{}{path}", messenger.url()))
        .body(body.into());
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Has a dead letter taken up again, as the operator.
pub async fn retry(messenger: &Running, letter: &Value) -> u16 {
    let url = format!("{}/dead-letters/{letter}/retry", messenger.url());
    let request = reqwest::Client::builder().no_proxy().build().unwrap().post(url).bearer_auth(OPERATOR_TOKEN);
    request.send().await.unwrap().status().as_u16()
}

/// JSON that the messenger answers.
pub async fn get(messenger: &Running, path: &str) -> Value {
    let (status, json) = request(messenger, reqwest::Method::GET, path, "").await;
    assert_eq!(status, 200, "{path}: {json}");
    json
}

/// One value of `/metrics`.
pub async fn metric(messenger: &Running, line: &str) -> Option<f64> {
    let (_, text) = request(messenger, reqwest::Method::GET, "/metrics", "").await;
    let text = text.as_str().unwrap().to_owned();
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

/// Waits until `condition` gives something.
pub async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the messenger has nothing left to do.
pub async fn idle(messenger: &Running) {
    eventually("the outbox is empty", || (messenger.queued() == 0).then_some(())).await;
}
