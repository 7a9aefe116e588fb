//! Cron messages, with block times from a real gateway.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::network::Network;

fn cursors(body: &Value) -> Vec<Value> {
    use base64::Engine;
    let edges = body["edges"].as_array().unwrap();
    let decode = |edge: &Value| {
        let cursor = edge["cursor"].as_str().unwrap();
        serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(cursor).unwrap()).unwrap()
    };
    edges.iter().map(decode).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cron_messages_fire_between_the_messages_of_the_log() {
    let network = Network::start().await;
    let process = network.spawn(&[("Cron-Interval", "1-second"), ("Cron-Tag-Action", "X-Echo")]).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let crons = loop {
        let (status, body) = network.json(&format!("/cron/{process}")).await;
        assert_eq!(status, 200, "{body}");
        if body["edges"].as_array().unwrap().len() >= 2 {
            break body;
        }
        assert!(Instant::now() < deadline, "no cron message fired");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let seen = &crons["edges"][0]["node"]["Output"];
    let keys: Vec<&String> = seen.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["Owner", "Target", "From", "Tags", "Timestamp", "Block-Height", "Cron", "Read-Only"]);
    assert_eq!(seen["Owner"], network.user.address().to_string());
    let first = cursors(&crons);
    assert!(first.iter().all(|cursor| cursor["cron"] == "0-1-second" && cursor["ordinate"] == "0"), "{first:?}");
    // Going on from the last cursor gives later ones only.
    let last = crons["edges"].as_array().unwrap().last().unwrap()["cursor"].as_str().unwrap();
    let encoded: String = url::form_urlencoded::byte_serialize(last.as_bytes()).collect();
    let (_, later) = network.json(&format!("/cron/{process}?from={encoded}")).await;
    let newest = first.last().unwrap()["timestamp"].as_u64();
    assert!(cursors(&later).iter().all(|cursor| cursor["timestamp"].as_u64() > newest), "{later}");
    // A message stands among them at its time, and those after it carry its nonce.
    let message = network.send(process, "Add").await;
    network.result(process, message).await;
    let (_, all) = network.json(&format!("/results/{process}?limit=1000")).await;
    let times: Vec<u64> = cursors(&all).iter().map(|cursor| cursor["timestamp"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_fires_the_same_cron_messages() {
    let mut network = Network::start().await;
    let process = network.spawn(&[("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Add")]).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while network.json(&format!("/cron/{process}")).await.1["edges"].as_array().unwrap().len() < 3 {
        assert!(Instant::now() < deadline, "no cron message fired");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let message = network.send(process, "Add").await;
    let count = network.count(process, message).await;
    network.stop_cu().await;
    std::fs::remove_dir_all(network.folder.path().join("cu/results")).unwrap();
    network.start_cu().await;
    assert_eq!(network.count(process, message).await, count);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn block_crons_fire_once_for_each_block_of_the_gateway_and_pages_of_any_size_show_the_same() {
    let network = Network::start().await;
    let tags = [("Cron-Interval", "1-block"), ("Cron-Tag-Action", "X-Echo"), ("Cron-Interval", "2-blocks")];
    let process = network.spawn(&tags).await;
    let gateway = holon_arweave::Gateway::new(holon_arweave::GatewayOptions::new(network.gateway.clone())).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let listed = loop {
        // What is uploaded gets a block, a second or more after the one before.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let item = holon_protocol::DataItem::builder().data("makes a block").tag("At", format!("{:?}", Instant::now()));
        network.publish(&item.sign(&network.user).unwrap()).await;
        let (status, body) = network.json(&format!("/cron/{process}?limit=1000")).await;
        assert_eq!(status, 200, "{body}");
        if body["edges"].as_array().unwrap().len() >= 6 {
            break body;
        }
        assert!(Instant::now() < deadline, "too few cron messages fired: {body}");
    };
    let origin = network.client.get(format!("{}/processes/{process}", network.su.url())).send().await.unwrap();
    let origin: u64 = crate::network::answer(origin).await.1["block"].as_str().unwrap().parse().unwrap();
    let mut heights = Vec::new();
    for (edge, cursor) in listed["edges"].as_array().unwrap().iter().zip(cursors(&listed)) {
        let timestamp = cursor["timestamp"].as_u64().unwrap();
        match cursor["cron"].as_str().unwrap() {
            "0-1-block" => {
                let seen = &edge["node"]["Output"];
                let height = seen["Block-Height"].as_u64().unwrap();
                let block = gateway.blocks(holon_protocol::BlockHeight(height), 1).await.unwrap()[0];
                assert_eq!((block.height.0, block.timestamp.0), (height, timestamp), "{seen}");
                assert_eq!(seen["Timestamp"], timestamp);
                heights.push((height, timestamp));
            }
            // After the other at the same time, and only at every other block. Of several blocks of one time it may be a later one.
            "1-2-blocks" => {
                let (height, at) = *heights.last().unwrap();
                let blocks = gateway.blocks(holon_protocol::BlockHeight(height), 10).await.unwrap();
                let mut twins = blocks.iter().filter(|block| block.timestamp.0 == timestamp);
                let even = twins.any(|block| (block.height.0 - origin).is_multiple_of(2));
                assert!(at == timestamp && even, "{height} {cursor} {blocks:?}");
            }
            other => panic!("{other}"),
        }
    }
    assert!(heights.is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1), "{heights:?}");
    assert!(heights.iter().all(|(height, _)| *height > origin), "{heights:?}");
    // Page by page, from cursor to cursor.
    let (mut paged, mut from) = (Vec::new(), String::new());
    while paged.len() < listed["edges"].as_array().unwrap().len() {
        let to = url::form_urlencoded::byte_serialize(
            listed["edges"].as_array().unwrap().last().unwrap()["cursor"].as_str().unwrap().as_bytes(),
        )
        .collect::<String>();
        let (status, page) = network.json(&format!("/cron/{process}?limit=2&from={from}&to={to}")).await;
        let edges = page["edges"].as_array().unwrap().clone();
        assert!(status == 200 && !edges.is_empty(), "{page}");
        let cursor = edges.last().unwrap()["cursor"].as_str().unwrap();
        from = url::form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
        paged.extend(edges);
        let more = paged.len() < listed["edges"].as_array().unwrap().len();
        assert_eq!(page["pageInfo"]["hasNextPage"], more, "{page}");
    }
    assert_eq!(&paged, listed["edges"].as_array().unwrap());
    network.stop().await;
}

/// Counts its messages and answers with the last digit; never ends what a cron sends.
const ENDLESS_CRONS: &str = r#"(module
  (memory (export "memory") 4)
  (global $stack (mut i32) (i32.const 262080))
  (data (i32.const 2048) "{\"ok\":true,\"response\":{\"Output\":\"0\"}}\00")
  (func (export "emscripten_stack_init")) (func (export "__wasm_call_ctors"))
  (func (export "emscripten_stack_get_end") (result i32) (i32.const 1024))
  (func (export "emscripten_stack_get_current") (result i32) (global.get $stack))
  (func (export "_emscripten_stack_restore") (param i32) (global.set $stack (local.get 0)))
  (func (export "_emscripten_stack_alloc") (param i32) (result i32)
    (global.set $stack (i32.and (i32.sub (global.get $stack) (local.get 0)) (i32.const -16)))
    (global.get $stack))
  (func (export "setThrew") (param i32 i32))
  (func (export "handle") (param $at i32) (param i32) (result i32)
    (i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (i32.const 1)))
    (block $end (loop $next
      (br_if $end (i32.eqz (i32.load8_u (local.get $at))))
      ;; on":true
      (if (i64.eq (i64.load (local.get $at)) (i64.const 0x657572743a226e6f)) (then (loop $spin (br $spin))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
    (i32.store8 (i32.const 2081) (i32.add (i32.const 48) (i32.rem_u (i32.load (i32.const 16)) (i32.const 10))))
    (i32.const 2048)))"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_cron_message_that_runs_out_of_gas_changes_nothing_and_the_log_goes_on() {
    let mut network = Network::start().await;
    let wasm = wat::parse_str(ENDLESS_CRONS).unwrap();
    for format in ["wasm32-unknown-emscripten-metering", "wasm32-unknown-emscripten4"] {
        let limits = [("Memory-Limit", "512-mb"), ("Compute-Limit", "100000000")];
        let module = network.publish_module(&wasm, format, &limits).await;
        let process = network.spawn_module(module, &[("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Add")]).await;
        let own = network.result(process, process.into()).await;
        assert_eq!(own["Output"], "1", "{format}: {own}");
        let mut live = Vec::new();
        for expected in ["2", "3"] {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let message = network.send(process, "Add").await;
            assert_eq!(network.count(process, message).await, expected, "{format}");
            let (status, root) = network.json(&format!("/root/{process}?slot={}", live.len() + 1)).await;
            assert_eq!(status, 200, "{root}");
            live.push((message, root["stateRoot"].clone()));
        }
        let (_, crons) = network.json(&format!("/cron/{process}")).await;
        assert_eq!(crons["edges"].as_array().unwrap().len(), 0, "failed ones are not listed: {crons}");
        let mut events = crate::events::Events::open(&network, process, "?from=0", None).await;
        let mut failed = 0;
        loop {
            let told = events.result().await;
            match told["cron"].as_str() {
                None if told["nonce"] == 2 => break,
                None => {}
                Some(_) => {
                    let error = told["result"]["Error"].as_str().unwrap();
                    assert!(error.contains("gas"), "{format}: {told}");
                    failed += 1;
                }
            }
        }
        assert!(failed >= 2, "{format}: {failed}");
        // Another unit comes to the same.
        network.stop_cu().await;
        std::fs::remove_dir_all(network.folder.path().join("cu")).unwrap();
        network.start_cu().await;
        for (slot, (message, root)) in live.iter().enumerate() {
            network.count(process, *message).await;
            let (_, again) = network.json(&format!("/root/{process}?slot={}", slot + 1)).await;
            assert_eq!(again["stateRoot"], *root, "{format}");
        }
    }
    network.stop().await;
}
