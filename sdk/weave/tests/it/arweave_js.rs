//! The published `arweave` package drives the service.

use holon_tests::peers;

use crate::harness::Weave;

#[tokio::test(flavor = "multi_thread")]
async fn the_published_client_stores_and_reads_data() {
    let weave = Weave::start().await;
    let url = weave.url.clone();
    let output = tokio::task::spawn_blocking(move || {
        peers::script("arweave-js.mjs").unwrap().env("GATEWAY_URL", url).output().unwrap()
    });
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
