//! A compute unit alone, in a program of its own, is ended with SIGKILL again and again while it evaluates, commits and writes: what it
//! leaves is where the next one goes on, and in the end everything is as in a unit that nobody killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holon_cu::{Options, Service};
use holon_protocol::{MessageId, ProcessId, Signer};
use serde_json::{Value, json};

use crate::network::{Network, answer, listener};

/// What the program is to do, in its environment.
const UNIT: &str = "HOLON_TEST_UNIT";
const NAME: &str = "killed::a_unit_that_is_killed_again_and_again_comes_to_the_same_roots";
const KILLS: u64 = 30;
const MESSAGES: usize = 60;
/// Messages more whenever all have been evaluated.
const MORE_MESSAGES: usize = 20;
const DEADLINE: Duration = Duration::from_secs(120);

/// Works for some milliseconds on each message and leaves marks all over its memory, which depend on all messages before. Answers with one
/// of them.
const BUSY: &str = r#"(module (memory (export "memory") 8)
    (data (i32.const 100) "{\"ok\":true,\"response\":{\"Output\":\"0000000000000000\"}}")
    (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "holon_handle") (param $message i32) (param $length i32) (param i32 i32) (result i64)
      (local $turn i32) (local $mark i64)
      (local.set $mark (i64.add (i64.load (i32.const 65536)) (i64.load (i32.add (local.get $message) (i32.const 16)))))
      (loop $work
        (local.set $mark (i64.add (i64.mul (local.get $mark) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
        (if (i32.eqz (i32.and (local.get $turn) (i32.const 4095)))
          (then (i64.store offset=65536
            (i32.and (i32.wrap_i64 (i64.shr_u (local.get $mark) (i64.const 40))) (i32.const 0x5fff8)) (local.get $mark))))
        (br_if $work (i32.lt_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1))) (i32.const 3000000))))
      (i64.store (i32.const 65536) (local.get $mark))
      (local.set $turn (i32.const 0))
      (loop $digits
        (i32.store8 offset=133 (local.get $turn)
          (i32.add (i32.const 97) (i32.wrap_i64 (i64.and (local.get $mark) (i64.const 15)))))
        (local.set $mark (i64.shr_u (local.get $mark) (i64.const 4)))
        (br_if $digits (i32.lt_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1))) (i32.const 16))))
      (i64.const 0x6400000034)))"#;

/// A unit in a program of its own; ends with this.
struct Unit {
    program: Child,
    url: String,
}

impl Unit {
    fn start(task: &Value) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture", "--test-threads", "1"]).env(UNIT, task.to_string());
        let mut program = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let url = lines.find_map(|line| line.unwrap().strip_prefix("unit at ").map(str::to_owned));
        Self { program, url: url.expect("the unit starts") }
    }

    /// Nothing is done at the end.
    fn kill(mut self) {
        // SIGKILL.
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }
}

/// The program: a unit until it is killed.
async fn serve(task: &str) {
    let task: Value = serde_json::from_str(task).unwrap();
    let text = |name: &str| task[name].as_str().unwrap();
    let wallet = Signer::from_jwk(text("wallet")).unwrap();
    let mut options = Options::new(text("folder").into(), wallet, text("gateway").parse().unwrap());
    options.scheduler_urls = vec![(text("scheduler").parse().unwrap(), text("su").parse().unwrap())];
    options.allow_private_urls = true;
    frequent(&mut options);
    let unit = Service::start(options, listener()).await.unwrap();
    println!("\nunit at {}", unit.url());
    std::io::stdout().flush().unwrap();
    std::future::pending::<()>().await;
}

/// Checkpoints all the time.
fn frequent(options: &mut Options) {
    options.checkpoint_messages = 3;
    options.checkpoint_evaluation = Duration::from_millis(20);
}

async fn outcome(network: &Network, url: &str, process: ProcessId, last: MessageId) -> (Value, Value, Vec<Value>) {
    let get = async |path: String| {
        let (status, body) = answer(network.client.get(format!("{url}{path}")).send().await.unwrap()).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    };
    let result = get(format!("/result/{last}?process-id={process}")).await;
    let root = get(format!("/root/{process}")).await["stateRoot"].clone();
    let results = get(format!("/results/{process}?limit=1000")).await;
    let nodes = results["edges"].as_array().unwrap().iter().map(|edge| edge["node"].clone());
    (result, root, nodes.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_is_killed_again_and_again_comes_to_the_same_roots() {
    if let Ok(task) = std::env::var(UNIT) {
        return serve(&task).await;
    }
    let network = Network::start_with(frequent).await;
    let module = network.publish_module(&wat::parse_str(BUSY).unwrap(), "wasm32-unknown-unknown-holon1", &[]).await;
    let process = network.spawn_module(module, &[]).await;
    let mut sent = 1;
    let mut last = network.send(process, "Add").await;
    while sent < MESSAGES {
        last = network.send(process, "Add").await;
        sent += 1;
    }
    let folder = network.folder.path().join("killed");
    let task = json!({
        "folder": folder,
        "wallet": network.cu_wallet.to_jwk().as_str(),
        "gateway": network.gateway,
        "scheduler": network.su_wallet.address(),
        "su": network.proxy.url,
    });
    let mut amid = 0;
    for round in 0..KILLS {
        let unit = tokio::task::spawn_blocking({
            let task = task.clone();
            move || Unit::start(&task)
        });
        let unit = unit.await.unwrap();
        let asked = network.client.get(format!("{}/result/{last}?process-id={process}", unit.url)).send();
        // From before the first message to long after the first commits, in an order without a rule.
        let moment = Duration::from_millis(5 + round * round * 37 % 160);
        let answered = tokio::time::timeout(moment, asked).await.is_ok();
        amid += u64::from(!answered);
        unit.kill();
        // However fast the computer is, there is something to be done when the next one is killed.
        if answered {
            for _ in 0..MORE_MESSAGES {
                last = network.send(process, "Add").await;
                sent += 1;
            }
        }
    }
    assert!(amid >= KILLS / 3, "only {amid} were killed while they evaluated");
    let started = Instant::now();
    let unit = tokio::task::spawn_blocking(move || Unit::start(&task)).await.unwrap();
    let killed = tokio::time::timeout(DEADLINE, outcome(&network, &unit.url, process, last)).await.unwrap();
    println!("{KILLS} kills, {amid} amid evaluation; after the last one done in {:?}", started.elapsed());
    let untroubled = outcome(&network, network.cu.as_ref().unwrap().url().as_str(), process, last).await;
    assert_eq!(killed.2.len(), sent + 1);
    assert_eq!(killed, untroubled);
    unit.kill();
    network.stop().await;
}
