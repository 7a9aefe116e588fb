//! Requests of every call, and what is made of answers.

use holon_client::{Error, Unit};
use holon_protocol::{Address, DataItem, MessageId, ModuleId, ProcessId, Signer, Tag, Tags};
use serde_json::{Value, json};

use crate::recorder::{self, Recorder, accepted};

const PROCESS: ProcessId = ProcessId::from_bytes([1; 32]);
const MESSAGE: MessageId = MessageId::from_bytes([2; 32]);
const MODULE: ModuleId = ModuleId::from_bytes([3; 32]);
const SCHEDULER: Address = Address::from_bytes([4; 32]);

fn signer() -> Signer {
    Signer::from_ed25519_seed(&[9; 32], false)
}

fn pairs(tags: &Tags) -> Vec<(&str, &str)> {
    tags.iter().map(|tag| (tag.name.as_str(), tag.value.as_str())).collect()
}

#[tokio::test]
async fn a_message_is_posted_as_the_official_client_posts_it() {
    let messenger = Recorder::start(accepted);
    let id = messenger.network().message(PROCESS).action("Eval").data("hello").send(&signer()).await.unwrap();

    let seen = messenger.only();
    assert_eq!((seen.method.as_str(), seen.path_and_query.as_str()), ("POST", "/"));
    assert_eq!(seen.content_type.as_deref(), Some("application/octet-stream"));
    assert_eq!(seen.accept.as_deref(), Some("application/json"));
    let item = DataItem::parse_verified(seen.body).unwrap();
    assert_eq!(MessageId::from(item.id()), id);
    assert_eq!(item.target(), Some(*PROCESS.as_bytes()));
    assert_eq!(item.data(), "hello");
    let expected =
        [("Action", "Eval"), ("SDK", "holon"), ("Data-Protocol", "ao"), ("Variant", "ao.TN.1"), ("Type", "Message")];
    assert_eq!(pairs(item.tags()), expected);
}

#[tokio::test]
async fn the_same_message_twice_is_two_messages_also_when_signatures_are_not_random() {
    let network = Recorder::start(accepted).network();
    let sign = async || network.message(PROCESS).action("Increment").sign(&signer()).await.unwrap();
    let (first, second) = (sign().await, sign().await);
    assert_ne!(first.id(), second.id());
    let anchor = first.anchor().expect("only a fresh anchor tells them apart");
    assert!(anchor.is_ascii(), "processes see anchors as text");
}

#[tokio::test]
async fn a_message_without_data_carries_one_space() {
    let messenger = Recorder::start(accepted);
    messenger.network().message(PROCESS).send(&signer()).await.unwrap();
    let item = DataItem::parse_verified(messenger.only().body).unwrap();
    assert_eq!(item.data(), " ");
    assert_eq!(pairs(item.tags())[..2], [("Content-Type", "text/plain"), ("SDK", "holon")]);
}

#[tokio::test]
async fn a_spawn_names_module_scheduler_and_authority() {
    let messenger = Recorder::start(accepted);
    let process = messenger
        .network()
        .spawn(MODULE, SCHEDULER)
        .tag("Name", "n")
        .authority(SCHEDULER)
        .cron("10-seconds".parse().unwrap(), [Tag::new("Action", "Tick")])
        .data("boot")
        .send(&signer())
        .await
        .unwrap();
    let item = DataItem::parse_verified(messenger.only().body).unwrap();
    assert_eq!(ProcessId::from(item.id()), process);
    assert_eq!(item.target(), None);
    let (module, scheduler) = (MODULE.to_string(), SCHEDULER.to_string());
    let tags = pairs(item.tags());
    let expected = [
        ("Name", "n"),
        ("Authority", scheduler.as_str()),
        ("Cron-Interval", "10-seconds"),
        ("Cron-Tag-Action", "Tick"),
        ("SDK", "holon"),
        ("Data-Protocol", "ao"),
        ("Variant", "ao.TN.1"),
        ("Type", "Process"),
        ("Module", module.as_str()),
        ("Scheduler", scheduler.as_str()),
    ];
    assert_eq!(tags[..10], expected);
    assert_eq!(tags[10].0, "Timestamp");
    assert!(tags[10].1.parse::<u64>().is_ok());
}

#[tokio::test]
async fn an_assignment_is_a_post_without_body() {
    let messenger = Recorder::start(|_| recorder::json(202, json!({ "id": MESSAGE })));
    let network = messenger.network();
    let id = network.assign(PROCESS, MESSAGE).base_layer().exclude("Data").exclude("Tags").send().await.unwrap();
    assert_eq!(id.as_bytes(), MESSAGE.as_bytes());
    let seen = messenger.only();
    assert_eq!(seen.path_and_query, format!("/?process-id={PROCESS}&assign={MESSAGE}&base-layer&exclude=Data%2CTags"));
    assert!(seen.body.is_empty());
}

