//! Bad input on every route: the status, the body, and that nothing changes.

use holon_arweave::Transaction;
use holon_protocol::{ItemId, Tags, base64url};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Weave, ed25519, generated, item, rsa};
use crate::transactions::chunk_posts;

struct Case {
    method: Method,
    path: String,
    kind: Option<&'static str>,
    body: Vec<u8>,
    status: u16,
    says: &'static str,
}

fn get(path: impl Into<String>, status: u16, says: &'static str) -> Case {
    Case { method: Method::GET, path: path.into(), kind: None, body: Vec::new(), status, says }
}

fn post(path: &str, body: impl Into<Vec<u8>>, status: u16, says: &'static str) -> Case {
    let kind = Some("application/json");
    Case { method: Method::POST, path: path.into(), kind, body: body.into(), status, says }
}

fn upload(path: &str, body: impl Into<Vec<u8>>, status: u16, says: &'static str) -> Case {
    let kind = Some("application/octet-stream");
    Case { method: Method::POST, path: path.into(), kind, body: body.into(), status, says }
}

fn with(json: &Value, field: &str, value: impl Into<Value>) -> String {
    let mut json = json.clone();
    json[field] = value.into();
    json.to_string()
}

fn without(json: &Value, field: &str) -> String {
    let mut json = json.clone();
    json.as_object_mut().unwrap().remove(field);
    json.to_string()
}

fn items() -> Vec<Case> {
    let good = item(&ed25519(), &[("Name", "value")], "data").raw().to_vec();
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut unknown_type = good.clone();
    unknown_type[0] = 99;
    let mut presence = good.clone();
    presence[2 + 64 + 32] = 7;
    let mut cases = Vec::new();
    for path in ["/tx", "/tx/arweave", "/tx/ethereum", "/v1/tx", "/v1/tx/arweave"] {
        cases.extend([
            upload(path, "", 400, "Invalid Data Item!"),
            upload(path, "not an item", 400, "Invalid Data Item!"),
            upload(path, &good[..good.len() / 2], 400, "Invalid Data Item!"),
            upload(path, forged.clone(), 400, "signature"),
            upload(path, unknown_type.clone(), 400, "signature type 99"),
            upload(path, presence.clone(), 400, "presence"),
        ]);
    }
    cases
}

fn transactions() -> Vec<Case> {
    let good = Transaction::data("data", &Tags::default(), &[], 0).sign(&rsa()).unwrap().to_json(true);
    let failed = "Transaction verification failed.";
    vec![
        post("/tx", "", 400, failed),
        post("/tx", "{", 400, failed),
        post("/tx", "[]", 400, failed),
        post("/tx", "{}", 400, failed),
        post("/tx", with(&good, "format", 3), 400, failed),
        post("/tx", with(&good, "id", "x"), 400, failed),
        post("/tx", with(&good, "reward", "1"), 400, "signature"),
        post("/tx", with(&good, "reward", "-1"), 400, failed),
        post("/tx", with(&good, "data", base64url::encode("other")), 400, "data_root"),
        post("/tx", with(&good, "data_size", "5"), 400, "data_root"),
        post("/tx", claim(1 << 40 | 1), 400, "data_size"),
        post("/tx", claim(u64::MAX), 400, "data_size"),
        post("/tx", with(&good, "data_root", ""), 400, "data_size"),
        post("/tx", with(&good, "owner", base64url::encode([3; 512])), 400, "signature"),
        post("/tx", with(&good, "owner", base64url::encode([3; 511])), 400, "owner"),
        post("/tx", with(&good, "signature", base64url::encode([3; 512])), 400, "id"),
        post("/tx", with(&good, "tags", json!([{ "name": "!", "value": "" }])), 400, "tags"),
        post("/tx", with(&good, "denomination", "1"), 400, "denomination"),
        post("/tx", vec![b' '; 17 * 1024 * 1024], 413, "larger than"),
    ]
}

/// A signed transaction whose data is said to have this many bytes and to follow as chunks.
fn claim(bytes: u64) -> String {
    let claim = json!({ "data_size": bytes.to_string(), "data": "" });
    crate::transactions::signed_with(&rsa(), &claim).to_string()
}

