//! What `GET /metrics` says (spec 04 §6).

use holon_protocol::ProcessId;
use serde_json::json;

use crate::network::{Network, idle, metric, post};
use crate::peer::Answer;

const P: ProcessId = ProcessId::from_bytes([1; 32]);
const Q: ProcessId = ProcessId::from_bytes([2; 32]);

#[tokio::test]
async fn requests_retries_and_what_is_given_up_are_told_with_the_labels_of_the_specification() {
    let network = Network::start();
    network.process(1);
    network.process(2);
    {
        let mut state = network.state.lock().unwrap();
        let message = |data: &str| json!({ "Target": Q, "Anchor": "1", "Tags": [], "Data": data });
        let result = json!({ "Messages": [message("taken"), message("refused")], "Spawns": [], "Assignments": [] });
        state.results.insert("go".into(), result);
        state.instead.push(("GET /result/", Answer::Json(500, json!({ "error": "not yet" }))));
        state.refused = Some("refused");
    }
    let messenger = network.messenger().await;
    assert_eq!(post(&messenger, "/", network.message(P, "go").raw().clone()).await.0, 202);
    assert_eq!(post(&messenger, "/", "nonsense").await.0, 400);
    assert_eq!(post(&messenger, "/made/up", "").await.0, 404);
    let nobody = network.message(ProcessId::from_bytes([9; 32]), "is it a process?");
    assert_eq!(post(&messenger, "/", nobody.raw().clone()).await.0, 404);
    idle(&messenger).await;
    for (line, value) in [
        (r#"http_request_duration_seconds_count{method="POST",route="/",status="202",statusGroup="2xx"}"#, 1.0),
        (r#"http_request_duration_seconds_count{method="POST",route="/",status="400",statusGroup="4xx"}"#, 1.0),
        (r#"http_request_duration_seconds_count{method="POST",route="none",status="404",statusGroup="4xx"}"#, 1.0),
        (
            r#"http_request_duration_seconds_bucket{le="30.0",method="POST",route="/",status="202",statusGroup="2xx"}"#,
            1.0,
        ),
        (r#"http_request_summary_seconds_count{method="POST",route="/",status="202",statusGroup="2xx"}"#, 1.0),
        (
            r#"outgoing_http_request_duration_seconds_count{method="GET",operation="result",errorType="",status="500",statusGroup="5xx"}"#,
            1.0,
        ),
        (
            r#"outgoing_http_request_duration_seconds_count{method="GET",operation="result",errorType="",status="200",statusGroup="2xx"}"#,
            2.0,
        ),
        (
            r#"outgoing_http_request_duration_seconds_count{method="POST",operation="post-item",errorType="",status="200",statusGroup="2xx"}"#,
            2.0,
        ),
        (
            r#"outgoing_http_request_duration_seconds_count{method="POST",operation="gateway-graphql",errorType="",status="200",statusGroup="2xx"}"#,
            1.0,
        ),
        (
            r#"outgoing_http_request_duration_seconds_count{method="HEAD",operation="gateway-head",errorType="",status="404",statusGroup="4xx"}"#,
            1.0,
        ),
        (r#"task_retries_total{stage="pull-result",retries="1",status="unreachable"}"#, 1.0),
        (r#"error_stage_total{stage="send",type="message"}"#, 1.0),
    ] {
        assert_eq!(metric(&messenger, &format!("ao_mu_{line}")).await, Some(value), "{line}");
    }
    assert!(metric(&messenger, r#"ao_mu_db_size{database="outbox"}"#).await.unwrap() > 0.0);
    messenger.stop().await.unwrap();
}
