//! Three messengers share one PostgreSQL, and each is ended with `kill -9` at random, again and again, while tokens go round a
//! ring of processes. At the end every token has made every hop exactly once, and what one process sent to the next
//! arrived in the order in which it was sent.
//!
//! Some twenty seconds by default; `HOLON_KILL_SECONDS`, `HOLON_KILL_PROCESSES` and `HOLON_SEED` as in `killed_units`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holon_protocol::{ProcessId, Signer};
use holon_tests::peers::postgres;
use holon_tests::units::{Kind, Units};
use reqwest::Client;

use crate::killed_units::{TOKEN_PAUSE, home, hops, number, ring, token};
use crate::power_cut::{Random, read_log, send, tag};
use crate::speaking::client;

const MESSENGERS: usize = 3;
const SECONDS: u64 = 20;
const PROCESSES: u64 = 12;
/// Short, so that there are many takeovers within the test.
const LEASE_MS: &str = "1500";
/// Between two kills, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(2_500);
/// How long a messenger stays away, at most: longer than its lease, so that others take over, and shorter as well.
const LONGEST_ABSENCE: Duration = Duration::from_millis(3_000);

/// The tokens that came to each place from the one before, in the order of its log.
async fn arrivals(client: &Client, su_url: &str, ring: &[ProcessId]) -> Vec<Vec<String>> {
    let mut arrivals = Vec::new();
    for (place, process) in ring.iter().enumerate() {
        let before = ring[(place + ring.len() - 1) % ring.len()].to_string();
        let log = read_log(client, su_url, *process).await;
        let has = |entry: &serde_json::Value, name: &str, value: &str| {
            let tags = entry["message"]["tags"].as_array().into_iter().flatten();
            tags.into_iter().any(|tag| tag["name"] == name && tag["value"] == value)
        };
        let from_before =
            log.iter().filter(|entry| has(entry, "Action", "Token") && has(entry, "From-Process", &before));
        arrivals.push(
            from_before
                .map(|entry| format!("{} {}", entry["message"]["data"], tag(&entry["message"], "Hops")))
                .collect(),
        );
    }
    arrivals
}

#[tokio::test(flavor = "multi_thread")]
async fn messengers_with_one_outbox_lose_double_and_reorder_nothing_while_they_are_killed_at_random() {
    let (seconds, processes) = (number("HOLON_KILL_SECONDS", SECONDS), number("HOLON_KILL_PROCESSES", PROCESSES));
    let mut random = Random::seeded();
    let user = Signer::generate_ed25519().unwrap();
    let (database, schema) = (postgres::shared().unwrap(), postgres::schema());
    let arguments = ["--retry-delay-ms", "100", "--outbox-url", &database, "--outbox-schema", &schema];
    let arguments = [&arguments[..], &["--outbox-lease-ms", LEASE_MS]].concat();
    let units = Units::start_with(MESSENGERS, &arguments).unwrap();
    let (ring, _) = ring(&units, processes, &user).await;
    let doors: Vec<_> = (0..MESSENGERS).map(|number| units.messenger_url(number)).collect();
    let su_url = units.url(Kind::Su);

    let over = Arc::new(AtomicBool::new(false));
    let units = Arc::new(Mutex::new(units));
    let killer = {
        let (over, units) = (over.clone(), units.clone());
        std::thread::spawn(move || {
            let mut kills = [0_u32; MESSENGERS];
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(random.below(LONGEST_PAUSE.as_millis() as u64)));
                let number = random.below(MESSENGERS as u64) as usize;
                units.lock().unwrap().kill_messenger(number).unwrap();
                std::thread::sleep(Duration::from_millis(random.below(LONGEST_ABSENCE.as_millis() as u64)));
                units.lock().unwrap().begin_messenger(number).unwrap();
                kills[number] += 1;
            }
            kills
        })
    };

    // Tokens start at every place in turn, through every messenger in turn, and go once round.
    let client = client();
    let (begun, mut tokens) = (Instant::now(), 0_u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let start = ring[(tokens % processes) as usize];
        let item = token(start, &format!("token {tokens}"), processes, &user);
        send(&client, &doors[tokens as usize % MESSENGERS], &su_url, start, &item).await;
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
        "{tokens} tokens made {} hops through {processes} processes in {seconds} s; killed {kills:?}; home after {:?}",
        seen.len(),
        home
    );
    assert!(lost.is_empty() && doubled.is_empty(), "lost {lost:?}, doubled or strange {doubled:?}");
    assert!(kills.iter().sum::<u32>() > 2, "hardly anything was killed: {kills:?}");

    // A process passes on in the order in which it was given: what came from the one before leaves for the next in that
    // order, and has one hop less.
    let arrivals = arrivals(&client, &su_url, &ring).await;
    let mut compared = 0;
    for (place, came) in arrivals.iter().enumerate() {
        let next = &arrivals[(place + 1) % arrivals.len()];
        let passed_on = came.iter().filter_map(|token| {
            let (name, hops) = token.rsplit_once(' ').unwrap();
            let on = format!("{name} {}", hops.parse::<u64>().unwrap().checked_sub(1)?);
            next.contains(&on).then_some(on)
        });
        let passed_on: Vec<_> = passed_on.collect();
        let arrived: Vec<_> = next.iter().filter(|token| passed_on.contains(token)).cloned().collect();
        assert_eq!(arrived, passed_on, "out of order between place {place} and the next");
        compared += arrived.len();
    }
    assert!(compared > 0, "there was no order to compare");
}
