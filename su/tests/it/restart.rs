//! What was acknowledged survives: an orderly restart, and `kill -9` of the real program in the middle of a stream.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use holon_protocol::{ItemId, ProcessId, Signer};

use crate::network::{Network, Scheduler, Weave, assert_unbroken, client, message};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_log_and_continues_it() {
    let network = Network::start().await;
    let process = network.spawn().await;
    for index in 0..5 {
        network.su.schedule(&network.message(process, &[], &index.to_string())).await;
    }
    let pushed = network.message(process, &[("From-Process", "p")], "same");
    network.su.schedule(&pushed).await;
    let before = network.su.log(process).await;
    let (options, user) = (network.options(), network.user.clone());
    let Network { su, weave, .. } = network;
    su.running.stop().await.unwrap();

    let su = Scheduler::start(options).await;
    assert_eq!(su.log(process).await, before);
    assert_eq!(su.post("", pushed.raw().clone()).await.status(), 400, "known ids stay known");
    let repeat = message(&Signer::generate_ed25519().unwrap(), process, &[("From-Process", "p")], "same");
    assert_eq!(su.post("", repeat.raw().clone()).await.status(), 400, "known contents stay known");
    su.schedule(&message(&user, process, &[], "after")).await;
    let after = su.log(process).await;
    assert_eq!(after[..before.len()], before);
    assert_unbroken(process, &after);
    drop(weave);
    su.running.stop().await.unwrap();
}

/// The program itself, killed when dropped.
struct Program {
    child: Child,
    url: String,
}

impl Program {
    fn start(folder: &std::path::Path, wallet: &std::path::Path, weave: &Weave) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_holon-su"))
            .arg("--data-dir")
            .arg(folder)
            .arg("--wallet-path")
            .arg(wallet)
            .args(["--listen", "127.0.0.1:0", "--gateway-url", weave.url.as_str()])
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SIGKILL; gone already is fine too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_scheduler_keeps_every_acknowledged_message_in_order() {
    let weave = Weave::start().await;
    let (data, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (wallet, user) = (Signer::generate_ed25519().unwrap(), Signer::generate_ed25519().unwrap());
    let wallet_path = keys.path().join("wallet.json");
    std::fs::write(&wallet_path, wallet.to_jwk().as_bytes()).unwrap();
    let process_item = holon_protocol::DataItem::builder()
        .tag("Data-Protocol", "ao")
        .tag("Type", "Process")
        .tag("Module", wallet.address().to_string())
        .tag("Scheduler", wallet.address().to_string())
        .sign(&user)
        .unwrap();
    let process: ProcessId = process_item.id().into();
    let http = client();
    let mut acknowledged: Vec<ItemId> = vec![process_item.id()];
    let mut seen = Vec::new();

    for round in 0..4u64 {
        let program = Program::start(data.path(), &wallet_path, &weave);
        let url = program.url.clone();
        if round == 0 {
            let answer = http.post(&url).body(process_item.raw().clone()).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
        // What was seen before the kill is still there, at the same position.
        let su = TestLog { url: url.clone() };
        let log = su.read(process).await;
        assert_unbroken(process, &log);
        assert_eq!(log[..seen.len()], seen);
        let ids: Vec<_> = log.iter().map(|entry| entry.message.as_ref().unwrap().id).collect();
        for id in &acknowledged {
            assert_eq!(ids.iter().filter(|found| *found == id).count(), 1, "{id} was acknowledged");
        }

        let kill = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(150 + 170 * round)).await;
            drop(program);
        });
        let items = (0..).map(|index| message(&user, process, &[], &format!("{round} {index}")));
        let answers = stream::iter(items)
            .map(|item| {
                let request = http.post(&url).body(item.raw().clone());
                async move { request.send().await.map(|answer| (item.id(), answer.status())) }
            })
            .buffer_unordered(32)
            .take_while(|answer| std::future::ready(answer.is_ok()));
        let mut answers = std::pin::pin!(answers);
        while let Some(Ok((id, status))) = answers.next().await {
            assert_eq!(status, 200);
            acknowledged.push(id);
        }
        kill.await.unwrap();
        seen = log;
    }
    assert!(acknowledged.len() > 100, "only {} were acknowledged", acknowledged.len());
}

struct TestLog {
    url: String,
}

impl TestLog {
    async fn read(&self, process: ProcessId) -> Vec<holon_protocol::wire::Entry> {
        let mut log = Vec::new();
        let mut from = String::new();
        loop {
            let url = format!("{}/{process}?process-id={process}&limit=1000{from}", self.url);
            let page: holon_protocol::wire::Page = client().get(url).send().await.unwrap().json().await.unwrap();
            if let Some(last) = page.edges.last() {
                from = format!("&from={}", last.cursor);
            }
            log.extend(page.edges.into_iter().map(|edge| edge.node));
            if !page.page_info.has_next_page {
                return log;
            }
        }
    }
}
