//! Reading data: whole, in part, by path, and what is not there.

use holon_protocol::ItemId;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Weave, ed25519, generated, item};

#[tokio::test]
async fn data_is_served_with_its_type_and_length() {
    let weave = Weave::start().await;
    let item = item(&ed25519(), &[("Content-Type", "text/markdown")], "# hello");
    weave.upload(&item).await;
    for path in [format!("/{}", item.id()), format!("/{}/", item.id()), format!("/raw/{}", item.id())] {
        let response = weave.get(&path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/markdown");
        assert_eq!(response.headers()["content-length"], "7");
        assert_eq!(response.headers()["accept-ranges"], "bytes");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(response.text().await.unwrap(), "# hello");

        let head = weave.client.head(format!("{}{path}", weave.url)).send().await.unwrap();
        assert_eq!(head.status(), 200, "{path}");
        assert_eq!(head.headers()["content-length"], "7", "{path}");
        assert_eq!(head.headers()["content-type"], "text/markdown");
    }
}

#[tokio::test]
async fn large_data_streams_and_any_part_of_it_can_be_read() {
    let weave = Weave::start().await;
    let data = generated(5_000_003);
    let item = item(&ed25519(), &[], data.clone());
    weave.upload(&item).await;
    let path = format!("/raw/{}", item.id());
    let response = weave.get(&path).await;
    assert_eq!(response.headers()["content-length"], "5000003");
    assert_eq!(response.bytes().await.unwrap(), data);

    let size = data.len();
    for (range, start, end) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=262143-262145".to_owned(), 262_143, 262_146),
        ("bytes=100-3000000".to_owned(), 100, 3_000_001),
        (format!("bytes=4999990-{size}"), 4_999_990, size),
        ("bytes=-3".to_owned(), size - 3, size),
        ("bytes=5000000-".to_owned(), 5_000_000, size),
    ] {
        let request = weave.client.get(format!("{}{path}", weave.url)).header("range", &range);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 206, "{range}");
        assert_eq!(response.headers()["content-range"], format!("bytes {start}-{}/{size}", end - 1), "{range}");
        assert_eq!(response.headers()["content-length"], (end - start).to_string());
        assert_eq!(response.bytes().await.unwrap(), data.slice(start..end), "{range}");
    }
    for (range, status) in [("bytes=5000003-", 416), ("bytes=9-8", 400), ("bytes=x", 400)] {
        let request = weave.client.get(format!("{}{path}", weave.url)).header("range", range);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{range}");
        if status == 416 {
            assert_eq!(response.headers()["content-range"], format!("bytes */{size}"));
        }
    }
}

