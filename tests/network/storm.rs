//! A storm: one of several programs is ended with `kill -9` at random, again and again, while tokens go round a ring of
//! processes. At the end every token has made every hop exactly once: none is lost, none is doubled.
//!
//! Some twenty seconds by default. `HOLON_KILL_SECONDS=300 HOLON_KILL_PROCESSES=100` makes it a long one, `HOLON_SEED` repeats
//! the choice of programs and moments.

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use holon_client::Network;
use holon_protocol::{DataItem, ProcessId, Signer};
use holon_tests::units::{Kind, Units};
use reqwest::Client;
use serde_json::Value;

use crate::power_cut::{Random, read_log, send, tag};
use crate::speaking::client;

static RELAY: &[u8] = include_bytes!("../../wasm-processes/relay/relay.wasm");
/// Time with kills, in seconds, when the environment does not say.
const SECONDS: u64 = 20;
/// Processes of the ring, when the environment does not say.
const PROCESSES: u64 = 12;
/// Between two kills, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(2_500);
/// Between two new tokens.
const TOKEN_PAUSE: Duration = Duration::from_millis(250);
/// How long nothing may come any more before it is believed that nothing does.
const QUIET: Duration = Duration::from_secs(5);
/// Longest the tokens take to come home once nobody is killed any more.
const HOMECOMING: Duration = Duration::from_secs(240);

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number: {text}")))
}

fn url(text: String) -> url::Url {
    text.parse().unwrap()
}

fn token(process: ProcessId, name: &str, hops: u64, signer: &Signer) -> DataItem {
    DataItem::builder()
        .target(process)
        .tag("Action", "Token")
        .tag("Hops", hops.to_string())
        .tag("Data-Protocol", "ao")
        .tag("Variant", "ao.TN.1")
        .tag("Type", "Message")
        .data(name.to_owned())
        .sign(signer)
        .unwrap()
}

async fn ring(units: &Units, processes: u64, user: &Signer) -> Vec<ProcessId> {
    let network = Network::builder()
        .mu_url(url(units.url(Kind::Mu)))
        .cu_url(url(units.url(Kind::Cu)))
        .gateway_url(url(units.url(Kind::Weave)))
        .allow_private_urls(true)
        .build()
        .unwrap();
    let location = DataItem::builder()
        .tag("Data-Protocol", "ao")
        .tag("Variant", "ao.TN.1")
        .tag("Type", "Scheduler-Location")
        .tag("Url", units.url(Kind::Su))
        .tag("Time-To-Live", "3600000")
        .sign(&units.scheduler)
        .unwrap();
    network.upload(&location).await.unwrap();
    let module = network.publish(RELAY).memory_limit("16-mb").compute_limit(1_000_000_000).send(user).await.unwrap();
    let mut ring = Vec::new();
    for number in 0..processes {
        let spawn = network.spawn(module, units.scheduler.address()).tag("Number", number.to_string());
        let spawn = spawn.authority(units.messenger.address()).authority(user.address());
        ring.push(spawn.send(user).await.unwrap());
    }
    for (place, process) in ring.iter().enumerate() {
        let next = ring[(place + 1) % ring.len()];
        network.message(*process).action("Connect").data(next.to_string()).send(user).await.unwrap();
    }
    ring
}

/// A token, the hops it has left, and the place it is at.
type Hop = (String, u64, usize);

/// Every hop of every token once round from where it begins.
fn hops(tokens: u64, processes: u64) -> BTreeMap<Hop, usize> {
    (0..tokens)
        .flat_map(|token| {
            let place = move |hop: u64| ((token + hop) % processes) as usize;
            (0..=processes).map(move |hop| ((format!("token {token}"), processes - hop, place(hop)), 1))
        })
        .collect()
}

/// How often each hop of each token stands in the logs of the ring.
async fn seen(client: &Client, su_url: &str, ring: &[ProcessId]) -> BTreeMap<Hop, usize> {
    let mut seen = BTreeMap::new();
    for (place, process) in ring.iter().enumerate() {
        for entry in read_log(client, su_url, *process).await {
            let message = &entry["message"];
            let is_token = |tag: &Value| tag["name"] == "Action" && tag["value"] == "Token";
            if message["tags"].as_array().is_some_and(|tags| tags.iter().any(is_token)) {
                let hop = (message["data"].as_str().unwrap().to_owned(), tag(message, "Hops").parse().unwrap(), place);
                *seen.entry(hop).or_insert(0) += 1;
            }
        }
    }
    seen
}

