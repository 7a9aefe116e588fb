//! The published arweave-js 1.15.7, unmodified, stores and reads data on the network's own Arweave.

use holon_tests::{network::Network, peers};

#[test]
fn it_stores_and_reads_data_of_every_size() {
    let network = Network::start().unwrap();
    let mut script = peers::script("arweave-js.mjs").unwrap();
    let output = script.env("GATEWAY_URL", &network.ready().gateway_url).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
