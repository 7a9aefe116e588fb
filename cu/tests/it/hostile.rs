//! Processes that mean harm: their neighbours keep their latency, and nothing they do becomes a result that other units would
//! not have.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use holon_protocol::{MessageId, ProcessId};
use serde_json::{Value, json};

use crate::network::{Network, answer, dry};

/// As long as one evaluation may take when nobody can end it.
const UNLIMITED: (&str, &str) = ("Compute-Limit", "9000000000000");
/// A neighbour's answer takes milliseconds; the machine that runs the tests may be busy with others.
const NEIGHBOUR_WITHIN: Duration = Duration::from_secs(5);
const NATIVE: &str = "wasm32-unknown-unknown-holon1";

/// Asks in the background until the network stops.
fn ask(network: &Network, process: ProcessId, message: MessageId) -> tokio::task::JoinHandle<(u16, Value)> {
    let url = format!("{}/result/{message}?process-id={process}", network.cu.as_ref().unwrap().url());
    let client = network.client.clone();
    tokio::spawn(async move { answer(client.get(url).send().await.unwrap()).await })
}

/// Sends messages to a process of the ordinary module and checks that each is answered soon.
async fn is_served(network: &Network, process: ProcessId, counted: u64) {
    for count in counted + 1..counted + 8 {
        let message = network.send(process, "Add").await;
        let asked = Instant::now();
        assert_eq!(network.count(process, message).await, count.to_string());
        assert!(asked.elapsed() < NEIGHBOUR_WITHIN, "an answer took {:?}", asked.elapsed());
    }
    let asked = Instant::now();
    let (status, body) = network.dry_run(process, "", dry(process, "X-Get")).await;
    assert_eq!(status, 200, "{body}");
    assert!(asked.elapsed() < NEIGHBOUR_WITHIN, "a dry run took {:?}", asked.elapsed());
}

async fn metric(network: &Network, name: &str) -> u64 {
    let text = network.get("/metrics").await.text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.trim().parse().unwrap()
}

