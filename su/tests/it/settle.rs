//! What is acknowledged reaches Arweave.

use holon_protocol::{DataItem, ItemId};
use holon_su::Options;
use url::Url;

use crate::network::{Network, Scheduler, eventually};

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
    // Nobody listens there.
    let nowhere: Url = format!("http://{}/", crate::network::listener().local_addr().unwrap()).parse().unwrap();
    let network = Network::start_with(|options| options.uploader_url = Some(nowhere)).await;
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
