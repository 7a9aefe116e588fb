//! Bad input on every route: status and body of the specification, and nothing changed.

use holon_protocol::{DataItem, Signer};
use serde_json::Value;

use crate::network::{Network, message};

const ID: &str = "Eglw2BKDbxmIhiVYekYGpa0jzvMchoTmAXcVUlSPxrk";

enum Body {
    /// `{"error"}` whose text contains this.
    Json(&'static str),
    /// Plain text that is exactly this.
    Text(&'static str),
    Empty,
}

struct Case {
    what: &'static str,
    query: String,
    body: Vec<u8>,
    status: u16,
    answer: Body,
}

fn case(what: &'static str, query: impl Into<String>, body: impl AsRef<[u8]>, status: u16, answer: Body) -> Case {
    Case { what, query: query.into(), body: body.as_ref().to_vec(), status, answer }
}

async fn check(what: &str, answer: reqwest::Response, status: u16, expected: &Body) {
    let content_type = answer.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let found = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(found, status, "{what}: {text}");
    match expected {
        Body::Empty => assert_eq!(text, "", "{what}"),
        Body::Text(exact) => {
            assert_eq!(text, *exact, "{what}");
            assert!(content_type.unwrap().starts_with("text/plain"), "{what}");
        }
        Body::Json(part) => {
            let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: {text}"));
            let error = json["error"].as_str().unwrap_or_else(|| panic!("{what}: {text}"));
            assert!(error.contains(part), "{what}: {error}");
            assert_eq!(content_type.as_deref(), Some("application/json"), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_posts_are_refused_and_change_nothing() {
    let network = Network::start().await;
    let process = network.spawn().await;
    let user = &network.user;
    let sign = |item: holon_protocol::item::Builder| item.sign(user).unwrap();
    let tagged = |tags: &[(&str, &str)]| {
        let item = DataItem::builder().target(process).data("x");
        sign(tags.iter().fold(item, |item, (name, value)| item.tag(*name, *value))).raw().to_vec()
    };
    let good = network.message(process, &[], "good");
    let known = network.message(process, &[], "known");
    network.su.schedule(&known).await;
    let mut forged = good.raw().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let other = Signer::generate_ed25519().unwrap().address().to_string();
    let spawn = |tags: &[(&str, &str)]| {
        let item = DataItem::builder().tag("Data-Protocol", "ao").tag("Type", "Process");
        sign(tags.iter().fold(item, |item, (name, value)| item.tag(*name, *value))).raw().to_vec()
    };
    let address = network.wallet.address().to_string();
    let stranger = message(user, ID.parse().unwrap(), &[], "x");
    let process_again: Vec<u8> = network.process(&[]).raw().to_vec();
    let both = format!("?process-id={process}&assign=");
    let msg = [("Data-Protocol", "ao"), ("Type", "Message")];

    let cases = [
        case("no body", "", b"", 400, Body::Json("not an acceptable data item")),
        case("noise", "", [7; 300], 400, Body::Json("not an acceptable data item")),
        case("half an item", "", &good.raw()[..90], 400, Body::Json("not an acceptable data item")),
        case("a forged item", "", forged, 400, Body::Json("signature verification failed")),
        case("no type", "", tagged(&[("Data-Protocol", "ao")]), 400, Body::Json("Type tag not present")),
        case(
            "another type",
            "",
            tagged(&[("Data-Protocol", "ao"), ("Type", "Module")]),
            400,
            Body::Json("Unsupported Type tag value"),
        ),
        case(
            "the first type decides",
            "",
            tagged(&[("type", "x"), ("Data-Protocol", "ao"), ("Type", "Message")]),
            400,
            Body::Json("Unsupported Type tag value"),
        ),
        case("no protocol", "", tagged(&[("Type", "Message")]), 400, Body::Json("Data-Protocol tag not present")),
        case(
            "another protocol",
            "",
            tagged(&[("Type", "Message"), ("Data-Protocol", "oa")]),
            400,
            Body::Json("Data-Protocol tag must be ao"),
        ),
        case(
            "a link name",
            "",
            tagged(&[msg[0], msg[1], ("x+link", "y")]),
            400,
            Body::Json("Tag x+link cannot contain +link"),
        ),
        case(
            "a link value",
            "",
            tagged(&[msg[0], msg[1], ("x", "y+link")]),
            400,
            Body::Json("Tag x cannot contain +link"),
        ),
        case(
            "no target",
            "",
            sign(DataItem::builder().tag("Data-Protocol", "ao").tag("Type", "Message")).raw(),
            400,
            Body::Json("target not present"),
        ),
        case("an unknown process", "", stranger.raw(), 400, Body::Json("NotFound(\"Process not found\")")),
        case("a known message", "", known.raw(), 400, Body::Json("MessageExists(\"Message already exists\")")),
        case("a known process", "", process_again, 400, Body::Json("MessageExists(\"Message already exists\")")),
        case(
            "a process without module",
            "",
            spawn(&[("Scheduler", &address)]),
            400,
            Body::Json("Required Module and Scheduler tags"),
        ),
        case(
            "a process without scheduler",
            "",
            spawn(&[("Module", ID)]),
            400,
            Body::Json("Required Module and Scheduler tags"),
        ),
        case(
            "a process of another scheduler",
            "",
            spawn(&[("Module", ID), ("Scheduler", &other)]),
            400,
            Body::Json("is not this scheduler"),
        ),
        case(
            "an on-boot id nobody has",
            "",
            spawn(&[("Module", ID), ("Scheduler", &address), ("On-Boot", ID)]),
            400,
            Body::Json("Invalid tx id for On-Boot tag"),
        ),
        case(
            "an on-boot that is no id",
            "",
            spawn(&[("Module", ID), ("Scheduler", &address), ("On-Boot", "x")]),
            400,
            Body::Json("Invalid tx id for On-Boot tag"),
        ),
        case("process-id alone", format!("?process-id={process}"), good.raw(), 400, Body::Json("you must send both")),
        case("assign alone", format!("?assign={ID}"), good.raw(), 400, Body::Json("you must send both")),
        case("a short assign", format!("{both}abc"), b"", 400, Body::Json("assign param must be 43 characters")),
        case("an assign that is no id", format!("{both}{}", "!".repeat(43)), b"", 400, Body::Json("assign")),
        case(
            "an assign to nobody",
            format!("?process-id={ID}&assign={ID}"),
            b"",
            400,
            Body::Json("NotFound(\"Process not found\")"),
        ),
        case("an assign to no id", format!("?process-id=x&assign={ID}"), b"", 400, Body::Json("process-id")),
        case("an assign of nothing", format!("{both}{ID}"), b"", 400, Body::Json("Transaction not found")),
        case(
            "a base-layer assign of nothing",
            format!("{both}{ID}&base-layer"),
            b"",
            400,
            Body::Json("Not enough confirmations to assign"),
        ),
        case(
            "a parameter twice",
            format!("{both}{ID}&assign={ID}"),
            b"",
            400,
            Body::Text("Query deserialize error: duplicate field `assign`"),
        ),
        case("a body one byte too long", "", vec![0; 10_485_761], 413, Body::Text("payload reached size limit")),
        case("a long body", "", vec![0; 30 << 20], 413, Body::Text("payload reached size limit")),
    ];
    let before = network.su.json(&format!("/{process}")).await;
    for case in cases {
        let answer = network.su.post(&case.query, case.body).await;
        check(case.what, answer, case.status, &case.answer).await;
        assert_eq!(network.su.json(&format!("/{process}")).await, before, "{}", case.what);
    }
    // No position was consumed.
    network.su.schedule(&good).await;
    let entry = network.su.entry(process, good.id()).await;
    assert_eq!(entry.assignment.tags.get("Nonce"), Some("2"));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_reads_are_refused() {
    let network = Network::start().await;
    let process = network.spawn().await;
    let cases: Vec<(String, u16, Body)> = vec![
        (format!("/{ID}?process-id={ID}"), 400, Body::Json("Message or Process not found")),
        (format!("/{ID}?process-id={process}"), 400, Body::Json("Message or Process not found")),
        ("/favicon.ico".into(), 400, Body::Json("Message or Process not found")),
        (format!("/{process}?process-id=x"), 400, Body::Json("process-id")),
        (format!("/{process}?limit=x"), 400, Body::Text("Query deserialize error: invalid digit found in string")),
        (format!("/{process}?limit=1.5"), 400, Body::Text("Query deserialize error: invalid digit found in string")),
        (
            format!("/{process}?limit=2147483648"),
            400,
            Body::Text("Query deserialize error: number too large to fit in target type"),
        ),
        (format!("/{process}?limit=0"), 400, Body::Json("at least 1")),
        (format!("/{process}?limit=-1"), 400, Body::Json("at least 1")),
        (format!("/{process}?from=x"), 400, Body::Json("from is \"x\"")),
        (format!("/{process}?to=1e3"), 400, Body::Json("to is \"1e3\"")),
        (format!("/{process}?from-nonce=x"), 400, Body::Json("from-nonce")),
        (format!("/{process}?to-nonce=x"), 400, Body::Json("to-nonce")),
        (format!("/{process}?limit=1&limit=2"), 400, Body::Text("Query deserialize error: duplicate field `limit`")),
        (format!("/processes/{ID}"), 400, Body::Json("NotFound(\"Process not found\")")),
        ("/processes/x".into(), 400, Body::Json("NotFound(\"Process not found\")")),
        (format!("/{ID}/latest"), 400, Body::Json("NotFound(\"Process not found\")")),
        ("/a/b/c".into(), 404, Body::Empty),
        (format!("/{process}/first"), 404, Body::Empty),
        ("/processes".into(), 400, Body::Json("Message or Process not found")),
    ];
    for (path, status, expected) in cases {
        check(&path, network.su.get(&path).await, status, &expected).await;
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_method_on_a_known_path_is_not_found() {
    let network = Network::start().await;
    for (method, path) in [
        ("PUT", "/"),
        ("DELETE", "/"),
        ("POST", "/timestamp"),
        ("POST", "/health"),
        ("POST", "/metrics"),
        ("POST", "/processes/x"),
        ("PUT", "/x/latest"),
        ("POST", "/x"),
    ] {
        let request = network.su.client.request(method.parse().unwrap(), format!("{}{path}", network.su.url));
        check(&format!("{method} {path}"), request.send().await.unwrap(), 404, &Body::Empty).await;
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_are_refused_when_configured_but_not_from_exempt_signers() {
    let exempt = Signer::generate_ed25519().unwrap();
    let messenger = Signer::generate_ed25519().unwrap();
    let limit = holon_su::check::SizeLimit {
        bytes: 2_000,
        owners: vec![exempt.address().to_string()],
        from_owners: vec![messenger.address().to_string()],
        from: vec!["big".into()],
    };
    let network = Network::start_with(|options| options.message_size = Some(limit)).await;
    let process = network.spawn_tagged(&[("Long", &"x".repeat(2_500))]).await;
    let data = "x".repeat(3_000);
    network.su.schedule(&message(&exempt, process, &[], &data)).await;
    network.su.schedule(&message(&messenger, process, &[("From-Process", "big")], &data)).await;
    for item in
        [message(&network.user, process, &[], &data), message(&messenger, process, &[("From-Process", "small")], &data)]
    {
        let answer = network.su.post("", item.raw().clone()).await;
        check("large", answer, 400, &Body::Json("Message size exceeds maximum of 2000 bytes")).await;
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_wait_out_the_warm_up_and_reads_do_not() {
    let network = Network::start_with(|options| options.warmup = std::time::Duration::from_secs(600)).await;
    let answer = network.su.post("", network.process(&[]).raw().clone()).await;
    check("warm-up", answer, 503, &Body::Json("Server is warming up. Please try again later.")).await;
    assert_eq!(network.su.get("/").await.status(), 200);
    network.stop().await;
}