fn chunks() -> Vec<Case> {
    let data = generated(700_000);
    let good = chunk_posts(&data)[1].clone();
    let first = chunk_posts(&data)[0].clone();
    let tiny = chunk_posts(&generated(262_145 + 40_000))[0].clone();
    let large = base64url::encode(vec![0; 256 * 1024 + 1]);
    vec![
        post("/chunk", "", 400, "invalid_json"),
        post("/chunk", "[]", 400, "invalid_json"),
        post("/chunk", without(&good, "data_root"), 400, "invalid_json"),
        post("/chunk", without(&good, "chunk"), 400, "invalid_json"),
        post("/chunk", without(&good, "offset"), 400, "offset_field_required"),
        post("/chunk", with(&good, "data_root", "short"), 400, "invalid_json"),
        post("/chunk", with(&good, "data_size", "many"), 400, "invalid_json"),
        post("/chunk", with(&good, "chunk", large), 400, "chunk_too_big"),
        post("/chunk", with(&good, "data_path", base64url::encode(vec![0; 64 + 96 * 65])), 400, "data_path_too_big"),
        post("/chunk", with(&good, "offset", "700000"), 400, "offset_too_big"),
        post("/chunk", with(&good, "offset", "0"), 400, "invalid_proof"),
        post("/chunk", with(&good, "data_path", first["data_path"].clone()), 400, "invalid_proof"),
        post("/chunk", with(&good, "chunk", tiny["chunk"].clone()), 400, "invalid_proof"),
        post("/chunk", with(&good, "data_root", tiny["data_root"].clone()), 400, "invalid_proof"),
        post("/chunk", with(&good, "data_path", ""), 400, "invalid_proof"),
        get("/chunk/x", 400, "integer"),
        get("/chunk/-1", 400, "integer"),
        get("/chunk/1", 404, ""),
        get("/chunk/18446744073709551615", 404, ""),
    ]
}

