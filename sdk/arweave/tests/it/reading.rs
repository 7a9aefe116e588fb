//! How reads behave when a gateway fails, waits, redirects or lies.

use std::time::{Duration, Instant};

use holon_arweave::{Error, Gateway, GatewayOptions, Query};
use holon_protocol::{BlockHeight, ItemId};

use crate::script::{Script, answer};

const ID: ItemId = ItemId::from_bytes([9; 32]);

fn gateway(script: &Script) -> Gateway {
    let backoff = Duration::from_millis(1);
    Gateway::new(GatewayOptions { retries: 3, backoff, ..GatewayOptions::new(script.url.clone()) }).unwrap()
}

fn ok(body: &str) -> String {
    answer("200 OK", "", body)
}

#[tokio::test]
async fn data_is_read_again_after_errors_and_silence() {
    let script = Script::start(vec![answer("503 Busy", "", "later"), String::new(), ok("the data")]).await;
    assert_eq!(gateway(&script).raw(ID).await.unwrap(), "the data");
    let asked = script.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked[0].starts_with(&format!("GET /raw/{ID} HTTP/1.1")), "{}", asked[0]);
    assert!(asked[0].to_ascii_lowercase().contains("accept-encoding: identity"), "{}", asked[0]);
}

#[tokio::test]
async fn an_unknown_id_is_not_found_after_all_attempts() {
    let script = Script::start(vec![answer("404 Not Found", "", "Not found")]).await;
    let error = gateway(&script).raw(ID).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(id) if id == ID), "{error}");
    assert!(!error.retryable());
    assert_eq!(script.asked().len(), 3);
}

#[tokio::test]
async fn data_over_the_limit_is_refused_once_and_not_repeated() {
    let unannounced = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n12345".to_owned();
    for given in [ok("12345"), unannounced] {
        let script = Script::start(vec![given]).await;
        let error = gateway(&script).raw_within(ID, 4).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 4, .. }), "{error}");
        assert_eq!(gateway(&script).raw_within(ID, 5).await.unwrap(), "12345");
        assert_eq!(script.asked().len(), 2);
    }
}

#[tokio::test]
async fn refusals_are_not_repeated() {
    let script = Script::start(vec![answer("400 Bad Request", "", "no such thing")]).await;
    let error = gateway(&script).raw(ID).await.unwrap_err();
    assert!(matches!(&error, Error::Status { status: 400, body, .. } if body == "no such thing"), "{error}");
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn the_wish_to_wait_is_honoured() {
    let busy = answer("429 Too Many", "Retry-After: 1\r\n", "");
    let script = Script::start(vec![busy, ok("x")]).await;
    let start = Instant::now();
    gateway(&script).raw(ID).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn existence_is_asked_once() {
    let script = Script::start(vec![answer("404 Not Found", "", ""), answer("200 OK", "", "")]).await;
    let gateway = gateway(&script);
    assert!(!gateway.exists(ID).await.unwrap());
    assert!(gateway.exists(ID).await.unwrap());
    assert!(script.asked()[0].starts_with(&format!("HEAD /{ID} ")));
}

#[tokio::test]
async fn a_gateway_that_is_down_is_a_retryable_error() {
    let script = Script::start(vec![String::new()]).await;
    let error = gateway(&script).exists(ID).await.unwrap_err();
    assert!(error.retryable(), "{error}");
}

#[tokio::test]
async fn answers_too_large_to_take_are_refused_by_their_announcement() {
    let huge = "HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\nx".to_owned();
    let script = Script::start(vec![huge]).await;
    let error = gateway(&script).raw(ID).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn redirects_inside_the_gateway_are_followed() {
    let script = Script::start(vec![answer("302 Found", "Location: /elsewhere\r\n", ""), ok("moved")]).await;
    assert_eq!(gateway(&script).raw(ID).await.unwrap(), "moved");
    assert!(script.asked()[1].starts_with("GET /elsewhere "));
}

#[tokio::test]
async fn redirects_to_addresses_inside_are_refused() {
    for target in ["http://169.254.169.254/latest", "http://10.0.0.1/", "http://[::1]:1/", "file:///etc/passwd"] {
        let script = Script::start(vec![answer("302 Found", &format!("Location: {target}\r\n"), "")]).await;
        let error = gateway(&script).raw(ID).await.unwrap_err();
        assert!(!error.retryable(), "{target}: {error}");
        assert_eq!(script.asked().len(), 1, "{target}");
    }
}

#[tokio::test]
async fn endless_redirects_end() {
    let script = Script::start(vec![answer("302 Found", "Location: /again\r\n", "")]).await;
    assert!(!gateway(&script).raw(ID).await.unwrap_err().retryable());
    assert!(script.asked().len() <= 7, "{}", script.asked().len());
}

#[tokio::test]
async fn parts_are_cut_when_the_server_ignores_ranges() {
    let script = Script::start(vec![ok("0123456789")]).await;
    assert_eq!(gateway(&script).range(ID, 2, 5).await.unwrap(), "234");
    assert_eq!(gateway(&script).range(ID, 8, 50).await.unwrap(), "89");
    assert_eq!(gateway(&script).range(ID, 5, 5).await.unwrap(), "");
    assert!(script.asked()[0].to_ascii_lowercase().contains("range: bytes=2-4"));
}

#[tokio::test]
async fn pending_and_unknown_transactions_have_no_status() {
    let mined = r#"{"block_height":7,"block_indep_hash":"x","number_of_confirmations":3}"#;
    for (given, expected) in [
        (answer("202 Accepted", "", "Pending"), None),
        (ok("Pending"), None),
        (answer("404 Not Found", "", "Not Found."), None),
        (ok(mined), Some((BlockHeight(7), 3))),
    ] {
        let script = Script::start(vec![given]).await;
        let status = gateway(&script).status(ID).await.unwrap();
        assert_eq!(status.map(|status| (status.block_height, status.confirmations)), expected);
    }
}

#[tokio::test]
async fn a_node_that_has_not_joined_has_no_height() {
    let script = Script::start(vec![ok(r#"{"height":-1}"#), ok(r#"{"height":5,"current":"c","network":"n"}"#)]).await;
    let gateway = gateway(&script);
    assert!(gateway.info().await.unwrap_err().retryable());
    assert_eq!(gateway.info().await.unwrap().height, BlockHeight(5));
}

#[tokio::test]
async fn graphql_errors_are_repeated_and_then_told() {
    let script = Script::start(vec![ok(r#"{"errors":[{"message":"too busy"}],"data":null}"#)]).await;
    let error = gateway(&script).nodes(&Query::default()).await.unwrap_err();
    assert!(matches!(&error, Error::GraphQl { message, .. } if message == "too busy"), "{error}");
    assert_eq!(script.asked().len(), 3);
}

#[tokio::test]
async fn no_node_is_an_answer() {
    let script = Script::start(vec![ok(r#"{"data":{"transactions":{"edges":[]}}}"#)]).await;
    assert_eq!(gateway(&script).node(ID).await.unwrap(), None);
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn the_graphql_endpoint_may_be_given_with_and_without_its_path() {
    for path in ["", "/", "/graphql", "/graphql/"] {
        let script = Script::start(vec![ok(r#"{"data":{"transactions":{"edges":[]}}}"#)]).await;
        let graphql = Some(script.url.join(path).unwrap());
        let gateway = Gateway::new(GatewayOptions { graphql, ..GatewayOptions::new(script.url.clone()) }).unwrap();
        gateway.node(ID).await.unwrap();
        assert!(script.asked()[0].starts_with("POST /graphql"), "{path}: {}", script.asked()[0]);
    }
}
