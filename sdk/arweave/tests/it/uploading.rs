//! Which answers of a bundler count as success, as "later", and as "never".

use holon_arweave::{UploadError, Uploader};
use holon_protocol::{DataItem, Signer};

use crate::script::{Script, answer};

fn item() -> DataItem {
    DataItem::builder().data("x").sign(&Signer::generate_ed25519().unwrap()).unwrap()
}

async fn upload(answer: String) -> Result<(), UploadError> {
    let script = Script::start(vec![answer]).await;
    let result = Uploader::new(script.url.clone()).unwrap().upload(&item()).await;
    let asked = &script.asked()[0];
    assert!(asked.starts_with("POST /tx/arweave HTTP/1.1"), "{asked}");
    assert!(asked.to_ascii_lowercase().contains("content-type: application/octet-stream"), "{asked}");
    result
}

#[tokio::test]
async fn an_item_that_is_taken_or_known_is_a_success_whatever_the_body_says() {
    for status in ["200 OK", "201 Created", "202 Accepted", "204 Nothing to say", "208 Known"] {
        upload(answer(status, "", "no receipt at all")).await.unwrap();
    }
}

#[tokio::test]
async fn failures_say_whether_they_pass() {
    for (given, retryable) in [
        ("400 Bad", false),
        ("402 Pay", true),
        ("403 No", false),
        // A wrong URL, a missing login, a proxy's limit: none of them is a verdict on the item.
        ("302 Elsewhere", true),
        ("401 Who", true),
        ("404 Nothing here", true),
        ("413 Large", true),
        ("429 Slow", true),
        ("500 Broken", true),
        ("503 Busy", true),
    ] {
        let error = upload(answer(given, "", "why")).await.unwrap_err();
        assert_eq!(error.retryable(), retryable, "{given}: {error}");
        assert!(error.to_string().contains("why"), "{error}");
    }
    assert!(upload(String::new()).await.unwrap_err().retryable());
}

#[tokio::test]
async fn a_trailing_slash_of_the_base_does_no_harm() {
    let script = Script::start(vec![answer("200 OK", "", "{}")]).await;
    let base = script.url.join("/bundler/").unwrap();
    Uploader::new(base).unwrap().upload(&item()).await.unwrap();
    assert!(script.asked()[0].starts_with("POST /bundler/tx/arweave "));
}
