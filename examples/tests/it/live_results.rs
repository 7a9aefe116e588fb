//! The ledger misses no transfer and counts none twice, whatever is away in between.

use std::time::Duration;

use holon_devnet::{Network, ProcessId, Unit};
use holon_examples::live_results::Ledger;

static TOKEN: &[u8] = include_bytes!("../../../wasm-processes/token/token.wasm");
const PATIENCE: Duration = Duration::from_secs(60);

async fn pay(network: &Network, token: ProcessId, quantities: std::ops::Range<u64>) {
    for quantity in quantities {
        network.send(token).action("Transfer").tag("Recipient", "ada").tag("Quantity", quantity).await.unwrap();
    }
}

/// Runs the service until its ledger has so many transfers.
async fn serve(network: &Network, token: ProcessId, path: &std::path::Path, until: u64) {
    let mut ledger = Ledger::open(path).unwrap();
    let (seen, mut enough) = tokio::sync::watch::channel(ledger.count());
    let client = network.client();
    tokio::select! {
        ended = ledger.follow(client, token, |_| seen.send_modify(|count| *count += 1)) => panic!("it ended: {ended:?}"),
        reached = enough.wait_for(|count| *count >= until) => drop(reached.unwrap()),
        () = tokio::time::sleep(PATIENCE) => panic!("{until} transfers were not seen in time"),
    }
}

#[tokio::test]
async fn every_transfer_is_in_the_ledger_once_though_service_and_unit_go_away_in_between() {
    let network = Network::start().await.unwrap();
    let token = network.deploy(TOKEN).tag("Initial-Supply", 1_000_000).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.json");

    pay(&network, token, 1..6).await;
    serve(&network, token, &path, 5).await;
    // Nobody is there to be told of these.
    pay(&network, token, 6..11).await;
    let refused = network.send(token).action("Transfer").tag("Recipient", "ada").tag("Quantity", 10_000_000);
    refused.result().await.unwrap();
    // The compute unit goes away while the service listens, and more is paid meanwhile.
    tokio::join!(serve(&network, token, &path, 20), async {
        network.down(Unit::Compute).await.unwrap();
        pay(&network, token, 11..16).await;
        network.up(Unit::Compute).await.unwrap();
        pay(&network, token, 16..21).await;
    });

    let ledger = Ledger::open(&path).unwrap();
    let quantities: Vec<_> = ledger.transfers().iter().map(|transfer| transfer.quantity).collect();
    assert_eq!(quantities, (1..21).collect::<Vec<_>>());
    assert_eq!((ledger.count(), ledger.received("ada")), (20, 210));
    assert!(ledger.transfers().iter().all(|transfer| transfer.sender == network.wallet().address().to_string()));
    std::fs::write(&path, "{").unwrap();
    assert!(Ledger::open(&path).unwrap_err().to_string().contains("no ledger"));
    network.stop().await.unwrap();
}