#[tokio::test]
async fn unknown_ids_are_404_everywhere_and_never_a_page() {
    let weave = Weave::start().await;
    let id = ItemId::from_bytes([5; 32]);
    for path in [
        format!("/{id}"),
        format!("/{id}/"),
        format!("/{id}/some/path"),
        format!("/raw/{id}"),
        format!("/tx/{id}"),
        format!("/tx/{id}/status"),
        format!("/tx/{id}/offset"),
        format!("/tx/{id}/data"),
        "/raw/short".to_owned(),
        "/nothing".to_owned(),
        "/favicon.ico".to_owned(),
        "/a/b/c/d".to_owned(),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let response = weave.client.request(method.clone(), format!("{}{path}", weave.url)).send().await.unwrap();
            let expected = if path.contains("/tx/short") { 400 } else { 404 };
            assert_eq!(response.status(), expected, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_known_etag_saves_the_data() {
    let weave = Weave::start().await;
    let item = item(&ed25519(), &[], "data");
    weave.upload(&item).await;
    let url = format!("{}/{}", weave.url, item.id());
    let etag = weave.client.get(&url).send().await.unwrap().headers()["etag"].clone();
    let response = weave.client.get(&url).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(response.status(), 304);
}

#[tokio::test]
async fn the_encoding_of_an_item_is_named_to_browsers_but_raw_bytes_are_just_bytes() {
    let weave = Weave::start().await;
    let item = item(&ed25519(), &[("Content-Encoding", "gzip")], vec![0x1f, 0x8b, 0, 1]);
    weave.upload(&item).await;
    assert_eq!(weave.get(&format!("/{}", item.id())).await.headers()["content-encoding"], "gzip");
    let raw = weave.get(&format!("/raw/{}", item.id())).await;
    assert!(raw.headers().get("content-encoding").is_none());
    assert_eq!(raw.bytes().await.unwrap().as_ref(), [0x1f, 0x8b, 0, 1]);
}

#[tokio::test]
async fn a_process_shows_its_tags_as_headers() {
    let weave = Weave::start().await;
    let tags = [
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Scheduler", "S"),
        ("Module", "M"),
        ("Authority", "one"),
        ("Authority", "two"),
        ("Content-Type", "text/plain"),
        ("Not A Header", "x"),
        ("X-Hidden", "x"),
    ];
    let process = item(&ed25519(), &tags, "x");
    weave.upload(&process).await;
    let response = weave.client.head(format!("{}/{}", weave.url, process.id())).send().await.unwrap();
    let headers = response.headers();
    assert_eq!(headers["type"], "Process");
    assert_eq!(headers["data-protocol"], "ao");
    assert_eq!(headers["scheduler"], "S");
    assert_eq!(headers["module"], "M");
    assert_eq!(headers.get_all("authority").iter().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(headers.get_all("content-type").iter().collect::<Vec<_>>(), ["text/plain"]);
    assert!(headers.get("x-hidden").is_none());
}

#[tokio::test]
async fn manifests_lead_to_their_items() {
    let weave = Weave::start().await;
    let signer = ed25519();
    let page = item(&signer, &[("Content-Type", "text/html")], "<p>page");
    let style = item(&signer, &[("Content-Type", "text/css")], "p{}");
    let missing = item(&signer, &[], "nowhere");
    let manifest = json!({
        "manifest": "arweave/paths",
        "version": "0.2.0",
        "index": { "path": "index.html" },
        "fallback": { "id": missing.id() },
        "paths": { "index.html": { "id": page.id() }, "css/style.css": { "id": style.id() } },
    });
    let kind = [("Content-Type", "application/x.arweave-manifest+json")];
    let folder = item(&signer, &kind, manifest.to_string());
    let strict = item(&signer, &kind, r#"{"manifest":"arweave/paths","version":"0.1.0","paths":{}}"#);
    let broken = item(&signer, &kind, "no json");
    for each in [&page, &style, &missing, &folder, &strict, &broken] {
        weave.upload(each).await;
    }
    let id = folder.id();
    let response = weave.get(&format!("/{id}")).await;
    assert_eq!(response.status(), 301);
    assert_eq!(response.headers()["location"], format!("/{id}/"));
    for (path, body) in [("", "<p>page"), ("index.html", "<p>page"), ("css/style.css", "p{}"), ("other", "nowhere")] {
        assert_eq!(weave.text(&format!("/{id}/{path}")).await, body, "{path}");
    }
    assert_eq!(weave.get(&format!("/{id}/")).await.headers()["content-type"], "text/html");
    assert_eq!(weave.text(&format!("/raw/{id}")).await, manifest.to_string());
    assert_eq!(weave.status(&format!("/{}/x", strict.id())).await, 404);
    assert_eq!(weave.text(&format!("/{}", broken.id())).await, "no json");
    assert_eq!(weave.status(&format!("/{}/x", broken.id())).await, 404);
}

#[tokio::test]
async fn browsers_may_call_from_anywhere() {
    let weave = Weave::start().await;
    for path in ["/graphql", "/tx", "/anything"] {
        let request = weave.client.request(Method::OPTIONS, format!("{}{path}", weave.url));
        let response = request.send().await.unwrap();
        assert!(matches!(response.status().as_u16(), 200 | 204), "{path}");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let preflight = weave.client.request(Method::OPTIONS, format!("{}{path}", weave.url));
        let preflight = preflight
            .header("origin", "http://localhost:3000")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let response = preflight.send().await.unwrap();
        assert!(response.status().is_success(), "{path}");
        assert!(response.headers().contains_key("access-control-allow-origin"), "{path}");
    }
}