async fn until(network: &Network, name: &str, value: u64) {
    let started = Instant::now();
    while metric(network, name).await < value {
        assert!(started.elapsed() < Duration::from_secs(60), "{name} stays below {value}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_loops_many_times_as_many_as_threads_hold_up_no_neighbour() {
    let network = Network::start_with(|options| {
        (options.workers, options.dry_run_workers) = (1, 1);
        options.message_wall_clock = Duration::from_secs(120);
        options.dry_run_wall_clock = Duration::from_secs(120);
    })
    .await;
    let neighbour = network.spawn(&[]).await;
    assert_eq!(network.count(neighbour, neighbour.into()).await, "1");
    let mut asked = Vec::new();
    for _ in 0..4 {
        let process = network.spawn(&[UNLIMITED]).await;
        assert_eq!(network.count(process, process.into()).await, "1");
        let message = network.send(process, "X-Spin").await;
        asked.push(ask(&network, process, message));
    }
    let (url, endless) = (network.cu.as_ref().unwrap().url(), network.spawn(&[UNLIMITED]).await);
    assert_eq!(network.count(endless, endless.into()).await, "1");
    let spin = network.client.post(format!("{url}/dry-run?process-id={endless}")).json(&dry(endless, "X-Spin"));
    let spin = tokio::spawn(spin.send());
    until(&network, "ao_cu_long_evaluations ", 5).await;
    is_served(&network, neighbour, 1).await;
    // Stopping does not wait for their limit.
    let stopped = Instant::now();
    network.stop().await;
    assert!(stopped.elapsed() < Duration::from_secs(30), "stopping took {:?}", stopped.elapsed());
    for (status, body) in join_all(asked).await.into_iter().map(Result::unwrap) {
        assert_eq!((status, &body["error"]), (503, &json!("the service is stopping")));
    }
    spin.abort();
}

/// A native module around a body of `holon_handle`.
pub fn module(items: &str, body: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module {items}
             (data (i32.const 100) "{{\"ok\":true,\"response\":{{\"Output\":7}}}}")
             (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
             (func (export "holon_handle") (param i32 i32 i32 i32) (result i64) {body}))"#
    ))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_fills_memory_is_parked_and_its_neighbour_is_served() {
    let network = Network::start_with(|options| options.memory_ceiling_bytes = 64 << 20).await;
    let neighbour = network.spawn(&[]).await;
    assert_eq!(network.count(neighbour, neighbour.into()).await, "1");
    let memory = r#"(memory (export "memory") 1)"#;
    // Writes to every page that it gets, and the tag lets it have as much as the unit offers.
    let body = "(local $at i32)
        (loop $more
          (local.set $at (memory.grow (i32.const 16)))
          (memory.fill (i32.mul (local.get $at) (i32.const 65536)) (i32.const 1) (i32.const 1048576))
          (br_if $more (i32.ne (local.get $at) (i32.const -1))))
        (i64.const 0x6400000023)";
    let bomb = network.publish_module(&module(memory, body), NATIVE, &[("Memory-Limit", "1-gb"), UNLIMITED]).await;
    let process = network.spawn_module(bomb, &[]).await;
    for _ in 0..3 {
        let (status, body) = network.json(&format!("/result/{process}?process-id={process}")).await;
        let error = body["error"].as_str().unwrap();
        assert!(status == 503 && error.contains("is parked at slot 0") && error.contains("bytes of memory"), "{body}");
    }
    let (_, listed) = network.json("/parked").await;
    assert_eq!((&listed["total"], &listed["parked"][0]["tries"]), (&json!(1), &json!(1)), "it was tried again");
    assert_eq!(network.outputs(process).await, Vec::<String>::new());
    is_served(&network, neighbour, 1).await;
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn within_its_own_limit_a_process_sees_growth_fail_and_goes_on() {
    let network = Network::start().await;
    let body = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
                (i64.const 0x6400000023)";
    let wasm = module(r#"(memory (export "memory") 1)"#, body);
    let limits = [("Memory-Limit", "16-mb"), ("Compute-Limit", "100000000")];
    let module = network.publish_module(&wasm, NATIVE, &limits).await;
    let process = network.spawn_module(module, &[]).await;
    assert_eq!(network.count(process, process.into()).await, "7");
    let image = network.get(&format!("/state/{process}")).await.bytes().await.unwrap();
    assert!((15 << 20..=16 << 20).contains(&image.len()), "{}", image.len());
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_never_ends_its_set_up_parks_its_processes_before_their_first_message() {
    let network = Network::start_with(|options| options.message_wall_clock = Duration::from_millis(500)).await;
    let text = r#"(module
        (memory (export "memory") 2)
        (func (export "emscripten_stack_init"))
        (func (export "emscripten_stack_get_end") (result i32) i32.const 65536)
        (func (export "emscripten_stack_get_current") (result i32) i32.const 131072)
        (func (export "_emscripten_stack_restore") (param i32))
        (func (export "_emscripten_stack_alloc") (param i32) (result i32) i32.const 1024)
        (func (export "setThrew") (param i32 i32))
        (func (export "__wasm_call_ctors") (loop $forever (br $forever)))
        (func (export "handle") (param i32 i32) (result i32) i32.const 0))"#;
    let limits = [("Memory-Limit", "16-mb"), UNLIMITED];
    let module = network.publish_module(&wat::parse_str(text).unwrap(), "wasm32-unknown-emscripten4", &limits).await;
    let process = network.spawn_module(module, &[]).await;
    let path = format!("/result/{process}?process-id={process}");
    let (status, first) = network.json(&path).await;
    assert!(status == 503 && first["error"].as_str().unwrap().contains("before its first message"), "{first}");
    assert_eq!(network.json(&path).await, (503, first), "it was tried again");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_cannot_be_compiled_is_fetched_and_looked_at_once() {
    let network = Network::start().await;
    let neighbour = network.spawn(&[]).await;
    assert_eq!(network.count(neighbour, neighbour.into()).await, "1");
    let loops = "(loop (br_if 0 (local.get 0)))".repeat(30_000);
    let bomb = module(r#"(memory (export "memory") 1)"#, &format!("{loops} (i64.const 0)"));
    let module = network.publish_module(&bomb, NATIVE, &[]).await;
    let mut asked = Vec::new();
    for _ in 0..5 {
        let process = network.spawn_module(module, &[]).await;
        asked.push(ask(&network, process, process.into()));
    }
    for (status, body) in join_all(asked).await.into_iter().map(Result::unwrap) {
        let error = body["error"].as_str().unwrap();
        assert!(status == 500 && error.contains("units of work to compile a function"), "{body}");
    }
    is_served(&network, neighbour, 1).await;
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_is_too_large_is_refused_before_it_is_there() {
    let network = Network::start().await;
    let large = network.publish_module(&vec![0; (32 << 20) + 1], NATIVE, &[]).await;
    let process = network.spawn_module(large, &[]).await;
    for _ in 0..2 {
        let (status, body) = network.json(&format!("/result/{process}?process-id={process}")).await;
        assert!(status == 500 && body["error"].as_str().unwrap().contains("more than the 33554432 bytes"), "{body}");
    }
    let kept = network.folder.path().join("cu/modules").join(format!("{large}.wasm"));
    assert!(!kept.exists(), "it was downloaded");
    network.stop().await;
}

/// A native module that answers each message with `bytes` bytes of JSON.
fn talkative(bytes: usize) -> Vec<u8> {
    const HEAD: &str = r#"{"ok":true,"response":{"Output":""#;
    const TAIL: &str = r#""}}"#;
    const AT: usize = 4096;
    let (filled, letters) = (AT + HEAD.len(), bytes - HEAD.len() - TAIL.len());
    let items = format!(
        r#"(memory (export "memory") {}) (data (i32.const 2000) "{}") (data (i32.const 3000) "{}")"#,
        (AT + bytes).div_ceil(65536),
        HEAD.replace('"', "\\\""),
        TAIL.replace('"', "\\\"")
    );
    let body = format!(
        "(memory.copy (i32.const {AT}) (i32.const 2000) (i32.const {}))
         (memory.fill (i32.const {filled}) (i32.const 97) (i32.const {letters}))
         (memory.copy (i32.const {}) (i32.const 3000) (i32.const {}))
         (i64.const {})",
        HEAD.len(),
        filled + letters,
        TAIL.len(),
        (AT as u64) << 32 | bytes as u64
    );
    module(&items, &body)
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_a_hundred_megabytes_fail_and_large_ones_hold_up_no_neighbour() {
    let network = Network::start_with(|options| (options.workers, options.dry_run_workers) = (2, 1)).await;
    let neighbour = network.spawn(&[]).await;
    assert_eq!(network.count(neighbour, neighbour.into()).await, "1");
    let mut served = 1;
    for (bytes, fits) in [(100 << 20, false), (30 << 20, true)] {
        let limits = [("Memory-Limit", "1-gb"), UNLIMITED];
        let large = network.publish_module(&talkative(bytes), NATIVE, &limits).await;
        let process = network.spawn_module(large, &[]).await;
        let mut messages = vec![process.into()];
        for _ in 0..3 {
            messages.push(network.send(process, "Add").await);
        }
        // All of it while the neighbour is asked.
        let url = network.cu.as_ref().unwrap().url();
        let asked = messages.iter().map(|message| {
            let request = network.client.get(format!("{url}/result/{message}?process-id={process}"));
            tokio::spawn(async move {
                let answer = request.send().await.unwrap();
                (answer.status().as_u16(), answer.bytes().await.unwrap())
            })
        });
        let asked: Vec<_> = asked.collect();
        is_served(&network, neighbour, served).await;
        served += 7;
        for answer in join_all(asked).await {
            let (status, body) = answer.unwrap();
            let found = (status, body.len() > bytes - 1000, String::from_utf8_lossy(&body[..200.min(body.len())]));
            assert_eq!((found.0, found.1), (200, fits), "{}", found.2);
            assert!(fits || found.2.contains("Error"), "{}", found.2);
        }
    }
    network.stop().await;
}
