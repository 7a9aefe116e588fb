//! A published `aos` module, from the published npm package that the whole project tests with.

use std::time::{Duration, Instant};

use holon_protocol::{DataItem, MessageId, ProcessId};
use serde_json::{Value, json};

use crate::network::Network;

fn module() -> Vec<u8> {
    std::fs::read(holon_peers::module("aos2_0_6").unwrap()).unwrap()
}

/// A process of the official module.
pub async fn aos(network: &Network, tags: &[(&str, &str)]) -> ProcessId {
    let format = "wasm64-unknown-emscripten-draft_2024_02_15";
    let limits = [("Memory-Limit", "1-gb"), ("Compute-Limit", "9000000000000"), ("Extension", "WeaveDrive")];
    let module = network.publish_module(&module(), format, &limits).await;
    network.spawn_module(module, tags).await
}

/// Sends Lua to evaluate.
pub async fn send(network: &Network, process: ProcessId, lua: &str) -> MessageId {
    let message = DataItem::builder()
        .target(process)
        .tag("Data-Protocol", "ao")
        .tag("Variant", "ao.TN.1")
        .tag("Type", "Message")
        .tag("Action", "Eval")
        .data(lua.to_owned())
        .sign(&network.user)
        .unwrap();
    network.schedule(&message).await;
    message.id().into()
}

/// What an `Eval` shows.
pub fn shown(result: &Value) -> &str {
    let data = &result["Output"]["data"];
    data["output"].as_str().or(data.as_str()).unwrap_or_else(|| panic!("{result}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_not_admitted_fails_the_request_and_records_nothing() {
    let network = Network::start().await;
    let data =
        DataItem::builder().tag("Content-Type", "text/plain").data("from the weave").sign(&network.user).unwrap();
    network.publish(&data).await;
    let read = format!("local f = io.open('/data/{}'); return f:read(f:seek('end'))", data.id());
    let process = aos(&network, &[]).await;
    let first = send(&network, process, "return 1").await;
    let denied = send(&network, process, &read).await;
    let after = send(&network, process, "return 2").await;
    for message in [denied, after, denied] {
        let (status, body) = network.json(&format!("/result/{message}?process-id={process}")).await;
        let error = body["error"].as_str().unwrap();
        assert!(status == 500 && error.contains("HALT: "), "{status} {body}");
    }
    assert_eq!(shown(&network.result(process, first).await), "1");
    assert_eq!(network.outputs(process).await.len(), 2);
    // With the scheduler's attestation, at a height that the next messages have reached.
    let attestation = DataItem::builder()
        .tag("Data-Protocol", "ao")
        .tag("Type", "Attestation")
        .tag("Message", data.id().to_string())
        .sign(&network.su_wallet)
        .unwrap();
    network.publish(&attestation).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let process = aos(&network, &[]).await;
        let message = send(&network, process, &read).await;
        let (status, body) = network.json(&format!("/result/{message}?process-id={process}")).await;
        if status == 200 {
            assert_eq!(shown(&body), "from the weave");
            break;
        }
        // Heights reach the scheduler every few seconds.
        assert!(Instant::now() < deadline, "{status} {body}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aos_evaluates_lua_and_remembers() {
    let network = Network::start().await;
    let process = aos(&network, &[("Name", "test")]).await;
    let eval = async |lua: &str| {
        let message = send(&network, process, lua).await;
        network.result(process, message).await
    };
    let result = eval("x = 20 + 1; return x * 2").await;
    assert_eq!(shown(&result), "42");
    let failed = eval("x = 0; error('on purpose')").await;
    assert!(failed["Error"].as_str().unwrap().contains("on purpose"), "{failed}");
    let result = eval("return x").await;
    assert_eq!(shown(&result), "21");
    let sent = eval("ao.send({ Target = 'somebody', Data = 'hello' })").await;
    assert_eq!(sent["Messages"][0]["Target"], "somebody", "{sent}");
    // The owner's address decides who may evaluate in a dry run, too.
    let mut body = crate::network::dry(process, "Eval");
    body["Owner"] = json!(network.user.address());
    body["Data"] = json!("x = x + 1; return x");
    for _ in 0..2 {
        let (status, result) = network.dry_run(process, "", body.clone()).await;
        assert_eq!(status, 200, "{result}");
        assert_eq!(shown(&result), "22");
    }
    network.stop().await;
}
