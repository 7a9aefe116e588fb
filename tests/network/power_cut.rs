//! The whole network ends with `SIGKILL` in the middle of a stream of messages, several times, and goes on with the same data:
//! what was acknowledged is there once, in order, in an unbroken chain, and adds up to what an undisturbed run gives.

use std::{
    collections::HashMap,
    env,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use holon_protocol::{AssignmentId, DataItem, ProcessId, Signer, chain::HashChain};
use holon_tests::network::Network;
use reqwest::Client;
use serde_json::{Value, json};

use crate::speaking::{at, client, get, post_item};

const MESSAGES: usize = 1_000;
/// Each sends its messages one after the other; together they keep several in flight.
const SENDERS: usize = 4;
const CUTS: usize = 4;
/// A cut comes this long after a random acknowledgement at most, so that it hits every stage of a message.
const LONGEST_DELAY: Duration = Duration::from_millis(25);
/// For one message, with a restart in between.
const MESSAGE_DEADLINE: Duration = Duration::from_secs(120);
const RETRY: Duration = Duration::from_millis(20);

/// SplitMix64: enough randomness for a test, and the same again for the same seed.
pub struct Random(u64);

impl Random {
    /// From `HOLON_SEED`, else new each time; printed, so that a failure can be repeated.
    pub fn seeded() -> Self {
        let seed = env::var("HOLON_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
        println!("repeat with HOLON_SEED={seed}");
        Self(seed)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % end
    }
}

fn increment(process: ProcessId, number: usize, step: u64, signer: &Signer) -> DataItem {
    DataItem::builder()
        .target(process)
        // Deterministic signatures would make two equal messages one.
        .tag("Number", number.to_string())
        .tag("Action", "Increment")
        .tag("Data-Protocol", "ao")
        .tag("Variant", "ao.TN.1")
        .tag("Type", "Message")
        .data(step.to_string())
        .sign(signer)
        .unwrap()
}

/// Sends one item until it is acknowledged: by a 2xx, or, when an answer was lost, by being in the log.
pub async fn send(client: &Client, mu_url: &str, su_url: &str, process: ProcessId, item: &DataItem) {
    let end = Instant::now() + MESSAGE_DEADLINE;
    let mut tried_before = false;
    loop {
        let refusal = match post_item(client, mu_url, item).await {
            Ok((status, _)) if status.is_success() => return,
            Ok((status, text)) => format!("{status}: {text}"),
            Err(error) => error.to_string(),
        };
        if tried_before {
            let url = at(su_url, &format!("/{}?process-id={process}", item.id()));
            if client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
        }
        assert!(Instant::now() < end, "{} was not acknowledged: {refusal}", item.id());
        tried_before = true;
        tokio::time::sleep(RETRY).await;
    }
}

/// The whole log, read from the scheduler unit page by page.
pub async fn read_log(client: &Client, su_url: &str, process: ProcessId) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut from = String::new();
    loop {
        let page = get(client, &at(su_url, &format!("/{process}?process-id={process}&limit=300{from}"))).await;
        let edges = page["edges"].as_array().unwrap();
        entries.extend(edges.iter().map(|edge| edge["node"].clone()));
        if page["page_info"]["has_next_page"] != true {
            return entries;
        }
        from = format!("&from={}", edges.last().unwrap()["cursor"].as_str().unwrap());
    }
}

/// Value of a tag.
pub fn tag<'a>(item: &'a Value, name: &str) -> &'a str {
    let tags = item["tags"].as_array().unwrap();
    tags.iter().find(|tag| tag["name"] == name).and_then(|tag| tag["value"].as_str()).unwrap()
}

fn check_chain(process: ProcessId, log: &[Value]) {
    let mut expected = HashChain::first(process);
    let mut last_timestamp = 0;
    for (position, entry) in log.iter().enumerate() {
        let assignment = &entry["assignment"];
        assert_eq!(tag(assignment, "Nonce"), position.to_string());
        assert_eq!(tag(assignment, "Hash-Chain"), expected.to_string(), "chain at nonce {position}");
        let timestamp: u64 = tag(assignment, "Timestamp").parse().unwrap();
        assert!(timestamp > last_timestamp, "timestamps rise at nonce {position}");
        last_timestamp = timestamp;
        expected = expected.next(assignment["id"].as_str().unwrap().parse::<AssignmentId>().unwrap());
    }
}

async fn count(client: &Client, cu_url: &str, process: ProcessId) -> String {
    let answer = client
        .post(at(cu_url, &format!("/dry-run?process-id={process}")))
        .header("x-max-age", "0")
        .json(&json!({"Id": "1234", "Target": process, "Owner": "1234", "Anchor": "0", "Data": "1234",
            "Tags": [{"name": "Action", "value": "Get"}]}))
        .send()
        .await
        .unwrap();
    let result = crate::speaking::json(answer).await;
    result["Output"].as_str().unwrap_or_else(|| panic!("the counter answered {result}")).to_owned()
}

