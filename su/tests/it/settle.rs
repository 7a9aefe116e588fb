//! What is acknowledged reaches Arweave.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use holon_protocol::{DataItem, ItemId};
use holon_su::Options;
use holon_su::settle::WINDOW;

use crate::network::{Network, Scheduler, eventually, nowhere, reply, stub};

pub async fn wait_until_published(network: &Network, id: ItemId) {
    let gateway = network.weave.gateway();
    eventually("an item reaches the gateway", || async { gateway.node(id).await.is_ok_and(|node| node.is_some()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_and_assignments_are_published_unchanged() {
    let network = Network::start().await;
    let process = network.spawn().await;
    let item = network.message(process, &[("Action", "Ping")], "data");
    network.su.schedule(&item).await;
    let log = network.su.log(process).await;
    for entry in &log {
        wait_until_published(&network, entry.message.as_ref().unwrap().id).await;
        wait_until_published(&network, entry.assignment.id.into()).await;
    }
    assert_eq!(network.weave.gateway().raw(item.id()).await.unwrap(), item.data());
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_without_body_is_published_in_a_bundle() {
    let network = Network::start().await;
    let process = network.spawn().await;
    let published = DataItem::builder().tag("App", "x").data("hello").sign(&network.user).unwrap();
    network.weave.publish(&published).await;
    let assignment = crate::network::taken(network.su.assign(process, published.id(), "").await).await;
    wait_until_published(&network, assignment).await;
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_uploaded_is_uploaded_after_a_restart() {
    let network = Network::start_with(|options| options.uploader_url = Some(nowhere())).await;
    let process = network.spawn().await;
    let mut items = Vec::new();
    for index in 0..20 {
        let item = network.message(process, &[], &index.to_string());
        network.su.schedule(&item).await;
        items.push(item.id());
    }
    let options: Options = network.options();
    let Network { su, weave, .. } = &network;
    let gateway = weave.gateway();
    assert_eq!(gateway.node(items[0]).await.unwrap(), None);
    let (before, url) = (su.log(process).await, su.url.clone());
    let Network { su, weave, wallet, user, .. } = network;
    su.running.stop().await.unwrap();
    assert!(crate::network::client().get(url).send().await.is_err(), "it still listens");

    let su = Scheduler::start(options).await;
    assert_eq!(su.log(process).await, before);
    for entry in before {
        let id: ItemId = entry.assignment.id.into();
        eventually("an assignment reaches the gateway", || async { gateway.node(id).await.unwrap().is_some() }).await;
    }
    drop((weave, wallet, user));
    su.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wrong_uploader_refused_is_uploaded_once_the_right_one_is_configured() {
    // What counts it, and how many entries are put back at the next start.
    for (wrong, series, requeued) in
        [("400 Bad Request", "su_settle_refused_total", 2), ("404 Not Found", "su_settle_failures_total", 0)]
    {
        let uploader = stub(move |_, _| reply(wrong, "no bundler here"));
        let network = Network::start_with(|options| options.uploader_url = Some(uploader)).await;
        let process = network.spawn().await;
        network.su.schedule(&network.message(process, &[], "x")).await;
        eventually("both uploads are answered", || async { network.su.series(series).await >= 2 }).await;
        let (log, options) = (network.su.log(process).await, network.options());
        let Network { su, weave, .. } = network;
        su.running.stop().await.unwrap();

        let su = Scheduler::start(options).await;
        let gateway = weave.gateway();
        for entry in log {
            for id in [entry.message.unwrap().id, entry.assignment.id.into()] {
                eventually("it reaches the gateway", || async { gateway.node(id).await.unwrap().is_some() }).await;
            }
        }
        assert_eq!(su.series("su_settle_requeued_total").await, requeued, "{wrong}");
        su.running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_cannot_be_uploaded_do_not_keep_later_ones_from_it() {
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let log = seen.clone();
    let uploader = stub(move |_, body| {
        if body.windows(5).any(|part| part == b"large") {
            return reply("413 Too Large", "");
        }
        log.lock().unwrap().push(body.to_vec());
        reply("200 OK", "")
    });
    let network = Network::start_with(|options| options.uploader_url = Some(uploader)).await;
    let process = network.spawn().await;
    let large: Vec<_> =
        (0..=WINDOW).map(|index| network.message(process, &[("Index", &index.to_string())], "large")).collect();
    join_all(large.iter().map(|item| network.su.schedule(item))).await;
    let last = network.message(process, &[], "last");
    network.su.schedule(&last).await;
    eventually("the last one is uploaded", || async {
        seen.lock().unwrap().iter().any(|body| body.as_slice() == last.raw().as_ref())
    })
    .await;
    network.stop().await;
}
