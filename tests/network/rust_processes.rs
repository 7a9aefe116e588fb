//! Processes written in Rust and processes of `aos` on one network: a balance, a payment, a conversation.

use std::{path::Path, time::Duration};

use anyhow::bail;
use holon_tests::{network::Network, peers, wait};
use serde_json::Value;

use super::command_line::{done, run};

/// Longest wait for messages to go around.
const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes a module of `wasm-processes` and spawns a process of it.
fn spawn(network: &Network, name: &str, tags: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("wasm-processes");
    let wasm = folder.join(name).join(format!("{name}.wasm"));
    let published = done(network, &["publish", wasm.to_str().unwrap(), "--tag", &format!("Name={name}")]);
    let mut arguments = vec!["spawn", "--module", published["module"].as_str().unwrap()];
    arguments.extend(tags.iter().flat_map(|tag| ["--tag", tag]));
    done(network, &arguments)["process"].as_str().unwrap().to_owned()
}

fn spawn_aos(network: &Network, name: &str) -> String {
    let wasm = peers::module("aos2_0_6").unwrap();
    let published = done(network, &["publish", wasm.to_str().unwrap(), "--format", "aos64"]);
    let module = published["module"].as_str().unwrap();
    let spawned = done(network, &["spawn", "--module", module, "--tag", &format!("Name={name}")]);
    spawned["process"].as_str().unwrap().to_owned()
}

/// What an `aos` process says to a line of Lua.
fn eval(network: &Network, process: &str, lua: &str) -> String {
    let output = &done(network, &["eval", process, lua])["result"]["Output"]["data"];
    output.as_str().map_or_else(|| output.to_string(), str::to_owned)
}

/// Waits until an expression of Lua has this value.
fn becomes(network: &Network, process: &str, lua: &str, expected: &str) {
    let look = || {
        let said = eval(network, process, &format!("return tostring({lua})"));
        if said == expected { Ok(Some(())) } else { bail!("it is {said}") }
    };
    wait::until(&format!("{lua} to be {expected}"), PATIENCE, look).unwrap();
}

fn output(network: &Network, process: &str, action: &str, tags: &[&str]) -> Value {
    let mut arguments = vec!["dry-run", process, "--action", action];
    arguments.extend(tags.iter().flat_map(|tag| ["--tag", tag]));
    done(network, &arguments)["result"]["Output"].take()
}

#[test]
fn an_aos_process_holds_a_balance_in_our_token_and_talks_in_our_chatroom() {
    let network = Network::start().unwrap();
    let token = spawn(&network, "token", &["Name=Points", "Ticker=PNTS", "Initial-Supply=1000"]);
    let room = spawn(&network, "chatroom", &[]);
    let alice = spawn_aos(&network, "alice");
    eval(&network, &alice, &format!("Token = '{token}' Room = '{room}' return 1"));

    // It is paid, and is told so.
    let pay = ["--tag", &format!("Recipient={alice}"), "--tag", "Quantity=100", "--tag", "X-Order=7"];
    done(&network, &[&["send", &token, "--action", "Transfer"][..], &pay].concat());
    becomes(&network, &alice, "Inbox[#Inbox].Action", "Credit-Notice");
    assert_eq!(
        eval(
            &network,
            &alice,
            "local m = Inbox[#Inbox] return m.Quantity .. ' ' .. m.Tags['X-Order'] .. ' ' .. tostring(m.From == Token)"
        ),
        "100 7 true"
    );
    // It asks what it has, and waits for the answer.
    eval(
        &network,
        &alice,
        "local m = Send({ Target = Token, Action = 'Balance' }).receive() Has = m.Balance .. ' ' .. m.Ticker",
    );
    becomes(&network, &alice, "Has", "100 PNTS");
    // It pays, and is told so.
    eval(
        &network,
        &alice,
        "local m = Send({ Target = Token, Action = 'Transfer', Recipient = Room, Quantity = '30' }).receive() Paid = m.Action",
    );
    becomes(&network, &alice, "Paid", "Debit-Notice");
    assert_eq!(output(&network, &token, "Balance", &[&format!("Recipient={alice}")]), "70");
    assert_eq!(output(&network, &token, "Balance", &[&format!("Recipient={room}")]), "30");
    // It cannot pay more than it has, and learns why.
    eval(
        &network,
        &alice,
        "local m = Send({ Target = Token, Action = 'Transfer', Recipient = Room, Quantity = '71' }).receive() Paid = m.Action .. ': ' .. m.Error",
    );
    becomes(&network, &alice, "Paid", &format!("Transfer-Error: Insufficient Balance! {alice} has 70, not 71"));
    // Nobody mints with its name, or any other.
    eval(
        &network,
        &alice,
        "local m = Send({ Target = Token, Action = 'Mint', Quantity = '5' }).receive() Minted = m.Action",
    );
    becomes(&network, &alice, "Minted", "Mint-Error");
    assert_eq!(output(&network, &token, "Total-Supply", &[]), "1000");

    // It joins the room beside a wallet, hears and is heard.
    let member = done(&network, &["send", &room, "--action", "Register", "--tag", "Nickname=ada"]);
    assert_eq!(member["result"]["Messages"][0]["Data"], "Registered.");
    eval(&network, &alice, "Joined = Send({ Target = Room, Action = 'Register' }).receive().Data");
    becomes(&network, &alice, "Joined", "Registered.");
    done(&network, &["send", &room, "--action", "Broadcast", "--data", "hello aos"]);
    becomes(&network, &alice, "Inbox[#Inbox].Data", "hello aos");
    assert_eq!(
        eval(&network, &alice, "local m = Inbox[#Inbox] return m.Action .. ' ' .. m.Nickname .. ' ' .. #m.Broadcaster"),
        "Broadcasted ada 43"
    );
    eval(&network, &alice, "Send({ Target = Room, Action = 'Broadcast', Data = 'hello wallet' }) return 1");
    becomes(&network, &alice, "Inbox[#Inbox].Data", "hello wallet");
    let history = output(&network, &room, "History", &[]);
    let said: Vec<_> = history.as_array().unwrap().iter().map(|said| said["Data"].as_str().unwrap()).collect();
    assert_eq!(said, ["hello aos", "hello wallet"]);
    assert_eq!(history[1]["From"], alice.as_str());

    // Who is not in the room is refused without an error of the process.
    let (code, refused) = run(&network, &["send", &room, "--action", "Unregister"]);
    assert_eq!(code, 0, "{refused}");
    let refused = done(&network, &["send", &room, "--action", "Broadcast", "--data", "still here?"]);
    assert_eq!(refused["result"]["Messages"][0]["Tags"][4]["value"], "Broadcast-Error");
}
