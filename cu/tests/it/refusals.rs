//! Bad input: the status and the body of the specification, and nothing changes.

use std::time::Duration;

use holon_protocol::ProcessId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::network::{Network, answer, dry};

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_a_reason_and_change_nothing() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let message = network.send(process, "Add").await;
    let before = network.count(process, message).await;
    let nobody = ProcessId::from_bytes([3; 32]);
    let other = network.spawn(&[]).await;
    let another = format!("{other} is a process, not a message of process {process}");
    for (path, status, error) in [
        (format!("/result/{message}"), 400, "'processId': Required."),
        (format!("/result/{message}?process-id="), 400, "'processId': a process-id query parameter is required."),
        (format!("/result/{message}?process-id=short"), 400, "'processId': \"short\" is not an id"),
        (format!("/result/short?process-id={process}"), 400, "'messageId': \"short\" is not an id"),
        (
            format!("/result/{nobody}?process-id={process}"),
            500,
            "Error Encountered when loading message from Scheduler Unit: 400",
        ),
        (format!("/result/{message}?process-id={nobody}"), 500, "scheduler of process"),
        (format!("/result/{other}?process-id={process}"), 404, &another),
        ("/results/short".into(), 400, "'processId': \"short\" is not an id"),
        (format!("/results/{process}?from=nonsense"), 400, "'from': a cursor or a timestamp"),
        (format!("/results/{process}?to=-1"), 400, "'to': a cursor or a timestamp"),
        (format!("/results/{process}?sort=UP"), 400, "'sort': ASC or DESC is required"),
        (format!("/results/{process}?limit=0"), 400, "'limit': a number from 1"),
        (format!("/results/{process}?limit=x"), 400, "'limit': a number from 1"),
        ("/cron/short".into(), 400, "'processId': \"short\" is not an id"),
        (format!("/cron/{process}?from=e30="), 400, "'from': a cursor or a timestamp"),
        (format!("/cron/{process}?limit=-5"), 400, "'limit': a number from 1"),
        (format!("/cron/{nobody}"), 500, "scheduler of process"),
        ("/state/short".into(), 400, "'processId': \"short\" is not an id"),
        (format!("/state/{process}?to=now"), 400, "'to': a timestamp in milliseconds is required"),
        (format!("/state/{nobody}"), 500, "scheduler of process"),
        ("/dry-run".into(), 405, "/dry-run does not take GET"),
        ("/snapshot".into(), 404, "no route GET /snapshot"),
    ] {
        let (found, body) = network.json(&path).await;
        let text = body["error"].as_str().unwrap_or_default();
        assert!(found == status && text.starts_with(error), "{path}: {found} {body}");
    }
    assert_eq!(network.count(process, message).await, before);
    assert_eq!(network.outputs(process).await.len(), 2);
    // A time beyond all time is the present.
    let (status, latest) = network.json(&format!("/root/{process}?to={}", u64::MAX)).await;
    assert_eq!((status, &latest["nonce"]), (200, &json!(1)), "{latest}");
    // Nothing evaluated is an empty listing, not an error.
    assert_eq!(network.json(&format!("/results/{nobody}")).await.1["edges"], json!([]));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_dry_runs_are_refused_with_a_reason() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let url = network.cu.as_ref().unwrap().url();
    let good = dry(process, "X-Get").to_string();
    let large = format!("{{\"Owner\":\"1\",\"Tags\":[],\"Data\":\"{}\"}}", "x".repeat(1 << 20));
    let json_type = "application/json";
    for (query, content_type, body, status, error) in [
        ("".to_owned(), json_type, good.as_str(), 400, "'processId': Required."),
        ("?process-id=".into(), json_type, &good, 400, "'processId': a process-id query parameter is required."),
        ("?process-id=x".into(), json_type, &good, 400, "'processId': \"x\" is not an id"),
        (format!("?process-id={process}&to=x"), json_type, &good, 400, "'to': \"x\" is not an id"),
        (format!("?process-id={process}"), "text/plain", &good, 400, "'content-type': application/json is required."),
        (format!("?process-id={process}"), json_type, "{", 400, "'body': not JSON"),
        (format!("?process-id={process}"), json_type, "[]", 400, "'body': a message as a JSON object"),
        (format!("?process-id={process}"), json_type, "{}", 400, "'Owner': Required. | 'Tags': Required."),
        (format!("?process-id={process}"), json_type, &large, 413, "request body is larger than 1048576 bytes"),
    ] {
        let request = network.client.post(format!("{url}/dry-run{query}")).header("content-type", content_type);
        let (found, answer) = answer(request.body(body.to_owned()).send().await.unwrap()).await;
        let text = answer["error"].as_str().unwrap_or_default();
        assert!(found == status && text.starts_with(error), "{query} {body:.40}: {found} {answer}");
    }
    let request = network.client.post(format!("{url}/dry-run?process-id={process}")).header("x-max-age", "soon");
    let (status, answer) = answer(request.json(&dry(process, "X-Get")).send().await.unwrap()).await;
    assert_eq!(status, 400, "{answer}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_and_owners_that_are_not_served_are_refused() {
    let network = Network::start_with(|options| {
        options.restrict_processes = [ProcessId::from_bytes([3; 32])].into();
        options.allow_owners = ["nobody".to_owned()].into();
    })
    .await;
    let process = network.spawn(&[]).await;
    let denied = ProcessId::from_bytes([3; 32]);
    for path in
        [format!("/result/x?process-id={denied}"), format!("/results/{denied}"), format!("/state/{denied}?to=x")]
    {
        let expected = json!({ "error": format!("Access denied for process {denied}") });
        assert_eq!(network.json(&path).await, (403, expected), "{path}");
    }
    let (status, body) = network.json(&format!("/result/{process}?process-id={process}")).await;
    let owner = network.user.address();
    assert_eq!((status, body), (403, json!({ "error": format!("Access denied for process owner {owner}") })));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_and_limits_that_are_not_supported_are_refused() {
    let network = Network::start().await;
    let native = "wasm32-unknown-unknown-holon1";
    let wasm = crate::guest::wasm();
    let limits = [("Memory-Limit", "512-mb"), ("Compute-Limit", "1000")];
    let with = |name, value| [limits[0], limits[1], (name, value)];
    let plain = network.publish_module(&wasm, native, &limits).await;
    let format = network.publish_module(&wasm, "wasm32-unknown-emscripten9", &limits).await;
    let extension = network.publish_module(&wasm, native, &with("Extension", "Teleport")).await;
    let unlimited = network.publish_module(&wasm, native, &[("Memory-Limit", "0")]).await;
    // Several are a list, and a list is no format and no limit.
    let formats = network.publish_module(&wasm, native, &with("Module-Format", native)).await;
    let listed = network.publish_module(&wasm, native, &with("Memory-Limit", "512-mb")).await;
    let rubbish = network.publish_module(b"not wasm", native, &limits).await;
    // `P` stands for the process, `M` for its module.
    let memory = "Memory-Limit for process \"P\" exceeds supported limit";
    let compute = "Compute-Limit for process \"P\" exceeds supported limit";
    let cases: [(_, &[(&str, &str)], _, _); 12] = [
        (format, &[], 422, "Module-Format for module \"M\" is not supported"),
        (extension, &[], 422, "Module Extensions for module \"M\" are not supported"),
        (formats, &[], 422, "Module-Format for module \"M\" is not supported"),
        (unlimited, &[], 413, memory),
        (listed, &[], 413, memory),
        (plain, &[("Memory-Limit", "1-mb"), ("Memory-Limit", "9-gb")], 413, memory),
        (plain, &[("Compute-Limit", "1000"), ("Compute-Limit", "1000")], 413, compute),
        (plain, &[("Memory-Limit", "2-gb")], 413, memory),
        (plain, &[("Memory-Limit", "x")], 413, memory),
        (plain, &[("Compute-Limit", "9000000000001")], 413, compute),
        (rubbish, &[], 500, "module \"M\": not a valid module"),
        (plain, &[("Cron-Tag-Action", "x"), ("Cron-Interval", "1-second")], 500, "Cron-Tag \"Cron-Tag-Action\" found"),
    ];
    for (module, tags, status, error) in cases {
        let process = network.spawn_module(module, tags).await;
        let (found, body) = network.json(&format!("/result/{process}?process-id={process}")).await;
        let text = body["error"].as_str().unwrap_or_default();
        let error = error.replace("\"P\"", &format!("\"{process}\"")).replace("\"M\"", &format!("\"{module}\""));
        assert!(found == status && text.starts_with(&error), "{tags:?}: {found} {body}");
        assert_eq!(network.outputs(process).await, Vec::<String>::new());
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_small_routes_answer_and_browsers_may_ask() {
    let network = Network::start().await;
    let (status, body) = network.json("/").await;
    assert_eq!((status, &body["address"]), (200, &json!(network.cu_wallet.address())));
    assert!(body["timestamp"].is_u64());
    assert_eq!(network.get("/health").await.status(), 200);
    let text = network.get("/metrics").await.text().await.unwrap();
    assert!(text.contains("ao_cu_live_processes") && text.trim_end().ends_with("# EOF"), "{text}");
    let url = format!("{}/dry-run", network.cu.as_ref().unwrap().url());
    let preflight = network.client.request(reqwest::Method::OPTIONS, url);
    let preflight = preflight
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert!(answer.headers().contains_key("access-control-allow-origin"));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_may_be_spelled_in_any_way_that_means_the_same() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    // The last character holds four significant bits; the other two may be anything.
    let text = process.to_string();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.iter().position(|&letter| letter == text.as_bytes()[42]).unwrap();
    let other = format!("{}{}", &text[..42], alphabet[last | 3] as char);
    let (status, body): (u16, Value) = network.json(&format!("/result/{other}?process-id={other}")).await;
    assert_eq!((status, &body["Output"]), (200, &json!("1")), "{body}");
    assert_eq!(network.json(&format!("/results/{other}")).await.1["edges"].as_array().unwrap().len(), 1);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_head_trailing_slashes_wrong_methods_and_pages_of_any_origin() {
    let network = Network::start().await;
    let process = network.spawn(&[]).await;
    let message = network.send(process, "Add").await;
    network.result(process, message).await;
    let base = network.cu.as_ref().unwrap().url();
    let send = async |method: Method, path: &str| {
        let request = network.client.request(method, format!("{base}{path}")).timeout(Duration::from_secs(60));
        request.send().await.unwrap()
    };
    let gets = [
        ("/".to_owned(), String::new()),
        ("/health".into(), String::new()),
        ("/metrics".into(), String::new()),
        (format!("/result/{message}"), format!("?process-id={process}")),
        (format!("/results/{process}"), String::new()),
        (format!("/cron/{process}"), String::new()),
        (format!("/state/{process}"), String::new()),
        (format!("/root/{process}"), "?slot=1".into()),
        ("/parked".into(), String::new()),
        ("/openapi.json".into(), String::new()),
        ("/explorer/network.json".into(), String::new()),
        // Its answer to `GET` never ends.
        (format!("/events/{process}"), "?from=0".into()),
    ];
    for (path, query) in gets {
        let got = send(Method::GET, &format!("{path}{query}")).await;
        let head = send(Method::HEAD, &format!("{path}{query}")).await;
        assert_eq!((got.status().as_u16(), head.status().as_u16()), (200, 200), "{path}");
        for name in ["content-type", "content-length", "nonce", "state-root", "last-ordinate"] {
            // What metrics and clocks say has another length each time.
            let comparable = name != "content-length" || !["/", "/metrics"].contains(&path.as_str());
            assert!(!comparable || got.headers().get(name) == head.headers().get(name), "{path} {name}: {head:?}");
        }
        assert_eq!(head.text().await.unwrap(), "", "{path}");
        if path != "/" {
            let slashed = send(Method::HEAD, &format!("{path}/{query}")).await.status();
            assert!(slashed == 200 || path.starts_with("/explorer/"), "{path}/: {slashed}");
        }
        let wrong = send(Method::PATCH, &format!("{path}{query}")).await;
        assert_eq!((wrong.status().as_u16(), wrong.headers()["allow"].to_str().unwrap()), (405, "GET, HEAD"), "{path}");
    }
    let posts =
        [format!("/dry-run?process-id={process}"), format!("/resume/{process}"), "/dry-run/?process-id=x".into()];
    for path in &posts {
        let wrong = send(Method::GET, path).await;
        assert_eq!((wrong.status().as_u16(), wrong.headers()["allow"].to_str().unwrap()), (405, "POST"), "{path}");
    }
    let slashed = network.client.post(format!("{base}/dry-run/?process-id={process}")).json(&dry(process, "X-Get"));
    assert_eq!(answer(slashed.send().await.unwrap()).await.0, 200);
    // Whoever asks and whatever the answer is.
    for (method, path, status) in [
        (Method::GET, "/", 200),
        (Method::GET, "/nowhere", 404),
        (Method::PUT, "/", 405),
        (Method::GET, "/state/short", 400),
        (Method::OPTIONS, "/dry-run", 204),
    ] {
        for origin in [None, Some("http://localhost:3000")] {
            let mut request = network.client.request(method.clone(), format!("{base}{path}"));
            if let Some(origin) = origin {
                request = request.header("origin", origin).header("access-control-request-method", "POST");
            }
            let answer = request.send().await.unwrap();
            let headers = answer.headers();
            let said = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
            assert_eq!(
                (answer.status().as_u16(), said("access-control-allow-origin")),
                (status, "*"),
                "{method} {path}"
            );
            assert_eq!(said("x-content-type-options"), "nosniff", "{method} {path}");
            assert_eq!(said("x-frame-options"), "SAMEORIGIN", "{method} {path}");
            assert_eq!(said("referrer-policy"), "no-referrer", "{method} {path}");
            assert!(said("content-security-policy").starts_with("default-src 'none'; "), "{method} {path}");
            assert!(method != Method::OPTIONS || said("access-control-allow-methods").contains("POST"), "{headers:?}");
        }
    }
    // The explorer's own policy stays.
    let page = send(Method::GET, "/explorer/").await;
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self'"), "{page:?}");
    network.stop().await;
}