#[tokio::test]
async fn monitoring_sends_a_token_without_tags() {
    let messenger = Recorder::start(|_| actix_web::HttpResponse::Ok().body("Monitoring process"));
    let network = messenger.network();
    network.monitor(PROCESS, &signer()).await.unwrap();
    network.unmonitor(PROCESS, &signer()).await.unwrap();
    for (seen, method) in messenger.seen().into_iter().zip(["POST", "DELETE"]) {
        assert_eq!((seen.method.as_str(), seen.path_and_query), (method, format!("/monitor/{PROCESS}")));
        let token = DataItem::parse_verified(seen.body).unwrap();
        assert_eq!(token.target(), Some(*PROCESS.as_bytes()));
        assert!(token.tags().is_empty());
        assert_eq!(token.data(), " ");
    }
}

#[tokio::test]
async fn a_dry_run_is_unsigned_json() {
    let compute = Recorder::start(|_| recorder::json(200, json!({ "Output": "7", "Messages": [] })));
    let result = compute.network().dry_run(PROCESS).action("Get").owner(SCHEDULER).at(MESSAGE).send().await.unwrap();
    assert_eq!(result.output, "7");
    let seen = compute.only();
    assert_eq!(seen.path_and_query, format!("/dry-run?process-id={PROCESS}&to={MESSAGE}"));
    assert_eq!(seen.content_type.as_deref(), Some("application/json"));
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    let expected = json!({
        "Id": "1234", "Target": PROCESS, "Owner": SCHEDULER, "Anchor": "0", "Data": " ",
        "Tags": [
            { "name": "Action", "value": "Get" },
            { "name": "Data-Protocol", "value": "ao" },
            { "name": "Type", "value": "Message" },
            { "name": "Variant", "value": "ao.TN.1" },
        ],
    });
    assert_eq!(body, expected);
    assert_eq!(seen.max_age, None);
}

#[tokio::test]
async fn a_dry_run_says_how_old_the_state_may_be() {
    let compute = Recorder::start(|_| recorder::json(200, json!({ "Output": "7", "Messages": [] })));
    compute.network().dry_run(PROCESS).max_age(std::time::Duration::from_millis(20)).send().await.unwrap();
    assert_eq!(compute.only().max_age.as_deref(), Some("20"));
}

#[tokio::test]
async fn a_busy_compute_unit_is_asked_again() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let compute = Recorder::start(move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 | 1 => recorder::json(202, json!({ "message": "Evaluation is in progress." })),
        _ => recorder::json(200, json!({ "Output": "done", "Messages": [], "GasUsed": 0 })),
    });
    let result = compute.network().result(PROCESS, MESSAGE).await.unwrap();
    assert_eq!(result.output, "done");
    assert_eq!(compute.seen().len(), 3);
    assert_eq!(compute.seen()[0].path_and_query, format!("/result/{MESSAGE}?process-id={PROCESS}"));
}

#[tokio::test]
async fn a_refusal_says_who_why_and_whether_to_try_again() {
    for (status, retryable) in [(400, false), (413, false), (429, true), (500, false), (503, true)] {
        let unit = Recorder::start(move |_| recorder::json(status, json!({ "error": "because" })));
        let error = unit.network().message(PROCESS).send(&signer()).await.unwrap_err();
        assert_eq!((error.status(), error.unit(), error.retryable()), (Some(status), Some(Unit::Messenger), retryable));
        assert!(error.to_string().contains("because"), "{error}");
    }
}

#[tokio::test]
async fn an_error_body_is_not_taken_for_a_result() {
    let compute = Recorder::start(|_| recorder::json(200, json!({ "error": "odd" })));
    let error = compute.network().result(PROCESS, MESSAGE).await.unwrap_err();
    assert!(matches!(error, Error::Answer { unit: Unit::Compute, .. }), "{error}");
}

#[tokio::test]
async fn another_id_than_the_items_own_is_an_error() {
    let messenger = Recorder::start(|_| recorder::json(202, json!({ "id": MESSAGE })));
    let error = messenger.network().message(PROCESS).send(&signer()).await.unwrap_err();
    assert!(matches!(error, Error::Answer { unit: Unit::Messenger, .. }), "{error}");
}

#[tokio::test]
async fn a_signed_item_is_not_sent_where_a_redirect_points() {
    let elsewhere = Recorder::start(accepted);
    let target = elsewhere.url();
    let messenger = Recorder::start(move |_| {
        actix_web::HttpResponse::TemporaryRedirect().insert_header(("Location", target.as_str())).finish()
    });
    let error = messenger.network().message(PROCESS).send(&signer()).await.unwrap_err();
    assert!(matches!(&error, Error::Redirected { location, .. } if *location == elsewhere.url()), "{error}");
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn missing_urls_are_named() {
    let network = holon_client::Network::builder().build().unwrap();
    let sent = network.message(PROCESS).send(&signer()).await.unwrap_err();
    assert!(matches!(sent, Error::NotConfigured(Unit::Messenger)), "{sent}");
    let asked = network.result(PROCESS, MESSAGE).await.unwrap_err();
    assert!(matches!(asked, Error::NotConfigured(Unit::Compute)), "{asked}");
}

#[test]
fn urls_that_are_no_base_are_refused() {
    for url in ["ftp://example.org", "file:///etc/passwd", "mailto:a@b"] {
        let built = holon_client::Network::builder().mu_url(url.parse().unwrap()).build();
        assert!(matches!(built, Err(Error::Url { .. })), "{url}");
    }
}
