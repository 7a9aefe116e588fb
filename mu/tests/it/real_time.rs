//! Time, with the real units: processes that wake by themselves.

use std::time::{Duration, Instant};

use holon_mu::Options;
use holon_protocol::Tag;

use crate::real::{Units, until};

static RELAY: &[u8] = include_bytes!("../../../wasm-processes/relay/relay.wasm");
/// Between two polls of a process of which the compute unit cannot say when something is due: a message that waits for a block.
const INTERVAL: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_a_cron_runs_by_itself_without_gap_or_double_across_restarts() {
    let units = Units::start().await;
    let change = |options| Options { auto_cron: true, cron_interval: INTERVAL, ..options };
    let (mut mu, client) = units.messenger_with(change).await;
    units.locate(&client).await;
    let module =
        client.publish(RELAY).memory_limit("16-mb").compute_limit(1_000_000_000).send(&units.user).await.unwrap();
    let spawn = |name: &str| {
        let spawn = client.spawn(module, units.scheduler.address()).tag("Name", name);
        spawn.authority(units.messenger.address()).authority(units.user.address())
    };
    let listener = spawn("listener").send(&units.user).await.unwrap();
    let waking = spawn("waking").cron("1-second".parse().unwrap(), [Tag::new("Action", "Beat")]);
    let waking = waking.send(&units.user).await.unwrap();
    let connect = client.message(waking).action("Connect").data(listener.to_string());
    connect.send(&units.user).await.unwrap();

    let begun = Instant::now();
    let mut restarts = 0;
    // Nobody calls monitor.
    while begun.elapsed() < Duration::from_secs(6) {
        tokio::time::sleep(Duration::from_millis(700)).await;
        if restarts < 3 {
            mu.stop().await.unwrap();
            (mu, _) = units.messenger_with(change).await;
            restarts += 1;
        }
    }
    let beats = until("five beats", async || {
        let beats = units.received(listener, waking).await;
        (beats.len() >= 5).then_some(beats)
    })
    .await;
    // The first beats may have come before it knew whom to send them to.
    let numbers: Vec<u64> =
        beats.iter().map(|(_, beat)| beat.strip_prefix("beat ").unwrap().parse().unwrap()).collect();
    let expected: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "none is missing, none is there twice");
    assert!(numbers[0] <= 3, "{numbers:?}");
    mu.stop().await.unwrap();
    units.stop().await;
}
