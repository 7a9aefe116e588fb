//! The operator's limits: they park a process, say so on every answer, and never make a result.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::network::{Network, dry};

const UNLIMITED: (&str, &str) = ("Compute-Limit", "9000000000000");

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_process_says_so_on_every_answer_and_serves_what_came_before() {
    let network = Network::start_with(|options| options.message_wall_clock = Duration::from_millis(500)).await;
    let process = network.spawn(&[UNLIMITED]).await;
    let before = network.send(process, "Add").await;
    assert_eq!(network.count(process, before).await, "2");
    assert!(!network.get(&format!("/results/{process}")).await.headers().contains_key("parked"));
    let endless = network.send(process, "X-Spin").await;
    let after = network.send(process, "Add").await;
    let path = |message| format!("/result/{message}?process-id={process}");
    let (status, first) = network.json(&path(endless)).await;
    let text = first["error"].as_str().unwrap();
    assert_eq!(status, 503, "{first}");
    for part in [format!("process {process} is parked at slot 2 since "), format!("POST /resume/{process}")] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    // Nobody tries it again: the same answer, at once, to whoever needs the message or a later state.
    let again = Instant::now();
    for path in [path(endless), path(after), format!("/state/{process}"), format!("/cron/{process}")] {
        assert_eq!(network.json(&path).await, (503, first.clone()), "{path}");
    }
    assert_eq!(network.dry_run(process, "", dry(process, "X-Get")).await, (503, first.clone()));
    assert!(again.elapsed() < Duration::from_secs(20), "it was tried again: {:?}", again.elapsed());
    // What came before is there, and says it too.
    assert_eq!(network.count(process, before).await, "2");
    assert_eq!(network.outputs(process).await, ["1", "2"]);
    for path in [path(before), format!("/results/{process}"), path(endless), format!("/events/{process}")] {
        let answer = network.get(&path).await;
        let header = answer.headers()["parked"].to_str().unwrap();
        assert!(header.starts_with("slot=2; since=") && header.contains("; until="), "{path}: {header}");
    }
    // So do refusals of the request itself.
    for path in [
        format!("/result/nonsense?process-id={process}"),
        format!("/results/{process}?limit=none"),
        format!("/cron/{process}?from=%20"),
        format!("/state/{process}?slot=x"),
        format!("/root/{process}?to=x"),
    ] {
        let answer = network.get(&path).await;
        assert!(answer.status().is_client_error() && answer.headers().contains_key("parked"), "{path}: {answer:?}");
    }
    let past = network.dry_run(process, &format!("&to={before}"), dry(process, "X-Get")).await;
    assert_eq!((past.0, &past.1["Output"]), (200, &json!("2")));
    let (_, listed) = network.json("/parked").await;
    let entry = &listed["parked"][0];
    assert_eq!((&listed["total"], &entry["process"], &entry["slot"]), (&json!(1), &json!(process), &json!(2)));
    assert_eq!((&entry["tries"], &entry["reason"]), (&json!(1), &json!("evaluation took longer than 500ms")));
    let (since, until) = (entry["since"].as_u64().unwrap(), entry["until"].as_u64().unwrap());
    assert_eq!(until - since, 1_800_000);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_process_is_resumed_on_demand_and_only_by_the_operator() {
    let network = Network::start_with(|options| options.message_wall_clock = Duration::from_millis(500)).await;
    let process = network.spawn(&[UNLIMITED]).await;
    let url = format!("{}/resume/{process}", network.cu.as_ref().unwrap().url());
    let token = std::fs::read_to_string(network.folder.path().join("cu/operator-token")).unwrap();
    let resume = || network.client.post(&url).bearer_auth(token.trim());
    assert_eq!(resume().send().await.unwrap().status(), 404);
    let endless = network.send(process, "X-Spin").await;
    let path = format!("/result/{endless}?process-id={process}");
    assert_eq!(network.json(&path).await.0, 503);
    // From this computer, as a proxy that adds nothing would send it for anybody.
    let answer = network.client.post(&url).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let text = answer.text().await.unwrap();
    assert!(text.contains("operator-token") && !text.contains(network.folder.path().to_str().unwrap()), "{text}");
    assert_eq!(network.client.post(&url).bearer_auth("guessed").send().await.unwrap().status(), 401);
    assert_eq!(network.get(&format!("/resume/{process}")).await.status(), 405);
    let (_, before) = network.json("/parked").await;
    let (status, body) = crate::network::answer(resume().send().await.unwrap()).await;
    assert_eq!((status, &body["process"], &body["resumed"]["slot"]), (202, &json!(process), &json!(1)), "{body}");
    // It is tried without anybody asking, and parked anew.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (_, now) = network.json("/parked").await;
        if now["total"] == 1 && now["parked"][0]["since"] != before["parked"][0]["since"] {
            break;
        }
        assert!(Instant::now() < deadline, "{now}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(network.outputs(process).await, ["1"]);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_the_token_counts_and_nothing_else() {
    let network = Network::start_with(|options| {
        options.message_wall_clock = Duration::from_millis(500);
        options.operator_token = Some("secret".to_owned().into());
    })
    .await;
    let process = network.spawn(&[UNLIMITED]).await;
    let endless = network.send(process, "X-Spin").await;
    assert_eq!(network.json(&format!("/result/{endless}?process-id={process}")).await.0, 503);
    let url = format!("{}/resume/{process}", network.cu.as_ref().unwrap().url());
    for token in ["", "Bearer ", "Bearer secre", "Bearer secret2", "secret"] {
        let answer = network.client.post(&url).header("authorization", token).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{token:?}");
    }
    let answer = network.client.post(&url).bearer_auth("secret").header("x-forwarded-for", "10.0.0.1");
    assert_eq!(answer.send().await.unwrap().status(), 202);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_was_too_tight_leaves_no_trace_in_the_results() {
    let mut network = Network::start_with(|options| options.message_wall_clock = Duration::from_millis(200)).await;
    let process = network.spawn(&[("Compute-Limit", "1500000000")]).await;
    let first = network.send(process, "Add").await;
    let heavy = network.send(process, "X-Spin").await;
    let last = network.send(process, "Add").await;
    let (status, _) = network.json(&format!("/result/{last}?process-id={process}")).await;
    assert_eq!(status, 503, "the limit is not tight enough for this test");
    network.stop_cu().await;
    // On a quieter day the message runs out of gas, as everywhere else.
    network.loosen(|options| options.message_wall_clock = Duration::from_secs(300));
    network.start_cu().await;
    assert_eq!(network.count(process, first).await, "2");
    assert_eq!(network.count(process, last).await, "3");
    assert_eq!(network.result(process, heavy).await["Error"], "out of gas!");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_crons_did_before_the_one_that_parks_a_process_is_there_up_to_its_time() {
    let network = Network::start_with(|options| options.message_wall_clock = Duration::from_millis(500)).await;
    // The process and the first cron come to an end, the second does not.
    let counts = "(i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
                  (if (i32.ge_u (i32.load (i32.const 0)) (i32.const 3)) (then (loop $forever (br $forever))))
                  (i64.const 0x6400000023)";
    let wasm = crate::hostile::module(r#"(memory (export "memory") 1)"#, counts);
    let limits = [("Memory-Limit", "16-mb"), UNLIMITED];
    let module = network.publish_module(&wasm, "wasm32-unknown-unknown-holon1", &limits).await;
    let process = network.spawn_module(module, &[("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Tick")]).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let parked = loop {
        network.json(&format!("/cron/{process}")).await;
        let (_, parked) = network.json("/parked").await;
        if parked["total"] == 1 {
            break parked["parked"][0].clone();
        }
        assert!(Instant::now() < deadline, "no cron was due");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((&parked["slot"], &parked["cron"]), (&json!(0), &json!("0-1-second")));
    let stops = parked["timestamp"].as_u64().unwrap();
    let fired = stops - 1000;
    for to in [fired + 1, fired + 500, stops, fired] {
        let (status, page) = network.json(&format!("/cron/{process}?to={to}")).await;
        assert_eq!(status, 200, "{}: {page}", to - fired);
        assert_eq!(page["edges"].as_array().unwrap().len(), 1, "{}: {page}", to - fired);
    }
    let (status, before) = network.json(&format!("/cron/{process}?to={}", fired - 1)).await;
    assert_eq!((status, &before["edges"]), (200, &json!([])), "{before}");
    let (status, root) = network.json(&format!("/root/{process}?to={stops}")).await;
    assert_eq!((status, &root["timestamp"]), (200, &json!(fired)), "{root}");
    for path in [format!("/cron/{process}?to={}", stops + 1), format!("/root/{process}?to={}", stops + 1)] {
        let (status, refused) = network.json(&path).await;
        assert!(status == 503 && refused["error"].as_str().unwrap().contains("is parked at cron"), "{path}: {refused}");
    }
    network.stop().await;
}
