//! Speaking to units over HTTP as a client without a library would.

use std::time::Duration;

use holon_protocol::{DataItem, ProcessId, Signer};
use reqwest::{Client, Method, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::Value;

/// No unit takes longer for what is asked here.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A client that follows no redirect and waits no longer than [`PATIENCE`].
pub fn client() -> Client {
    Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// A message as aoconnect would sign it.
pub fn message(process: ProcessId, action: &str, data: &str, signer: &Signer) -> DataItem {
    DataItem::builder()
        .target(process)
        .tag("Action", action)
        .tag("SDK", "aoconnect")
        .tag("Data-Protocol", "ao")
        .tag("Variant", "ao.TN.1")
        .tag("Type", "Message")
        .data(data.to_owned())
        .sign(signer)
        .unwrap()
}

/// Posts an item to a messenger unit.
pub async fn post_item(client: &Client, mu_url: &str, item: &DataItem) -> reqwest::Result<(StatusCode, String)> {
    let answer = client
        .request(Method::POST, mu_url)
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(item.raw().clone())
        .send()
        .await?;
    Ok((answer.status(), answer.text().await?))
}

/// The JSON of an answer, with status and text in the failure.
pub async fn json(answer: Response) -> Value {
    let (status, url) = (answer.status(), answer.url().clone());
    let text = answer.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{url} answered {status} with no JSON ({error}): {text}"))
}

/// Reads JSON that must be there.
pub async fn get(client: &Client, url: &str) -> Value {
    let answer = client.get(url).send().await.unwrap();
    let status = answer.status();
    let value = json(answer).await;
    assert!(status.is_success(), "{url} answered {status}: {value}");
    value
}

/// Joins a unit's URL and a path.
pub fn at(unit_url: &str, path: &str) -> String {
    format!("{}{path}", unit_url.trim_end_matches('/'))
}
