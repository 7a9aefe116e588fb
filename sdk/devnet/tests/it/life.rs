//! A network from its start to its end.

use std::time::{Duration, Instant};

use holon_devnet::{Error, Network};

use crate::{COUNTER, start, wasm};

/// What is promised of a start, and what tests allow it on a computer that does much else.
const PROMISED: Duration = Duration::from_secs(1);
const ALLOWED: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_network_starts_and_answers_and_leaves_nothing_behind() {
    let begun = Instant::now();
    let network = start().await;
    let started = begun.elapsed();
    let counter = network.deploy(COUNTER.clone()).await.unwrap();
    let answer = network.send(counter).action("Increment").data("5").result().await.unwrap();
    let answered = begun.elapsed();
    println!("started in {started:?} (promised: {PROMISED:?}), first answer after {answered:?}");
    assert!(started < ALLOWED, "{started:?}");
    assert_eq!(answer.clone().ok().unwrap().output, "5");
    // At once, however little time has passed.
    for value in 6..20 {
        network.send(counter).action("Increment").result().await.unwrap();
        assert_eq!(network.dry_run(counter).action("Get").await.unwrap().output, value.to_string());
    }
    let folder = network.folder().unwrap().to_owned();
    assert!(folder.is_dir());
    network.stop().await.unwrap();
    assert!(!folder.exists());
}

#[test]
fn a_network_that_is_dropped_ends_too_and_whatever_runtime_it_was_used_in() {
    for runtime in [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()] {
        let mut runtime = runtime;
        let runtime = runtime.enable_all().build().unwrap();
        let (folder, gateway) = runtime.block_on(async {
            let network = start().await;
            let counter = network.deploy(COUNTER.clone()).await.unwrap();
            assert_eq!(network.send(counter).action("Increment").result().await.unwrap().output, "1");
            (network.folder().unwrap().to_owned(), network.urls().gateway.clone())
        });
        assert!(!folder.exists());
        let address = (gateway.host_str().unwrap(), gateway.port().unwrap());
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody answers any more");
    }
}

#[tokio::test]
async fn a_network_that_keeps_its_data_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept");
    let again = || Network::builder().data(&path).start();
    let network = again().await.unwrap();
    let counter = network.deploy(COUNTER.clone()).await.unwrap();
    assert_eq!(network.send(counter).action("Increment").result().await.unwrap().output, "1");
    network.advance(Duration::from_secs(3600)).await.unwrap();
    let before = (network.scheduler(), network.authority(), network.wallet().address(), network.now());
    let error = again().await.unwrap_err();
    assert!(matches!(error, Error::NotStarted { .. }), "one network at a time: {error}");
    network.stop().await.unwrap();

    let network = again().await.unwrap();
    let after = (network.scheduler(), network.authority(), network.wallet().address());
    assert_eq!(after, (before.0, before.1, before.2));
    assert!(network.now() >= before.3, "{:?} is before {:?}", network.now(), before.3);
    assert_eq!(network.send(counter).action("Increment").result().await.unwrap().output, "2");
    network.stop().await.unwrap();
    assert!(path.is_dir());
}

#[tokio::test]
async fn processes_answer_each_other_and_know_who_asked() {
    let network = start().await;
    let (alice, bob) = (network.new_wallet().unwrap(), network.new_wallet().unwrap());
    let token = network.publish(wasm("token")).await.unwrap();
    let token = network.spawn(token).tag("Name", "Points").tag("Initial-Supply", 100).signed_by(&alice).await.unwrap();
    let counter = network.deploy(COUNTER.clone()).await.unwrap();
    let transfer =
        |recipient: String| network.send(token).action("Transfer").tag("Recipient", recipient).tag("Quantity", 30);

    let answer = transfer(counter.to_string()).signed_by(&alice).result().await.unwrap();
    let notice = answer.message("Credit-Notice").unwrap();
    assert_eq!((notice.target.as_str(), notice.tags.get("Quantity")), (&*counter.to_string(), Some("30")));
    network.idle().await.unwrap();
    // The notice reached the other process, which does not know what to do with it.
    let page = network.client().results(counter).page().await.unwrap();
    assert_eq!(page.edges.len(), 1, "{page:?}");

    let refused = transfer(bob.address().to_string()).signed_by(&bob).result().await.unwrap();
    assert_eq!(refused.message("Transfer-Error").unwrap().target, bob.address().to_string());
    let balance = network.dry_run(token).action("Balance").from(alice.address()).await.unwrap();
    assert_eq!(balance.output, "70");
    network.stop().await.unwrap();
}

#[tokio::test]
async fn an_error_of_a_process_is_one_when_the_test_says_so() {
    let network = start().await;
    let counter = network.deploy(COUNTER.clone()).await.unwrap();
    let answer = network.send(counter).action("Explode").result().await.unwrap();
    let error = answer.ok().unwrap_err();
    assert!(matches!(&error, Error::Process(text) if text.contains("Explode")), "{error}");
    network.stop().await.unwrap();
}

#[tokio::test]
async fn units_run_with_other_limits_when_told() {
    let network = Network::builder()
        .change(|plan| {
            plan.su.message_size = Some(holon_su::check::SizeLimit {
                bytes: 300,
                owners: Vec::new(),
                from_owners: Vec::new(),
                from: Vec::new(),
            });
        })
        .start()
        .await
        .unwrap();
    let counter = network.deploy(COUNTER.clone()).await.unwrap();
    let error = network.send(counter).action("Increment").data(vec![b'1'; 400]).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    network.stop().await.unwrap();
}
