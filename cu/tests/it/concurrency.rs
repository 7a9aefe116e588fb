//! Many requests at once: shared work, fair shares, and limits.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use holon_protocol::ProcessId;
use serde_json::json;

use crate::network::{Network, dry};

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_share_one_evaluation() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..60 {
        messages.push(network.send(process, "Add").await);
    }
    let asked = messages.iter().rev().chain(&messages).map(|message| network.count(process, *message));
    let counts = join_all(asked).await;
    let expected: Vec<String> = (2..62).rev().chain(2..62).map(|count| count.to_string()).collect();
    assert_eq!(counts, expected);
    assert_eq!(network.outputs(process).await.len(), 61);
    let metrics = network.get("/metrics").await.text().await.unwrap();
    let evaluated = r#"stream_type="primary",message_type="scheduled",process_error="false"} 61"#;
    assert!(metrics.contains(evaluated), "{metrics}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_process_does_not_starve_another_nor_dry_runs() {
    let network = Network::start_with(|options| {
        options.workers = 1;
        options.dry_run_workers = 1;
    })
    .await;
    let busy = network.spawn(&[]).await;
    let idle = network.spawn(&[]).await;
    assert_eq!(network.count(idle, idle.into()).await, "1");
    // Each of them burns all its gas.
    let mut last = busy.into();
    for _ in 0..40 {
        last = network.send(busy, "X-Spin").await;
    }
    let message = network.send(idle, "Add").await;
    let slow = async {
        let result = network.result(busy, last).await;
        assert!(result["Error"].is_string(), "{result}");
        Instant::now()
    };
    let quick = async {
        assert_eq!(network.count(idle, message).await, "2");
        let (status, body) = network.dry_run(idle, "", dry(idle, "X-Get")).await;
        assert_eq!((status, &body["Output"]), (200, &json!("2")));
        Instant::now()
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert!(quick < slow, "the other process waited {:?} longer", quick - slow);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_request_is_answered_202_when_the_unit_says_so() {
    let network = Network::start_with(|options| options.busy_threshold = Some(Duration::from_millis(1))).await;
    let process = network.spawn(&[]).await;
    let mut last = process.into();
    for _ in 0..20 {
        last = network.send(process, "X-Spin").await;
    }
    let path = format!("/result/{last}?process-id={process}");
    let busy = json!({ "message": format!("Evaluation of process \"{process}\" to \"{last}\" is in progress.") });
    assert_eq!(network.json(&path).await, (202, busy));
    let (status, body) = network.json(&format!("{path}&no-busy=1")).await;
    assert!(status == 200 && body["Error"].is_string(), "{status} {body}");
    // States of a process that is evaluated for the first time.
    for route in ["state", "root"] {
        let process = network.spawn(&[]).await;
        for _ in 0..20 {
            network.send(process, "X-Spin").await;
        }
        let busy = json!({ "message": format!("Evaluation of process \"{process}\" is in progress.") });
        assert_eq!(network.json(&format!("/{route}/{process}")).await, (202, busy), "{route}");
        let whole = network.get(&format!("/{route}/{process}?no-busy=1")).await;
        assert_eq!(whole.status(), 200, "{route}");
    }
    network.stop().await;
}

/// Value of a series without labels.
async fn counted(network: &Network, name: &str) -> u64 {
    let metrics = network.get("/metrics").await.text().await.unwrap();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_state_that_took_too_long_is_there_for_who_asks_again_and_is_replayed_once() {
    let network = Network::start_with(|options| options.busy_threshold = Some(Duration::from_millis(20))).await;
    let process = network.spawn(&[]).await;
    for _ in 0..30 {
        network.send(process, "X-Spin").await;
    }
    let last = network.send(process, "Add").await;
    assert_eq!(network.json(&format!("/result/{last}?process-id={process}&no-busy=1")).await.0, 200);
    let replays = || counted(&network, "ao_cu_past_replays_total ");
    let mut roots = Vec::new();
    for (route, slot) in [("root", 29), ("state", 28), ("root", 28), ("state", 29)] {
        let path = format!("/{route}/{process}?slot={slot}");
        let before = replays().await;
        let known = before == 2;
        let mut answer = network.get(&path).await;
        assert!(known || answer.status() == 202, "{path}: {}; the test shows nothing", answer.status());
        let deadline = Instant::now() + Duration::from_secs(60);
        while answer.status() == 202 {
            assert!(Instant::now() < deadline, "{path} is never there after {} replays", replays().await);
            // The replay ends while nobody asks.
            while replays().await == before && !known {
                assert!(Instant::now() < deadline, "{path}: the replay does not end");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer = network.get(&path).await;
        }
        assert_eq!(replays().await, if known { 2 } else { before + 1 }, "{path}");
        roots.push(match route {
            "root" => answer.json::<serde_json::Value>().await.unwrap()["stateRoot"].as_str().unwrap().to_owned(),
            _ => answer.headers()["State-Root"].to_str().unwrap().to_owned(),
        });
    }
    assert!(roots[0] == roots[3] && roots[1] == roots[2], "{roots:?}");
    // Many who ask at once wait for one.
    let path = format!("/root/{process}?slot=27&no-busy=1");
    let all = join_all((0..20).map(|_| network.json(&path))).await;
    assert!(all.iter().all(|answer| answer.0 == 200 && *answer == all[0]), "{all:?}");
    assert_eq!(replays().await, 3);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_far_behind_refuses_more_requests_when_the_unit_says_so() {
    let network = Network::start_with(|options| {
        options.hydration_limit = 5;
        options.page_size = 5;
    })
    .await;
    let process = network.spawn(&[]).await;
    let mut messages = Vec::new();
    for _ in 0..60 {
        messages.push(network.send(process, "X-Spin").await);
    }
    let far = format!("/result/{}?process-id={process}", messages[58]);
    let refused_path = format!("/result/{}?process-id={process}", messages[59]);
    let refused = async {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (status, body) = network.json(&refused_path).await;
            if status == 503 {
                return body["error"].as_str().unwrap().to_owned();
            }
            assert!(status == 200 && Instant::now() < deadline, "{status} {body}");
        }
    };
    // The second request comes while the first one is being evaluated.
    let later = async {
        while network.outputs(process).await.is_empty() {
            tokio::task::yield_now().await;
        }
        refused.await
    };
    let ((status, _), refused) = tokio::join!(network.json(&far), later);
    assert_eq!(status, 200);
    assert!(
        refused.starts_with(&format!("Nonce limit exceeded: process {process} is currently hydrating")),
        "{refused}"
    );
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_invented_processes_hold_up_no_other() {
    let network = Network::start_with(|options| {
        options.retries = 4;
        options.backoff = Duration::from_secs(2);
    })
    .await;
    let process = network.spawn(&[]).await;
    assert_eq!(network.peek(process).await, "1");
    let url = network.cu.as_ref().unwrap().url();
    let asked: Vec<_> = (0..300u16)
        .map(|number| {
            let mut id = [7; 32];
            id[..2].copy_from_slice(&number.to_le_bytes());
            let request = network.client.get(format!("{url}/state/{}", ProcessId::from_bytes(id)));
            tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
        })
        .collect();
    let started = Instant::now();
    for count in 2..6 {
        let message = network.send(process, "Add").await;
        assert_eq!(network.count(process, message).await, count.to_string());
        let fresh = network.client.post(format!("{url}/dry-run?process-id={process}")).header("x-max-age", "0");
        assert_eq!(fresh.json(&dry(process, "X-Get")).send().await.unwrap().status(), 200);
    }
    // A process that nothing is known of yet finds a place as well.
    let new = network.spawn(&[]).await;
    assert_eq!(network.count(new, new.into()).await, "1");
    let waiting = asked.iter().filter(|request| !request.is_finished()).count();
    assert!(waiting > 200, "{waiting} still wait after {:?}; the test shows nothing", started.elapsed());
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_dry_run_is_given_up() {
    let network = Network::start_with(|options| {
        options.dry_run_wall_clock = Duration::from_millis(100);
        options.dry_run_workers = 1;
    })
    .await;
    let process = network.spawn(&[("Compute-Limit", "9000000000000")]).await;
    let before = network.send(process, "Add").await;
    assert_eq!(network.count(process, before).await, "2");
    let (status, body) = network.dry_run(process, "", dry(process, "X-Spin")).await;
    assert_eq!((status, &body["error"]), (500, &json!("evaluation abandoned: evaluation took longer than 100ms")));
    assert_eq!(network.peek(process).await, "2");
    assert_eq!(network.json("/parked").await.1["total"], 0);
    network.stop().await;
}
