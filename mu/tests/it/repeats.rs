//! Items that come more than once, or that their scheduler has already: each is pushed once (spec 04 §2, §16).

use holon_protocol::{DataItem, ProcessId};
use serde_json::json;

use crate::network::{Network, eventually, get, idle, metric, post};
use crate::peer::Answer;

const P: ProcessId = ProcessId::from_bytes([1; 32]);

#[tokio::test]
async fn an_item_that_the_scheduler_has_is_pushed_once_whoever_brought_it_there() {
    let network = Network::start();
    network.process(1);
    let [direct, own] = ["posted to the scheduler", "posted before"].map(|data| network.message(P, data));
    network.state.lock().unwrap().processes.get_mut(&P).unwrap().push(direct.clone());
    let messenger = network.messenger().await;
    assert_eq!(post(&messenger, "/", own.raw().clone()).await.0, 202);
    idle(&messenger).await;
    messenger.stop().await.unwrap();

    let messenger = network.messenger().await;
    for item in [&direct, &own] {
        let answer = post(&messenger, "/", item.raw().clone()).await;
        assert_eq!(answer, (202, json!({ "message": "Processing DataItem", "id": item.id() })));
    }
    // Nor again because the scheduler does not say so.
    for item in [&direct, &own] {
        let down = Answer::Json(503, json!({ "error": "overloaded" }));
        network.state.lock().unwrap().instead.push(("POST /", down));
        assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 502);
    }
    idle(&messenger).await;
    let pulls = network.compute.asked("GET", "/result/");
    assert_eq!(pulls.len(), 2, "each once, whoever brought it to the scheduler");
    for item in [&direct, &own] {
        assert!(pulls.iter().any(|pull| pull.path.contains(&item.id().to_string())));
    }
    assert!(messenger.dead_letters(10).await.unwrap().is_empty());
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn an_item_that_the_scheduler_takes_and_refuses_is_pushed_once() {
    let network = Network::start();
    network.process(1);
    let messenger = network.messenger().await;
    let statuses = [400, 403, 404, 408, 409, 413, 422, 499];
    for status in statuses {
        let item = network.message(P, &format!("answered {status}"));
        let spawn = network.spawn_with(None, &[("Answered", &status.to_string())]);
        for item in [&item, &spawn] {
            let answer = Answer::Json(status, json!({ "error": "exists" }));
            network.state.lock().unwrap().lost.push(answer);
            assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202, "{status}");
            // And again, with an answer that says nothing.
            let down = Answer::Json(500, json!({ "error": "down" }));
            network.state.lock().unwrap().instead.push(("POST /", down));
            assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 502, "{status}");
        }
    }
    idle(&messenger).await;
    let mut pulls: Vec<_> = network.compute.asked("GET", "/result/").into_iter().map(|call| call.path).collect();
    assert_eq!(pulls.len(), 2 * statuses.len());
    pulls.sort();
    pulls.dedup();
    assert_eq!(pulls.len(), 2 * statuses.len(), "each once");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn what_stands_in_its_log_for_long_is_not_pushed_because_somebody_repeats_it() {
    let network = Network::start();
    network.process(1);
    let items = [network.message(P, "pushed long ago"), network.spawn(None)];
    let messenger = network.messenger().await;
    for item in &items {
        assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    }
    idle(&messenger).await;
    messenger.stop().await.unwrap();
    network.state.lock().unwrap().old.extend(items.iter().map(DataItem::id));

    // Its claims have given way, or were never made, or it is another's outbox.
    let folder = tempfile::tempdir().unwrap();
    let mut options = network.options();
    options.data_dir = folder.path().to_owned();
    let messenger = network.messenger_with(options).await;
    let pulls = || network.compute.asked("GET", "/result/").len();
    for item in &items {
        let answer = post(&messenger, "/", item.raw().clone()).await;
        assert_eq!(answer, (202, json!({ "message": "Processing DataItem", "id": item.id() })));
    }
    idle(&messenger).await;
    assert!(messenger.dead_letters(10).await.unwrap().is_empty());
    for item in &items {
        let down = Answer::Json(503, json!({ "error": "overloaded" }));
        network.state.lock().unwrap().instead.push(("POST /", down));
        assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 502);
    }
    idle(&messenger).await;
    assert_eq!(pulls(), 2, "when they came");
    let letters = get(&messenger, "/dead-letters").await;
    let letters = letters["deadLetters"].as_array().unwrap();
    assert_eq!(letters.len(), 2, "nothing is lost silently");
    for letter in letters {
        assert!(letter["reason"].as_str().unwrap().contains("since long before it came here"), "{letter}");
        // The operator knows better.
        assert_eq!(crate::network::retry(&messenger, &letter["id"]).await, 202);
    }
    idle(&messenger).await;
    assert_eq!(pulls(), 4);
    // What came a moment ago is pushed as ever.
    let fresh = network.message(P, "taken a moment ago");
    network.state.lock().unwrap().processes.get_mut(&P).unwrap().push(fresh.clone());
    assert_eq!(post(&messenger, "/", fresh.raw().clone()).await.0, 202);
    idle(&messenger).await;
    assert_eq!(pulls(), 5);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn an_assignment_with_the_id_of_anothers_item_keeps_that_from_nothing() {
    let network = Network::start();
    let (hostile, honest) = (network.process(1), network.process(2));
    let messenger = network.messenger().await;
    let items = [network.message(honest, "honest"), network.spawn(None)];
    for item in &items {
        let assigned = Answer::Json(200, json!({ "id": item.id(), "timestamp": 1 }));
        network.state.lock().unwrap().instead.push(("POST /?process-id", assigned));
        assert_eq!(post(&messenger, &format!("/?process-id={hostile}&assign={honest}"), "").await.0, 202);
    }
    idle(&messenger).await;
    let before = network.compute.asked("GET", "/result/").len();
    for item in &items {
        assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    }
    idle(&messenger).await;
    assert_eq!(network.compute.asked("GET", "/result/").len(), before + 2);
    assert_eq!(metric(&messenger, "ao_mu_already_pushed_total").await, Some(0.0));
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_scheduler_that_refuses_and_does_not_say_whether_it_has_an_item_may_have_it() {
    let network = Network::start();
    network.process(1);
    let messenger = network.messenger().await;
    // Where it lives is known from here on.
    assert_eq!(post(&messenger, "/", network.message(P, "first").raw().clone()).await.0, 202);
    idle(&messenger).await;
    let item = network.message(P, "refused and taken");
    {
        let mut state = network.state.lock().unwrap();
        state.lost.push(Answer::Json(400, json!({ "error": "exists" })));
        state.instead.push(("GET /", Answer::Json(503, json!({ "error": "overloaded" }))));
    }
    let (status, body) = post(&messenger, "/", item.raw().clone()).await;
    assert_eq!(status, 502, "not as if it were certain: {body}");
    idle(&messenger).await;
    assert_eq!(network.compute.asked("GET", "/result/").len(), 2);
    assert!(messenger.dead_letters(10).await.unwrap().is_empty());
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_repeat_that_is_accepted_when_its_earlier_post_is_given_up_is_pushed() {
    let network = Network::start();
    network.process(1);
    let mut options = network.options();
    options.limits.retry_delay_ms = 1;
    options.limits.max_retry_delay_ms = 5;
    options.scheduler_timeout = std::time::Duration::from_secs(20);
    let messenger = network.messenger_with(options).await;
    let item = network.message(P, "late");
    let down = Answer::Json(503, json!({ "error": "not now" }));
    network.state.lock().unwrap().instead.push(("POST /", down));
    assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 502);
    // Its scheduler takes the repeat, and thinks about it until that is over.
    let receipt = json!({ "id": item.id(), "timestamp": 1 });
    let later = Answer::Later(std::time::Duration::from_secs(6), receipt);
    network.state.lock().unwrap().instead.push(("POST /", later));
    let repeat = post(&messenger, "/", item.raw().clone());
    let given_up = async {
        let begun = std::time::Instant::now();
        while messenger.dead_letters(10).await.unwrap().is_empty() {
            assert!(begun.elapsed() < crate::network::DEADLINE);
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        begun.elapsed()
    };
    let (answer, given_up) = tokio::join!(repeat, given_up);
    assert_eq!(answer.0, 202, "{answer:?}");
    assert!(given_up < std::time::Duration::from_secs(6), "{given_up:?}");
    eventually("it is pushed", || (network.compute.asked("GET", "/result/").len() == 1).then_some(())).await;
    idle(&messenger).await;
    messenger.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_item_over_many_connections_takes_nobodys_place() {
    let network = Network::start();
    network.process(1);
    let messenger = network.messenger().await;
    let item = network.message(P, "again and again");
    // Nobody hears of it for as long as the scheduler is asked.
    let receipt = json!({ "id": item.id(), "timestamp": 1 });
    network.state.lock().unwrap().instead.push(("POST /", Answer::Later(std::time::Duration::from_secs(1), receipt)));
    let many = futures_util::future::join_all((0..300).map(|_| post(&messenger, "/", item.raw().clone())));
    let other = async {
        eventually("it is under way", || (!network.scheduler.asked("POST", "/").is_empty()).then_some(())).await;
        let begun = std::time::Instant::now();
        assert_eq!(post(&messenger, "/", network.message(P, "another").raw().clone()).await.0, 202);
        begun.elapsed()
    };
    let (answers, other) = tokio::join!(many, other);
    assert!(other < std::time::Duration::from_millis(900), "{other:?}");
    let busy = answers.iter().filter(|(status, _)| *status == 503).count();
    assert!((1..300).contains(&busy), "{busy}");
    assert!(answers.iter().all(|(status, _)| matches!(status, 202 | 503)), "{answers:?}");
    idle(&messenger).await;
    assert_eq!(network.compute.asked("GET", &format!("/result/{}", item.id())).len(), 1);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_messenger_signed_is_not_pushed_once_more_because_a_client_posts_it() {
    let network = Network::start();
    let to = network.process(1);
    let other = network.process(2);
    let entry = json!({ "Target": other, "Anchor": "1", "Tags": [], "Data": "signed here" });
    let result = json!({ "Messages": [entry], "Spawns": [], "Assignments": [] });
    network.state.lock().unwrap().results.insert("go".into(), result);
    let messenger = network.messenger().await;
    assert_eq!(post(&messenger, "/", network.message(to, "go").raw().clone()).await.0, 202);
    idle(&messenger).await;
    let signed = network.log(other).pop().unwrap();
    assert_eq!(post(&messenger, "/", signed.raw().clone()).await.0, 202);
    network.state.lock().unwrap().instead.push(("POST /", Answer::Json(503, json!({ "error": "down" }))));
    assert_eq!(post(&messenger, "/", signed.raw().clone()).await.0, 502);
    idle(&messenger).await;
    assert_eq!(network.compute.asked("GET", &format!("/result/{}", signed.id())).len(), 1);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn an_item_that_the_scheduler_takes_late_is_pushed_once_even_if_the_client_repeats_it() {
    let network = Network::start();
    network.process(1);
    let messenger = network.messenger().await;
    let late = || Answer::Json(503, json!({ "error": "still waiting for its turn" }));
    let item = network.message(P, "late");
    let lookup = format!("/{}?process-id={P}", item.id());
    network.state.lock().unwrap().instead.extend([("POST /", late()), ("POST /", late())]);
    for _ in 0..2 {
        assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 502);
    }
    eventually("it is asked for again and again", || (network.scheduler.asked("GET", &lookup).len() > 6).then_some(()))
        .await;
    assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    idle(&messenger).await;
    assert_eq!(network.compute.asked("GET", "/result/").len(), 1);
    assert!(messenger.dead_letters(10).await.unwrap().is_empty());
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn the_same_item_posted_again_and_at_once_counts_once() {
    let network = Network::start();
    network.process(1);
    let messenger = network.messenger().await;
    let item = network.message(P, "once");
    let (first, second) =
        tokio::join!(post(&messenger, "/", item.raw().clone()), post(&messenger, "/", item.raw().clone()));
    assert_eq!((first.0, second.0), (202, 202));
    idle(&messenger).await;
    let third = post(&messenger, "/", item.raw().clone()).await;
    assert_eq!(third, (202, json!({ "message": "Processing DataItem", "id": item.id() })));
    idle(&messenger).await;
    assert_eq!((network.log(P).len(), network.compute.asked("GET", "/result/").len()), (1, 1));
    messenger.stop().await.unwrap();
}