/// What each entry of the log led to, in order, evaluated up to the last one.
async fn outputs(client: &Client, cu_url: &str, process: ProcessId, log: &[Value]) -> Vec<Value> {
    let last = log.last().unwrap()["message"]["id"].as_str().unwrap();
    get(client, &at(cu_url, &format!("/result/{last}?process-id={process}"))).await;
    let mut outputs = Vec::new();
    let mut from = String::new();
    loop {
        let page = get(client, &at(cu_url, &format!("/results/{process}?sort=ASC&limit=400{from}"))).await;
        let edges = page["edges"].as_array().unwrap();
        outputs.extend(edges.iter().map(|edge| edge["node"]["Output"].clone()));
        if page["pageInfo"]["hasNextPage"] != true {
            return outputs;
        }
        let cursor = edges.last().unwrap()["cursor"].as_str().unwrap();
        from = format!("&from={}", cursor.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_in_order_and_adds_up() {
    let mut random = Random::seeded();
    let mut network = Network::start_on_fixed_ports().unwrap();
    let ready = network.ready().clone();
    let process: ProcessId = ready.counter_process.parse().unwrap();
    let client = client();

    // Starting up may have counted already, to show that it works.
    let begun = read_log(&client, &ready.su_url, process).await.len();
    let at_start: u64 = count(&client, &ready.cu_url, process).await.parse().unwrap();
    let mut sum = at_start;
    let mut streams: Vec<Vec<DataItem>> = Vec::new();
    for sender in 0..SENDERS {
        let signer = Signer::generate_ed25519().unwrap();
        let number = |n| sender * MESSAGES + n;
        streams.push(
            (0..MESSAGES / SENDERS)
                .map(|n| {
                    let step = random.below(1_000);
                    sum += step;
                    increment(process, number(n), step, &signer)
                })
                .collect(),
        );
    }

    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for items in streams.clone() {
        let (client, ready, acknowledged) = (client.clone(), ready.clone(), acknowledged.clone());
        senders.spawn(async move {
            for item in items {
                send(&client, &ready.mu_url, &ready.su_url, process, &item).await;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    let mut moments: Vec<_> = (0..CUTS).map(|_| random.below(MESSAGES as u64 * 9 / 10) as usize).collect();
    moments.sort_unstable();
    for moment in moments {
        let delay = Duration::from_micros(random.below(LONGEST_DELAY.as_micros() as u64));
        let progress = acknowledged.clone();
        network = tokio::task::spawn_blocking(move || {
            holon_tests::wait::until("acknowledgements", MESSAGE_DEADLINE, || {
                Ok((progress.load(Ordering::Relaxed) >= moment).then_some(()))
            })
            .unwrap();
            std::thread::sleep(delay);
            network.kill().unwrap();
            println!("cut after {} acknowledgements (wanted {moment} and {delay:?})", progress.load(Ordering::Relaxed));
            network.restart().unwrap();
            network
        })
        .await
        .unwrap();
    }
    while let Some(sender) = senders.join_next().await {
        sender.unwrap();
    }
    assert_eq!(acknowledged.load(Ordering::Relaxed), MESSAGES);

    let log = read_log(&client, &ready.su_url, process).await;
    check_chain(process, &log);
    assert_eq!(log.len(), begun + MESSAGES, "every acknowledged message and nothing else");
    let positions: HashMap<&str, usize> =
        log.iter().enumerate().map(|(at, entry)| (entry["message"]["id"].as_str().unwrap(), at)).collect();
    assert_eq!(positions.len(), log.len(), "nothing is there twice");
    for stream in &streams {
        let at: Vec<_> = stream.iter().map(|item| positions[item.id().to_string().as_str()]).collect();
        assert!(at.is_sorted(), "a sender's messages are in the order it sent them: {at:?}");
    }
    let disturbed = outputs(&client, &ready.cu_url, process, &log).await;
    assert_eq!(disturbed.len(), log.len(), "every entry has a result");
    let mut running = at_start;
    for (position, entry) in log.iter().enumerate().skip(begun) {
        running += entry["message"]["data"].as_str().unwrap().parse::<u64>().unwrap();
        assert_eq!(disturbed[position], running.to_string(), "the result at nonce {position}");
    }
    assert_eq!(running, sum);
    assert_eq!(count(&client, &ready.cu_url, process).await, sum.to_string());

    // The same steps in the same order without a cut.
    let undisturbed_network = Network::start().unwrap();
    let other = undisturbed_network.ready().clone();
    let other_process: ProcessId = other.counter_process.parse().unwrap();
    let signer = Signer::generate_ed25519().unwrap();
    for (number, entry) in log.iter().enumerate().skip(begun) {
        let step = entry["message"]["data"].as_str().unwrap().parse().unwrap();
        let item = increment(other_process, number, step, &signer);
        send(&client, &other.mu_url, &other.su_url, other_process, &item).await;
    }
    let other_log = read_log(&client, &other.su_url, other_process).await;
    check_chain(other_process, &other_log);
    assert_eq!(outputs(&client, &other.cu_url, other_process, &other_log).await, disturbed);
    assert_eq!(count(&client, &other.cu_url, other_process).await, sum.to_string());
    assert_eq!(disturbed.last().unwrap(), &Value::from(sum.to_string()));
}
