//! Results of messages: evaluated on request, listed afterwards.

use serde_json::json;

use crate::network::Network;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_evaluated_with_everything_before_it() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.push(network.send(process, "Add").await);
    }
    let result = network.result(process, messages[3]).await;
    let keys: Vec<&String> = result.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["Messages", "Assignments", "Spawns", "Output", "GasUsed"]);
    // The process's own entry is the first message.
    assert_eq!(result["Output"], "5");
    assert_eq!(result["Messages"], json!([{ "Target": "somebody", "Tags": [] }]));
    assert_eq!(network.outputs(process).await, ["1", "2", "3", "4", "5"]);
    // Later ones have not been touched, earlier ones are there.
    assert_eq!(network.count(process, messages[0]).await, "2");
    assert_eq!(network.count(process, process.into()).await, "1");
    assert_eq!(network.count(process, messages[4]).await, "6");
    // An assignment is another name for its message.
    let entry = network.client.get(format!("{}/{}?process-id={process}", network.su.url(), messages[1]));
    let (_, entry) = crate::network::answer(entry.send().await.unwrap()).await;
    let assignment = entry["assignment"]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(network.count(process, assignment).await, "3");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_leaves_the_state_untouched_and_stops_nothing() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let first = network.send(process, "Add").await;
    let mut failures = Vec::new();
    for action in ["X-Fail", "X-Refuse", "X-Trap", "X-Spin"] {
        failures.push((action, network.send(process, action).await));
    }
    let last = network.send(process, "Add").await;
    assert_eq!(network.count(process, last).await, "3");
    assert_eq!(network.count(process, first).await, "2");
    for (action, message) in failures {
        let result = network.result(process, message).await;
        let error = result["Error"].as_str().unwrap_or_else(|| panic!("{action}: {result}"));
        match action {
            "X-Fail" => assert_eq!((error, &result["Output"]), ("failed on purpose", &json!("lost"))),
            "X-Refuse" => assert_eq!((error, &result["Output"]), ("refused on purpose", &json!(""))),
            _ => assert!(!error.is_empty()),
        }
        assert_eq!(result["Messages"], json!([]), "{action}");
    }
    // Failed results are not listed.
    assert_eq!(network.outputs(process).await, ["1", "2", "3"]);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_sees_the_message_in_normal_form_and_its_environment() {
    let network = Network::start().await;
    let process = network.spawn(&[("Name", "tester")]).await;
    let message = network.message(process, "X-Echo", &[("From", "forged"), ("From-Process", "pusher")]);
    network.schedule(&message).await;
    let environment = network.send(process, "X-Environment").await;
    let seen = network.result(process, message.id().into()).await["Output"].clone();
    let keys: Vec<&String> = seen.as_object().unwrap().keys().collect();
    let order = "Id Signature Data Owner Target Anchor From Forwarded-By Tags Epoch Nonce Timestamp Block-Height Hash-Chain \
                 Cron Read-Only";
    assert_eq!(keys, order.split(' ').collect::<Vec<_>>());
    let me = network.user.address().to_string();
    assert_eq!(seen["Id"], message.id().to_string());
    assert_eq!((&seen["Owner"], &seen["From"], &seen["Forwarded-By"]), (&json!(me), &json!("pusher"), &json!(me)));
    assert_eq!((&seen["Target"], &seen["Data"], &seen["Nonce"]), (&json!(process), &json!("d"), &json!(1)));
    assert_eq!(seen["Anchor"], String::from_utf8(message.anchor().unwrap().to_vec()).unwrap());
    assert!(!seen["Tags"].as_array().unwrap().iter().any(|tag| tag["name"] == "From"), "{seen}");
    let seen = network.result(process, environment).await["Output"].clone();
    assert_eq!(seen["Process"]["Id"], json!(process));
    assert_eq!(seen["Process"]["Owner"], json!(me));
    assert_eq!(seen["Module"]["Id"], json!(network.module));
    assert!(seen["Process"]["Tags"].as_array().unwrap().contains(&json!({ "name": "Name", "value": "tester" })));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_page_in_both_directions_and_an_explicit_order_wins() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut last = process.into();
    for _ in 0..4 {
        last = network.send(process, "Add").await;
    }
    let (_, empty) = network.json(&format!("/results/{process}")).await;
    assert_eq!(empty, json!({ "pageInfo": { "hasNextPage": false }, "edges": [] }));
    network.result(process, last).await;
    let page = async |query: &str| {
        let (status, body) = network.json(&format!("/results/{process}?{query}")).await;
        assert_eq!(status, 200, "{body}");
        let edges = body["edges"].as_array().unwrap().clone();
        let outputs: Vec<String> = edges.iter().map(|edge| edge["node"]["Output"].as_str().unwrap().into()).collect();
        let cursor = edges.last().map(|edge| edge["cursor"].as_str().unwrap().to_owned()).unwrap_or_default();
        (outputs.join(" "), body["pageInfo"]["hasNextPage"].as_bool().unwrap(), cursor)
    };
    let encode = |cursor: &str| url::form_urlencoded::byte_serialize(cursor.as_bytes()).collect::<String>();
    let (outputs, more, cursor) = page("limit=2").await;
    assert_eq!((outputs.as_str(), more), ("1 2", true));
    let (outputs, more, _) = page(&format!("limit=25&from={}", encode(&cursor))).await;
    assert_eq!((outputs.as_str(), more), ("3 4 5", false));
    let (outputs, _, newest) = page("sort=DESC&limit=2").await;
    assert_eq!(outputs, "5 4");
    // The cursor of a descending page asks for that order, unless the request says otherwise.
    assert_eq!(page(&format!("from={}", encode(&cursor))).await.0, "3 4 5");
    assert_eq!(page(&format!("to={}", encode(&newest))).await.0, "4 3 2 1");
    assert_eq!(page(&format!("to={}&sort=ASC", encode(&newest))).await.0, "1 2 3 4");
    assert_eq!(page("to=1").await.0, "");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_turns_the_order_gets_the_cursors_it_knows() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut last = process.into();
    for _ in 0..4 {
        last = network.send(process, "Add").await;
    }
    network.result(process, last).await;
    let cursors = async |query: String| {
        let (status, body) = network.json(&format!("/results/{process}?{query}")).await;
        assert_eq!(status, 200, "{body}");
        let edges = body["edges"].as_array().unwrap().clone();
        edges.iter().map(|edge| edge["cursor"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let newest = cursors("sort=DESC&limit=3".into()).await;
    let oldest: String = url::form_urlencoded::byte_serialize(newest[2].as_bytes()).collect();
    let since = cursors(format!("from={oldest}&sort=ASC&limit=1000")).await;
    assert_eq!(since, [newest[1].clone(), newest[0].clone()]);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_image_is_that_of_the_time_asked_for() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(network.send(process, "Add").await);
    }
    let image = async |query: &str| {
        let response = network.get(&format!("/state/{process}{query}")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/octet-stream");
        let ordinate = response.headers()["last-ordinate"].to_str().unwrap().to_owned();
        assert!(
            response.headers().contains_key("last-timestamp") && response.headers().contains_key("last-block-height")
        );
        let memory = response.bytes().await.unwrap();
        (ordinate, u32::from_le_bytes(memory[16..20].try_into().unwrap()))
    };
    assert_eq!(image("").await, ("3".to_owned(), 4));
    let (_, page) = network.json(&format!("/results/{process}?limit=2")).await;
    let cursor = page["edges"][1]["cursor"].as_str().unwrap();
    use base64::Engine;
    let cursor: serde_json::Value =
        serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(cursor).unwrap()).unwrap();
    // A past state comes from a replay, which disturbs nothing.
    assert_eq!(image(&format!("?to={}", cursor["timestamp"])).await, ("1".to_owned(), 2));
    assert_eq!(image("").await, ("3".to_owned(), 4));
    assert_eq!(network.outputs(process).await, ["1", "2", "3", "4"]);
    network.stop().await;
}
