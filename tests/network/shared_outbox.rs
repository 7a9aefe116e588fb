//! Three messengers share one PostgreSQL, and each is ended with `kill -9` at random, again and again, while tokens go round a
//! ring of processes: see `storm`. Besides, what one process sent to the next arrived in the order in which it was sent.

use std::time::Duration;

use holon_tests::peers::postgres;
use holon_tests::units::Units;

use crate::power_cut::{read_log, tag};
use crate::storm::{Ridden, Victims, ride};

/// Short, so that there are many takeovers within the test.
const LEASE_MS: &str = "1500";
/// Longer than the lease, so that others take over; often one is back sooner.
const LONGEST_ABSENCE: Duration = Duration::from_millis(3_000);

/// The tokens that came to each place from the one before, in the order of its log.
async fn arrivals(ridden: &Ridden) -> Vec<Vec<String>> {
    let Ridden { client, su_url, ring, .. } = ridden;
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
    let (database, schema) = (postgres::shared().unwrap(), postgres::schema());
    let arguments = ["--retry-delay-ms", "100", "--outbox-url", &database, "--outbox-schema", &schema];
    let arguments = [&arguments[..], &["--outbox-lease-ms", LEASE_MS]].concat();
    let victims = Victims {
        names: &["first", "second", "third"],
        kill: Units::kill_messenger,
        begin: Units::begin_messenger,
        longest_absence: LONGEST_ABSENCE,
    };
    let messengers = victims.names.len();
    let ridden = ride(Units::start_with(messengers, &arguments).unwrap(), messengers, victims).await;

    // A process passes on in the order in which it was given: what came from the one before leaves for the next in that
    // order, and has one hop less.
    let arrivals = arrivals(&ridden).await;
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
