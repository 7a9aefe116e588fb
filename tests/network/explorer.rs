//! The explorer in a headless Chromium, on a network with something to see: a log of 10 000 messages, pushes and spawns of
//! an `aos` process, and a process and messages whose every text is HTML.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use holon_protocol::{DataItem, ProcessId, Signer};
use holon_tests::{chromium::chromium, network::Network, peers};
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use crate::speaking::{client, get};

/// Messages of the long log.
const MESSAGES: usize = 10_000;
/// Posts at the same time.
const AT_ONCE: usize = 64;
/// Would set a variable that the page must never have.
const HOSTILE: &str = "<img src=x onerror=hacked=1>";

#[test]
fn items_signed_in_the_page_are_those_of_the_vectors() {
    run(peers::script("explorer-item.mjs").unwrap());
}

#[tokio::test]
async fn people_find_and_do_everything_in_it() {
    let browser = chromium().unwrap();
    let network = Network::start().unwrap();
    let ready = network.ready();
    let client = client();
    let signer = Signer::generate_ed25519().unwrap();
    let of =
        |value: &Value, name: &str| value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned();

    let counter = get(&client, &format!("{}/processes/{}", ready.su_url, ready.counter_process)).await;
    let tags = counter["tags"].as_array().unwrap();
    let counter_module = of(tags.iter().find(|tag| tag["name"] == "Module").unwrap(), "value");
    let spawn = |module: &str, name: &str| {
        of(&done(&network, &["spawn", "--module", module, "--tag", &format!("Name={name}")]), "process")
    };

    let long = spawn(&counter_module, "a long log");
    fill(&ready.su_url, long.parse().unwrap(), &signer).await;

    let hostile = spawn(&counter_module, HOSTILE);
    let planted = DataItem::builder()
        .target(hostile.parse::<ProcessId>().unwrap())
        .tag("Action", HOSTILE)
        .tag(HOSTILE, "\"><b class=planted>x</b>")
        .tag("<script>hacked=1</script>", HOSTILE)
        .tag("From-Process", HOSTILE)
        .tag("Content-Type", "text/html")
        .tag("Data-Protocol", "ao")
        .tag("Type", "Message")
        .data(HOSTILE)
        .sign(&signer)
        .unwrap();
    let answer =
        client.post(&ready.su_url).header(CONTENT_TYPE, "application/octet-stream").body(planted.raw().clone());
    assert!(answer.send().await.unwrap().status().is_success());

    // Bytes that are no text: JSON does not hold them, so the compute unit cannot check the signature over them.
    let bytes = DataItem::builder()
        .target(hostile.parse::<ProcessId>().unwrap())
        .tag("Action", "Get")
        .tag("Data-Protocol", "ao")
        .tag("Type", "Message")
        .data(vec![b'a', 0xff])
        .sign(&signer)
        .unwrap();
    let answer = client.post(&ready.su_url).header(CONTENT_TYPE, "application/octet-stream").body(bytes.raw().clone());
    assert!(answer.send().await.unwrap().status().is_success());

    let wasm = peers::module("aos2_0_6").unwrap();
    let aos = of(&done(&network, &["publish", wasm.to_str().unwrap(), "--format", "aos64"]), "module");
    let alice = spawn(&aos, "alice");
    let code = format!(
        "Send({{Target='{}', Action='Get'}}); Spawn('{counter_module}', {{Tags={{Name='carol', Authority='{}'}}}}); return 'sent'",
        ready.counter_process, ready.authority
    );
    let eval = of(&done(&network, &["send", &alice, "--action", "Eval", "--data", &code]), "id");

    let mut script = peers::script("explorer.mjs").unwrap();
    script
        .env("CHROMIUM", browser)
        .env("GATEWAY_URL", &ready.gateway_url)
        .env("MU_URL", &ready.mu_url)
        .env("SU_URL", &ready.su_url)
        .env("CU_URL", &ready.cu_url)
        .env("COUNTER", &ready.counter_process)
        .env("LONG", long)
        .env("MESSAGES", MESSAGES.to_string())
        .env("HOSTILE", hostile)
        .env("HOSTILE_MESSAGE", planted.id().to_string())
        .env("HOSTILE_TEXT", HOSTILE)
        .env("BYTES_MESSAGE", bytes.id().to_string())
        .env("ALICE", alice)
        .env("EVAL", eval);
    if let Err(failed) = tokio::task::spawn_blocking(move || run(script)).await {
        std::panic::resume_unwind(failed.into_panic());
    }
}

/// Posts the long log to the scheduler itself: every message adds one.
async fn fill(su_url: &str, process: ProcessId, signer: &Signer) {
    let client = client();
    let next = Arc::new(AtomicUsize::new(0));
    let posts = (0..AT_ONCE).map(|_| {
        let (client, next, signer, url) = (client.clone(), next.clone(), signer.clone(), su_url.to_owned());
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= MESSAGES {
                    return;
                }
                let item = increment(process, number, &signer);
                let post = client.post(&url).header(CONTENT_TYPE, "application/octet-stream").body(item.raw().clone());
                let answer = post.send().await.unwrap();
                assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
            }
        })
    });
    for post in posts.collect::<Vec<_>>() {
        post.await.unwrap();
    }
}

/// A message that adds one, and that no other is like: the same content signed again would be the same item.
fn increment(process: ProcessId, number: usize, signer: &Signer) -> DataItem {
    DataItem::builder()
        .target(process)
        .tag("Action", "Increment")
        .tag("Number", number.to_string())
        .tag("Data-Protocol", "ao")
        .tag("Type", "Message")
        .data("1")
        .sign(signer)
        .unwrap()
}

/// Runs the command with `--json` and gives what it printed.
fn done(network: &Network, arguments: &[&str]) -> Value {
    let output = network.command().unwrap().arg("--json").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "holon {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(text.lines().next_back().unwrap()).unwrap()
}

fn run(mut script: Command) {
    let output = script.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
