//! The small routes, headers and CORS (spec 02 §1).

use reqwest::Method;

use crate::network::Network;

#[tokio::test(flavor = "multi_thread")]
async fn small_answers_have_their_types() {
    let network = Network::start().await;
    let health = network.su.json("/?process-id=whatever").await;
    assert_eq!(health["address"], network.wallet.address().to_string());
    assert!(health["timestamp"].as_str().unwrap().parse::<u64>().unwrap() > 1_600_000_000_000);
    let time = network.su.json("/timestamp").await;
    assert!(time["timestamp"].is_string());
    let height = time["block_height"].as_str().unwrap();
    assert!(height.len() == 12 && height.parse::<u64>().unwrap() >= 1_500_000 - 1, "{height}");
    let answer = network.su.get("/health").await;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().get("content-type").is_none());
    assert_eq!(answer.text().await.unwrap(), "");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_the_known_names() {
    let network = Network::start().await;
    let process = network.spawn().await;
    network.su.page(process, "").await;
    let answer = network.su.get("/metrics").await;
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = answer.text().await.unwrap();
    for function in ["write_item", "get_messages", "read_message_data", "acquire_write_lock"] {
        let series =
            format!("su_core_metrics_duration_milliseconds_bucket{{le=\"10000.0\",function_name=\"{function}\"}} ");
        assert!(text.contains(&series), "{series}\n{text}");
    }
    assert!(text.lines().any(|line| line == "message_save_failures 0"), "{text}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_can_be_off() {
    let network = Network::start_with(|options| options.metrics = false).await;
    let answer = network.su.get("/metrics").await;
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.text().await.unwrap(), "Metrics not enabled");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_origin_may_ask() {
    let network = Network::start().await;
    let vary = |answer: &reqwest::Response| {
        let values = answer.headers().get_all("vary").iter().map(|value| value.to_str().unwrap().to_lowercase());
        values.collect::<Vec<_>>().join(", ")
    };
    let plain = network.su.get("/").await;
    assert!(vary(&plain).contains("origin"), "{:?}", plain.headers());
    let request = network.su.client.get(format!("{}/", network.su.url)).header("origin", "https://example.com");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://example.com");
    let preflight = network
        .su
        .client
        .request(Method::OPTIONS, format!("{}/", network.su.url))
        .header("origin", "https://example.com")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-custom")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 200);
    let headers = preflight.headers();
    assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    assert!(headers["access-control-allow-headers"].to_str().unwrap().contains("x-custom"));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_explorer_knows_what_the_options_name() {
    let network = Network::start().await;
    let page = network.su.get("/explorer/").await;
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("<title>"));
    let known = network.su.json("/explorer/network.json").await;
    assert_eq!(known["self"], "su");
    assert_eq!(known["gateway_url"], network.weave.url.as_str().trim_end_matches('/'));
    assert_eq!(known["scheduler"], network.wallet.address().to_string());
    assert!(known["cu_url"].is_null());
    network.stop().await;
}