/// How many tasks the messenger has left to do.
async fn left(client: &Client, mu_url: &str) -> u64 {
    let text = client.get(format!("{mu_url}/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("ao_mu_queue_size "));
    line.unwrap().trim().parse().unwrap()
}

/// Waits for the hops that are wanted, or until there is no hope; what stands in the logs, and how long that took. A hop that
/// is doubled may come after the last one of all: it looks until the messengers have nothing left to push and the logs have
/// been the same for a while.
async fn home(
    client: &Client,
    su_url: &str,
    mu_urls: &[String],
    ring: &[ProcessId],
    wanted: &BTreeMap<Hop, usize>,
) -> (BTreeMap<Hop, usize>, Duration) {
    let quiet = Instant::now();
    let (mut same_since, mut before) = (Instant::now(), BTreeMap::new());
    loop {
        let seen = seen(client, su_url, ring).await;
        let mut left_to_do = 0;
        for mu_url in mu_urls {
            left_to_do += left(client, mu_url).await;
        }
        if seen != before || left_to_do != 0 {
            same_since = Instant::now();
        }
        let over = seen.len() >= wanted.len() && same_since.elapsed() > QUIET;
        if over || quiet.elapsed() > HOMECOMING {
            assert_eq!(left_to_do, 0, "the messengers have nothing left to do");
            return (seen, same_since - quiet);
        }
        before = seen;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What is ended.
pub struct Victims {
    /// What they are called, in the order of their numbers.
    pub names: &'static [&'static str],
    /// Ends one.
    pub kill: fn(&mut Units, usize) -> Result<()>,
    /// Starts it again.
    pub begin: fn(&mut Units, usize) -> Result<()>,
    /// How long one stays away, at most.
    pub longest_absence: Duration,
}

/// The network after a storm.
pub struct Ridden {
    /// A client of it.
    pub client: Client,
    /// Its scheduler.
    pub su_url: String,
    /// The processes of the ring, in its order.
    pub ring: Vec<ProcessId>,
    /// They end with this.
    _units: Arc<Mutex<Units>>,
}

/// Sends tokens through all of these messengers in turn while the victims are ended, and waits until all of them are home.
pub async fn ride(units: Units, messengers: usize, victims: Victims) -> Ridden {
    let (seconds, processes) = (number("HOLON_KILL_SECONDS", SECONDS), number("HOLON_KILL_PROCESSES", PROCESSES));
    let mut random = Random::seeded();
    let user = Signer::generate_ed25519().unwrap();
    let ring = ring(&units, processes, &user).await;
    let doors: Vec<_> = (0..messengers).map(|number| units.messenger_url(number)).collect();
    let su_url = units.url(Kind::Su);

    let over = Arc::new(AtomicBool::new(false));
    let units = Arc::new(Mutex::new(units));
    let killer = {
        let (over, units) = (over.clone(), units.clone());
        std::thread::spawn(move || {
            let Victims { names, kill, begin, longest_absence } = victims;
            let mut kills: BTreeMap<_, _> = names.iter().map(|name| (*name, 0_u32)).collect();
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(random.below(LONGEST_PAUSE.as_millis() as u64)));
                let victim = random.below(names.len() as u64) as usize;
                let mut units = units.lock().unwrap();
                kill(&mut units, victim).unwrap();
                std::thread::sleep(Duration::from_millis(random.below(longest_absence.as_millis() as u64)));
                begin(&mut units, victim).unwrap();
                *kills.entry(names[victim]).or_default() += 1;
            }
            kills
        })
    };

    // Tokens start at every place in turn and go once round.
    let client = client();
    let (begun, mut tokens) = (Instant::now(), 0_u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let start = ring[(tokens % processes) as usize];
        let item = token(start, &format!("token {tokens}"), processes, &user);
        send(&client, &doors[tokens as usize % messengers], &su_url, start, &item).await;
        tokens += 1;
        tokio::time::sleep(TOKEN_PAUSE).await;
    }
    over.store(true, Ordering::Relaxed);
    let kills = tokio::task::spawn_blocking(move || killer.join().unwrap()).await.unwrap();

    let wanted = hops(tokens, processes);
    let (seen, home) = home(&client, &su_url, &doors, &ring, &wanted).await;
    let lost: Vec<_> = wanted.keys().filter(|hop| !seen.contains_key(*hop)).take(10).collect();
    let doubled: Vec<_> = seen.iter().filter(|(hop, count)| wanted.get(*hop) != Some(*count)).take(10).collect();
    println!(
        "{tokens} tokens made {} hops through {processes} processes in {seconds} s; killed {kills:?}; home after {home:?}",
        seen.len()
    );
    assert!(lost.is_empty() && doubled.is_empty(), "lost {lost:?}, doubled or strange {doubled:?}");
    assert!(kills.values().sum::<u32>() > 2, "hardly anything was killed: {kills:?}");
    Ridden { client, su_url, ring, _units: units }
}
