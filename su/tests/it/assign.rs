//! Assignments of items that are published already (spec 02 §2.3).

use holon_protocol::{DataItem, ItemId, Signer, Tags};
use reqwest::StatusCode;
use serde_json::Value;

use crate::network::{Network, assert_unbroken, client, eventually, nowhere, reply, stub, taken};

fn published(network: &Network, data: &str) -> DataItem {
    DataItem::builder().tag("App", "x").data(data.to_owned()).sign(&network.user).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_item_gets_a_position_without_body() {
    let network = Network::start().await;
    let process = network.spawn().await;
    let item = published(&network, "hello");
    network.weave.publish(&item).await;
    let assignment = taken(network.su.assign(process, item.id(), "&exclude=Data,Tags").await).await;
    let entry = network.su.entry(process, assignment).await;
    assert_eq!(entry.message, None);
    assert_eq!(entry.assignment.id, assignment.into());
    assert_eq!(entry.assignment.tags.get("Message"), Some(item.id().to_string().as_str()));
    assert_eq!(entry.assignment.tags.all("Exclude").collect::<Vec<_>>(), ["Data", "Tags"]);
    // The id of the assigned item itself finds nothing.
    assert_eq!(network.su.get(&format!("/{}?process-id={process}", item.id())).await.status(), 400);
    let latest = network.su.json(&format!("/{process}/latest")).await;
    assert_eq!(latest["assignment"]["id"], assignment.to_string());
    network.su.schedule(&network.message(process, &[], "after")).await;
    assert_unbroken(process, &network.su.log(process).await);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_is_assigned_once() {
    let network = Network::start().await;
    let process = network.spawn().await;
    let one = published(&network, "same");
    let other = Signer::generate_ed25519().unwrap();
    let two = DataItem::builder().tag("App", "x").data("same").sign(&other).unwrap();
    for item in [&one, &two] {
        network.weave.publish(item).await;
    }
    taken(network.su.assign(process, one.id(), "").await).await;
    for item in [&one, &two] {
        let again = network.su.assign(process, item.id(), "").await;
        assert_eq!(again.status(), StatusCode::BAD_REQUEST);
        assert!(again.text().await.unwrap().contains("Deep hash already exists"));
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_may_repeat_when_checks_are_off() {
    let network = Network::start_with(|options| options.content_checks = false).await;
    let process = network.spawn().await;
    let item = published(&network, "same");
    network.weave.publish(&item).await;
    let first = taken(network.su.assign(process, item.id(), "").await).await;
    let second = taken(network.su.assign(process, item.id(), "").await).await;
    assert_ne!(first, second);
    assert_unbroken(process, &network.su.log(process).await);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_layer_transaction_is_assigned_once_it_is_deep_enough() {
    let network = Network::start().await;
    let process = network.spawn_tagged(&[("Settlement-Depth", "3")]).await;
    let id = transaction(&network).await;
    // Not deep enough yet, unless the weave has made blocks meanwhile.
    eventually("the transaction is deep enough", || async {
        let answer = network.su.assign(process, id, "&base-layer").await;
        if answer.status() == StatusCode::OK {
            return true;
        }
        assert!(answer.text().await.unwrap().contains("Not enough confirmations to assign"));
        client().get(network.weave.url.join("mine").unwrap()).send().await.unwrap();
        false
    })
    .await;
    // Base-layer assignments are never taken for repeats.
    let assignment = taken(network.su.assign(process, id, "&base-layer=").await).await;
    assert_eq!(network.su.entry(process, assignment).await.message, None);
    network.stop().await;
}

/// Posts a base-layer transaction.
async fn transaction(network: &Network) -> ItemId {
    let http = client();
    let get = async |path: &str| {
        let answer = http.get(network.weave.url.join(path).unwrap()).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let anchor = holon_protocol::base64url::decode(get("tx_anchor").await).unwrap();
    let reward = get("price/5").await.parse().unwrap();
    let unsigned = holon_arweave::Transaction::data("hello", &Tags::default(), &anchor, reward);
    let transaction = unsigned.sign(&crate::shapes::rsa_wallet()).unwrap();
    let answer = http.post(network.weave.url.join("tx").unwrap()).json(&transaction.to_json(true)).send().await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
    transaction.to_json(false)["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_exclusions_for_an_item_are_refused_and_consume_no_position() {
    let network = Network::start().await;
    let process = network.spawn().await;
    let item = published(&network, "x");
    network.weave.publish(&item).await;
    let answer = network.su.assign(process, item.id(), &format!("&exclude={}", ",".repeat(200))).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let error: Value = answer.json().await.unwrap();
    assert!(error["error"].as_str().unwrap().contains("tags"), "{error}");
    network.su.schedule(&network.message(process, &[], "next")).await;
    assert_unbroken(process, &network.su.log(process).await);
    network.stop().await;
}

/// A network whose data comes from a gateway that gives `answer` to everything but `/info`.
async fn data_from(answer: String, change: impl FnOnce(&mut holon_su::Options)) -> Network {
    let gateway = stub(move |request, _| match request {
        "GET /info HTTP/1.1" => reply("200 OK", r#"{"height":1500000,"current":"x","network":"n"}"#),
        _ => answer.clone(),
    });
    Network::start_with(|options| {
        options.arweave_url = Some(gateway);
        change(options);
    })
    .await
}

/// Status and error of an assignment of a published item.
async fn refusal(network: &Network) -> (u16, String) {
    let process = network.spawn().await;
    let item = published(network, "x");
    network.weave.publish(&item).await;
    let answer = network.su.assign(process, item.id(), "").await;
    let status = answer.status().as_u16();
    (status, answer.json::<Value>().await.unwrap()["error"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn data_too_large_to_be_hashed_is_refused_before_it_is_read() {
    let size = holon_protocol::assignment::MAX_ASSIGNED_BYTES + 1;
    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {size}\r\n\r\nthe start");
    let network = data_from(answer, |_| {}).await;
    let (status, error) = refusal(&network).await;
    assert_eq!(status, 400);
    assert!(error.contains("larger than 10485760 bytes"), "{error}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_no_compute_unit_would_read_gets_no_position_unless_its_data_is_excluded() {
    let large = "x".repeat(holon_protocol::assignment::MAX_ASSIGNED_BYTES as usize + 1);
    for content_checks in [true, false] {
        let network = Network::start_with(|options| options.content_checks = content_checks).await;
        let process = network.spawn().await;
        let item = published(&network, &large);
        network.weave.publish(&item).await;
        for excluded in ["", "&exclude=Tags"] {
            let refused = network.su.assign(process, item.id(), excluded).await;
            assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
            let error = refused.text().await.unwrap();
            assert!(error.contains("larger than 10485760 bytes") && error.contains("unless its data"), "{error}");
        }
        taken(network.su.assign(process, item.id(), "&exclude=Tags,Data").await).await;
        assert_unbroken(process, &network.su.log(process).await);
        network.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_not_read_at_all_when_content_checks_are_off() {
    let network = data_from(reply("500 Broken", ""), |options| options.content_checks = false).await;
    let process = network.spawn().await;
    let item = published(&network, "x");
    network.weave.publish(&item).await;
    taken(network.su.assign(process, item.id(), "").await).await;
    let unknown = network.su.assign(process, ItemId::from_bytes([5; 32]), "").await;
    assert_eq!(unknown.status(), StatusCode::BAD_REQUEST);
    assert!(unknown.text().await.unwrap().contains("Transaction not found"));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_be_asked_is_no_verdict_on_the_item() {
    for (answer, expected) in
        [("500 Broken", 503), ("429 Slow", 503), ("404 Not Found", 400), ("451 Unavailable For Legal Reasons", 400)]
    {
        let network = data_from(reply(answer, ""), |_| {}).await;
        let (status, error) = refusal(&network).await;
        assert_eq!(status, expected, "{answer}: {error}");
        network.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_on_boot_item_is_unknown_only_if_some_gateway_says_so() {
    let absent = || stub(|_, _| "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".into());
    for (gateways, expected) in [
        (vec![nowhere(), nowhere()], StatusCode::SERVICE_UNAVAILABLE),
        (vec![nowhere(), absent()], StatusCode::BAD_REQUEST),
        (vec![absent(), nowhere()], StatusCode::BAD_REQUEST),
    ] {
        let network = Network::start_with(|options| options.on_boot_urls = gateways).await;
        let process = network.process(&[("On-Boot", &ItemId::from_bytes([3; 32]).to_string())]);
        let answer = network.su.post("", process.raw().clone()).await;
        assert_eq!(answer.status(), expected);
        assert_eq!(network.su.get(&format!("/{}", process.id())).await.status(), 400, "nothing was written");
        network.stop().await;
    }
}
