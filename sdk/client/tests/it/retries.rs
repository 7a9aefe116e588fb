//! What is tried again, and what never is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::HttpResponse;
use holon_client::{Error, Network, Retry};
use holon_protocol::{MessageId, ProcessId, Signer};
use serde_json::json;

use crate::recorder::{self, Recorder, Seen};

const PROCESS: ProcessId = ProcessId::from_bytes([1; 32]);
const QUICK: Retry =
    Retry { attempts: 4, first_pause: Duration::from_millis(1), longest_pause: Duration::from_millis(5) };

/// A unit that answers `status` to the first requests.
fn unwilling(status: u16, times: usize, then: impl Fn(&Seen) -> HttpResponse + Send + Sync + 'static) -> Recorder {
    let left = AtomicUsize::new(times);
    Recorder::start(move |seen| {
        match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => recorder::json(status, json!({ "error": "not now" })),
            Err(_) => then(seen),
        }
    })
}

fn patient(unit: &Recorder) -> Network {
    let url: url::Url = unit.url().parse().unwrap();
    Network::builder().mu_url(url.clone()).cu_url(url).retry(QUICK).build().unwrap()
}

fn empty(_: &Seen) -> HttpResponse {
    recorder::json(200, json!({ "pageInfo": { "hasNextPage": false }, "edges": [] }))
}

#[tokio::test]
async fn a_read_is_tried_again_while_the_unit_asks_for_patience() {
    for status in [429, 502, 503, 504] {
        let unit = unwilling(status, 3, empty);
        assert!(patient(&unit).results(PROCESS).page().await.unwrap().edges.is_empty(), "{status}");
        assert_eq!(unit.seen().len(), 4);
    }
}

#[tokio::test]
async fn it_is_given_up_after_the_last_attempt_and_at_once_where_it_cannot_help() {
    let unit = unwilling(503, 99, empty);
    let error = patient(&unit).results(PROCESS).page().await.unwrap_err();
    assert_eq!((error.status(), unit.seen().len()), (Some(503), 4));
    let unit = unwilling(400, 99, empty);
    let error = patient(&unit).results(PROCESS).page().await.unwrap_err();
    assert_eq!((error.status(), unit.seen().len()), (Some(400), 1));
    // Whoever did not ask for it gets none.
    let unit = unwilling(503, 99, empty);
    unit.network().results(PROCESS).page().await.unwrap_err();
    assert_eq!(unit.seen().len(), 1);
}

#[tokio::test]
async fn a_signed_message_arrives_as_the_same_item_each_time() {
    let unit = unwilling(503, 2, recorder::accepted);
    let wallet = Signer::generate_ed25519().unwrap();
    let message = patient(&unit).message(PROCESS).action("Pay").send(&wallet).await.unwrap();
    let seen = unit.seen();
    assert_eq!(seen.len(), 3);
    for seen in seen {
        assert_eq!(MessageId::from(holon_protocol::DataItem::parse_verified(seen.body).unwrap().id()), message);
    }
}

#[tokio::test]
async fn an_assignment_is_never_asked_for_twice() {
    let unit = unwilling(503, 1, empty);
    let error = patient(&unit).assign(PROCESS, MessageId::from_bytes([2; 32])).send().await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 503, .. }), "{error}");
    assert_eq!(unit.seen().len(), 1);
}

#[tokio::test]
async fn a_unit_that_is_away_for_a_moment_is_waited_for() {
    // A port that was free a moment ago: nobody is there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let retry =
        Retry { attempts: 400, first_pause: Duration::from_millis(10), longest_pause: Duration::from_millis(50) };
    let network = Network::builder().cu_url(format!("http://{gone}").parse().unwrap()).retry(retry).build().unwrap();
    let list = network.results(PROCESS);
    let (page, unit) = tokio::join!(list.page(), async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        Recorder::start_at(gone, empty)
    });
    assert!(page.unwrap().edges.is_empty());
    unit.only();
}
