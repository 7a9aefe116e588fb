//! Many networks in one program.

use std::time::Instant;

use futures_util::future::try_join_all;
use holon_devnet::Network;

use crate::COUNTER;

/// Networks at once.
const NETWORKS: usize = 100;

#[tokio::test]
async fn a_hundred_networks_run_at_once_and_know_nothing_of_each_other() {
    let begun = Instant::now();
    let networks = try_join_all((0..NETWORKS).map(|_| Network::start())).await.unwrap();
    let started = begun.elapsed();

    // All of them are up: each counts to its own number.
    let counted = try_join_all(networks.iter().enumerate().map(|(number, network)| async move {
        let counter = network.deploy(COUNTER.clone()).await?;
        let answer = network.send(counter).action("Increment").data(number.to_string()).result().await?;
        network.idle().await?;
        Ok::<_, holon_devnet::Error>((answer.ok()?.output, network.dry_run(counter).action("Get").await?.output))
    }));
    for (number, (counted, asked)) in counted.await.unwrap().into_iter().enumerate() {
        assert_eq!((counted, asked), (number.to_string(), number.to_string()));
    }
    let answered = begun.elapsed();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let usage: Vec<_> =
        status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("Threads")).collect();
    try_join_all(networks.into_iter().map(Network::stop)).await.unwrap();
    println!(
        "{NETWORKS} networks: started in {started:?}, answered after {answered:?}, ended after {:?}; {usage:?}",
        begun.elapsed()
    );
}
