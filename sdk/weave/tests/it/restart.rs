//! What was acknowledged survives: an ordered stop, and `kill -9`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holon_arweave::Transaction;
use holon_protocol::{Bundle, Tags};

use crate::harness::{Weave, ed25519, generated, item, rsa, until};
use crate::transactions::{chunk_posts, header_of};

#[tokio::test]
async fn everything_is_there_after_an_ordered_restart() {
    let mut weave = Weave::with(|options| options.block_interval = Duration::from_secs(3600)).await;
    let signer = ed25519();
    let location = item(&signer, &[("Type", "Scheduler-Location"), ("Url", "http://su")], generated(400_000));
    weave.upload(&location).await;
    let data = generated(300_000);
    let transaction = Transaction::data(data.clone(), &Tags::default(), &[], 0).sign(&rsa()).unwrap();
    let posts = chunk_posts(&data);
    weave.post_json("/tx", &header_of(&transaction)).await;
    weave.post_json("/chunk", &posts[0]).await;
    weave.text(&format!("/mint/{}/5", signer.address())).await;
    let open = item(&signer, &[], "in the open block");
    weave.upload(&open).await;
    let (before, known) = (weave.json("/info").await, weave.find("first: 10").await);
    let query = "query ($id: ID!) { transaction(id: $id) { block { id height timestamp } anchor signature } }";
    let variables = serde_json::json!({ "id": open.id() });
    let node = weave.graphql(query, variables.clone()).await;

    weave.restart().await;
    assert_eq!(weave.json("/info").await, before);
    assert_eq!(weave.find("first: 10").await, known);
    assert_eq!(weave.graphql(query, variables).await, node);
    assert_eq!(weave.get(&format!("/{}", location.id())).await.bytes().await.unwrap(), generated(400_000));
    assert_eq!(weave.text(&format!("/wallet/{}/balance", signer.address())).await, "5");
    // What was half done goes on.
    assert_eq!(weave.status(&format!("/{}", transaction.id)).await, 404);
    weave.post_json("/chunk", &posts[1]).await;
    assert_eq!(weave.get(&format!("/{}", transaction.id)).await.bytes().await.unwrap(), data);
    let later = item(&signer, &[], "later");
    weave.upload(&later).await;
    assert_eq!(weave.find("first: 1").await, [later.id().to_string()], "and new things come after old ones");
    assert_eq!(weave.json("/mine").await["height"].as_u64(), before["height"].as_u64().map(|height| height + 1));
}

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program on a free port and reads its address from its log.
fn start(folder: &std::path::Path) -> (Program, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_holon-weave"))
        .args(["--listen", "127.0.0.1:0", "--log", "info", "--log-format", "json", "--block-interval", "0.05"])
        .arg("--data-dir")
        .arg(folder)
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let program = Program(child);
    let line = lines.by_ref().map(Result::unwrap).find(|line| line.contains("local Arweave is ready")).unwrap();
    // Somebody must go on reading, or the program would wait for its log.
    std::thread::spawn(move || lines.for_each(drop));
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    (program, line["fields"]["url"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let signer = ed25519();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut acknowledged = Vec::new();
    let mut seen_height = 0;
    for round in 0..3 {
        let (program, url) = start(folder.path());
        let height = async |url: &str| {
            let info = client.get(format!("{url}/info")).send().await.unwrap().text().await.unwrap();
            serde_json::from_str::<serde_json::Value>(&info).unwrap()["height"].as_u64().unwrap()
        };
        assert!(height(&url).await >= seen_height, "heights never go back");
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        for lane in 0..8 {
            let (url, client, signer, sender) = (url.clone(), client.clone(), signer.clone(), sender.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    let inner = item(&signer, &[], format!("inner {round} {lane} {number}"));
                    let outer = item(
                        &signer,
                        &[("Bundle-Format", "binary"), ("Bundle-Version", "2.0.0")],
                        Bundle::encode(std::slice::from_ref(&inner)),
                    );
                    let request = client.post(format!("{url}/tx/arweave")).body(outer.raw().clone());
                    match request.send().await {
                        Ok(response) if response.status() == 200 => {
                            sender.send((outer.id(), inner.id(), inner.data())).unwrap();
                        }
                        _ => return,
                    }
                }
            });
        }
        drop(sender);
        let mut taken = 0;
        while taken < 60 {
            acknowledged.push(receiver.recv().await.unwrap());
            taken += 1;
        }
        seen_height = height(&url).await;
        drop(program);
        while let Some(entry) = receiver.recv().await {
            acknowledged.push(entry);
        }
    }
    let (_program, url) = start(folder.path());
    until("the service", async || client.get(format!("{url}/health")).send().await.is_ok()).await;
    for (outer, inner, data) in acknowledged {
        let found = client.get(format!("{url}/raw/{inner}")).send().await.unwrap();
        assert_eq!(found.status(), 200, "{inner} in {outer}");
        assert_eq!(found.bytes().await.unwrap(), data);
        let query = format!(
            "{{ transactions(ids: [\"{outer}\", \"{inner}\"]) {{ edges {{ node {{ id block {{ id }} }} }} }} }}"
        );
        let answer = client.post(format!("{url}/graphql")).json(&serde_json::json!({ "query": query }));
        let answer: serde_json::Value = answer.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["data"]["transactions"]["edges"].as_array().unwrap().len(), 2);
        assert!(answer["data"]["transactions"]["edges"][0]["node"]["block"]["id"].is_string());
    }
}
