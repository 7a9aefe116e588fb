//! Transactions of the base layer that are assigned to processes, by a client and by a process's result (spec 04 §3, §10.5),
//! and a process that is assigned to itself, which comes to nothing.

use std::time::Duration;

use anyhow::bail;
use holon_arweave::Transaction;
use holon_client::Network as Client;
use holon_protocol::{ItemId, ProcessId, Signer, Tags, base64url};
use holon_tests::{network::Network, peers, wait};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::command_line::done;
use crate::speaking::{at, client};

static VECTORS: &str = include_str!("../vectors/data-items.json");
/// Longest wait for messages to go around.
const PATIENCE: Duration = Duration::from_secs(60);

/// Mines a transaction with this data, signed by an Arweave wallet.
async fn transaction(network: &Network, data: &'static str) -> ItemId {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let wallet = Signer::from_jwk(&vectors["keys"]["arweave_rsa4096"]["jwk"].to_string()).unwrap();
    let (http, gateway) = (client(), &network.ready().gateway_url);
    let get = async |path: &str| http.get(at(gateway, path)).send().await.unwrap().text().await.unwrap();
    let anchor = base64url::decode(get("/tx_anchor").await).unwrap();
    let reward = get(&format!("/price/{}", data.len())).await.parse().unwrap();
    let tags = Tags::from_iter([("Kind", "Notice")]);
    let transaction = Transaction::data(data, &tags, &anchor, reward).sign(&wallet).unwrap();
    let answer = http.post(at(gateway, "/tx")).json(&transaction.to_json(true)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
    transaction.id
}

/// Several processes of `aos` that take what is assigned to them, each with this depth of settlement.
fn spawn(network: &Network, module: &str, name: &str, depth: &str) -> String {
    let (name, depth) = (format!("Name={name}"), format!("Settlement-Depth={depth}"));
    let spawned = done(network, &["spawn", "--module", module, "--tag", &name, "--tag", &depth]);
    let process = spawned["process"].as_str().unwrap().to_owned();
    eval(network, &process, "ao.addAssignable('anything', function (m) return true end) return 1");
    process
}

/// What an `aos` process says to a line of Lua.
fn eval(network: &Network, process: &str, lua: &str) -> String {
    let output = &done(network, &["eval", process, lua])["result"]["Output"]["data"];
    output.as_str().map_or_else(|| output.to_string(), str::to_owned)
}

/// Waits until the newest message in a process's inbox is this.
fn receives(network: &Network, process: &str, expected: &str) {
    let lua =
        "local m = Inbox[#Inbox] or {} return tostring(m.Id) .. ' ' .. tostring(m.Data) .. ' ' .. tostring(m.Kind)";
    let look = || {
        let said = eval(network, process, lua);
        if said == expected { Ok(Some(())) } else { bail!("it is {said}") }
    };
    wait::until(&format!("{expected} to arrive"), PATIENCE, look).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_layer_transaction_reaches_the_process_to_which_a_client_or_a_process_assigns_it() {
    let network = Network::start().unwrap();
    let wasm = peers::module("aos2_0_6").unwrap();
    let module = done(&network, &["publish", wasm.to_str().unwrap(), "--format", "aos64"]);
    let module = module["module"].as_str().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| spawn(&network, module, name, "1"));
    let careful = spawn(&network, module, "careful", "1000000");
    let ready = network.ready();
    let units = Client::builder()
        .mu_url(ready.mu_url.parse().unwrap())
        .cu_url(ready.cu_url.parse().unwrap())
        .gateway_url(ready.gateway_url.parse().unwrap())
        .allow_private_urls(true)
        .build()
        .unwrap();

    // A client assigns it; the result is that of the assignment.
    let to_alice: ProcessId = alice.parse().unwrap();
    let first = transaction(&network, "by a client").await;
    let assignment = units.assign(to_alice, first.into()).base_layer().send().await.unwrap();
    let result = units.result(to_alice, ItemId::from(assignment)).await.unwrap();
    assert_eq!(result.error, None, "{result:?}");
    receives(&network, &alice, &format!("{first} by a client Notice"));
    // So does a process, and another one receives it.
    let second = transaction(&network, "by a process").await;
    eval(
        &network,
        &bob,
        &format!("Assign({{ Processes = {{ '{alice}' }}, Message = '{second}', BaseLayer = true }}) return 1"),
    );
    receives(&network, &alice, &format!("{second} by a process Notice"));
    // What is excluded is not there.
    let third = transaction(&network, "without its data").await;
    let exclude = "Exclude = { 'Data', 'Anchor' }";
    eval(
        &network,
        &bob,
        &format!(
            "Assign({{ Processes = {{ '{alice}' }}, Message = '{third}', BaseLayer = true, {exclude} }}) return 1"
        ),
    );
    receives(&network, &alice, &format!("{third} nil Notice"));

    // A process that waits for more blocks is not given it, and whoever asks is told why.
    let early = units.assign(careful.parse().unwrap(), first.into()).base_layer().send().await.unwrap_err();
    assert!(early.status() == Some(400) && early.to_string().contains("Not enough confirmations"), "{early}");
    let none = ItemId::from_bytes([7; 32]);
    let nothing = units.assign(to_alice, none.into()).base_layer().send().await.unwrap_err();
    assert!(nothing.status() == Some(400) && nothing.to_string().contains("Not enough confirmations"), "{nothing}");

    // A process is not assigned to itself: a client is told at once, and in a result it is passed over.
    for base_layer in ["", "&base-layer"] {
        let path = format!("/?process-id={alice}&assign={alice}{base_layer}");
        let refused = client().request(Method::POST, at(&ready.mu_url, &path)).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        let refused: Value = refused.json().await.unwrap();
        assert!(refused["error"].as_str().unwrap().contains("cannot be assigned to itself"), "{refused}");
    }
    done(
        &network,
        &["eval", &bob, &format!("Assign({{ Processes = {{ '{bob}', '{alice}' }}, Message = '{bob}' }}) return 1")],
    );
    // The other one is given it: the process without data.
    receives(&network, &alice, &format!("{bob}   nil"));
    let letter = done(&network, &["dead-letters"]);
    assert_eq!((&letter["entry"], &letter["emitter"]), (&"Assignments[0]".into(), &bob.into()), "{letter}");
}