fn queries() -> Vec<Case> {
    let query = |text: &str| json!({ "query": text }).to_string();
    let mut cases = Vec::new();
    let nested = |depth: usize| format!("{{block(id:{}{}){{id}}}}", "[".repeat(depth), "]".repeat(depth));
    let variables = |depth: usize| {
        let value = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        format!("{{\"query\": \"query ($x: String) {{ block(id: $x) {{ id }} }}\", \"variables\": {{\"x\": {value}}}}}")
    };
    for path in ["/graphql", "/"] {
        for depth in [100, 1500, 6000] {
            cases.push(post(path, query(&nested(depth)), 400, "brackets"));
            cases.push(post(path, query(&"{a".repeat(depth)), 400, "brackets"));
            cases.push(post(path, variables(depth), 400, "errors"));
        }
        cases.extend([
            post(path, query(&nested(60)), 400, "errors"),
            post(path, query(&"...a ".repeat(17)), 400, "spreads"),
            post(
                path,
                query("{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"),
                400,
                "fields of types",
            ),
            post(path, "", 400, "errors"),
            post(path, "nonsense", 400, "errors"),
            post(path, "[]", 400, "errors"),
            post(path, query("{ transactions {"), 400, "errors"),
            post(path, query("{ nothing }"), 400, "nothing"),
            post(path, query("{ transactions { edges { node { nothing } } } }"), 200, "Cannot query field"),
            post(path, query("query ($x: ID!) { transaction(id: $x) { id } }"), 400, "errors"),
            post(path, query("{ transactions(first: -1) { edges { cursor } } }"), 400, "must not be negative"),
            post(path, query(r#"{ transactions(after: "x") { edges { cursor } } }"#), 400, "cursor"),
            post(path, query(r#"{ transactions(tags: [{name: "x"}]) { edges { cursor } } }"#), 400, "errors"),
            post(path, query("mutation { nothing }"), 400, "errors"),
            post(path, vec![b' '; 2 * 1024 * 1024], 413, "larger than"),
        ]);
    }
    cases.push(get("/graphql", 400, "query parameter"));
    for depth in [1500, 6000] {
        cases.push(get(format!("/graphql?query={}", nested(depth)), 400, "brackets"));
    }
    let aliases: String = (0..600).map(|n| format!("a{n}: transactions {{ edges {{ cursor }} }} ")).collect();
    cases.push(post("/graphql", query(&format!("{{ {aliases} }}")), 400, "complex"));
    let many: Vec<String> = (0..1001).map(|n| format!("\"{n}\"")).collect();
    let many = format!("{{ transactions(ids: [{}]) {{ edges {{ cursor }} }} }}", many.join(","));
    cases.push(post("/graphql", query(&many), 400, "at most 1000"));
    cases
}

fn other_methods() -> Vec<Case> {
    let path = format!("/tx/{}", ItemId::from_bytes([1; 32]));
    let case = |method| Case { method, ..get(path.clone(), 404, "Not Found.") };
    [Method::PUT, Method::PATCH, Method::DELETE].map(case).into()
}

fn the_rest() -> Vec<Case> {
    let unknown = ItemId::from_bytes([1; 32]);
    let address = ed25519().address();
    let hash = base64url::encode([1; 48]);
    vec![
        get("/tx/short", 400, "Invalid hash."),
        get("/tx/short/status", 400, "Invalid hash."),
        get("/tx/short/offset", 400, "Invalid hash."),
        get("/tx/short/data", 400, "Invalid hash."),
        get("/tx/short/owner", 400, "Invalid hash."),
        get("/unconfirmed_tx/short", 400, "Invalid hash."),
        get(format!("/tx/{unknown}"), 404, "Not Found."),
        get(format!("/tx/{unknown}/status"), 404, "Not Found."),
        get(format!("/tx/{unknown}/owner"), 404, "Not Found."),
        get(format!("/unconfirmed_tx/{unknown}"), 404, "Not Found."),
        get(format!("/raw/{unknown}"), 404, "Not Found."),
        get("/raw/short", 404, "Not Found."),
        get(format!("/{unknown}"), 404, "Not Found."),
        get(format!("/{unknown}/a/b"), 404, "Not Found."),
        get("/nothing", 404, "Not Found."),
        get("/nothing/at/all", 404, "Not Found."),
        get("/%ff%fe", 404, ""),
        get("/..%2f..%2fetc%2fpasswd", 404, ""),
        post("/nothing", "", 404, "Not Found."),
        get("/block/height/x", 400, "integer"),
        get("/block/height/-1", 400, "integer"),
        get("/block/height/99999999", 404, "Block not found."),
        get("/block/hash/short", 400, "Invalid hash."),
        get(format!("/block/hash/{hash}"), 404, "Block not found."),
        get("/wallet/short/balance", 400, "Invalid address."),
        get("/wallet/short/last_tx", 400, "Invalid address."),
        get("/mint/short/1", 400, "Invalid address."),
        get(format!("/mint/{address}/-1"), 400, "winston"),
        get(format!("/mint/{address}/1.5"), 400, "winston"),
        get(format!("/mint/{address}/x"), 400, "winston"),
        post("/wallet", "", 400, "Invalid JSON."),
        post("/wallet", "{}", 400, "Invalid address."),
        post("/wallet", json!({ "address": address }).to_string(), 400, "winston"),
        post("/wallet", json!({ "address": address, "balance": 1.5 }).to_string(), 400, "winston"),
        post("/wallet", vec![b' '; 5000], 413, "larger than"),
        get("/price/x", 400, "bytes"),
        get("/price/-1", 400, "bytes"),
        get("/price/arweave/x", 400, "bytes"),
        get("/account/balance/arweave", 400, "Invalid address."),
        get("/account/balance", 400, "Invalid address."),
        get("/mine/x", 400, "integer"),
        get("/mine/1000000", 400, "At most"),
    ]
}

#[tokio::test]
async fn bad_input_gets_its_answer_and_changes_nothing() {
    let weave = Weave::start().await;
    let kept = item(&ed25519(), &[], "kept");
    weave.upload(&kept).await;
    let state = async || {
        let metrics = weave.text("/metrics").await;
        (weave.json("/info").await, weave.find("first: 100").await, weave.json("/tx/pending").await, metrics)
    };
    let before = state().await;
    let cases = [items(), transactions(), chunks(), queries(), other_methods(), the_rest()].into_iter().flatten();
    for case in cases {
        let mut request = weave.client.request(case.method.clone(), format!("{}{}", weave.url, case.path));
        if let Some(kind) = case.kind {
            request = request.header("content-type", kind);
        }
        let length = case.body.len();
        let start = String::from_utf8_lossy(&case.body[..length.min(80)]).into_owned();
        let response = request.body(case.body).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let what = format!("{} {} {start}: {status} {text}", case.method, case.path);
        assert_eq!(status, case.status, "{what}");
        assert!(text.contains(case.says), "{what}; expected {:?}", case.says);
        assert!(text.len() < 2000, "{what}");
    }
    assert_eq!(state().await, before);
}

#[tokio::test]
async fn an_item_larger_than_the_limit_is_refused_by_its_announcement() {
    use std::io::{Read, Write};
    let weave = Weave::start().await;
    let address = weave.url.trim_start_matches("http://").to_owned();
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let head = "POST /tx/arweave HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 300000000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    });
    assert_eq!(answer.await.unwrap(), "HTTP/1.1 413");
}

#[tokio::test]
async fn an_item_of_a_hundred_mebibytes_is_taken() {
    let weave = Weave::start().await;
    let item = item(&ed25519(), &[("Type", "Module")], vec![7; 100 * 1024 * 1024]);
    weave.upload(&item).await;
    let head = weave.client.head(format!("{}/raw/{}", weave.url, item.id())).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], (100 * 1024 * 1024).to_string());
}
