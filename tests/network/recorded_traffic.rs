//! Requests recorded from unmodified clients (`vectors/client-traffic.json`), sent again with our ids and signatures.

use std::time::{Duration, Instant};

use holon_protocol::{DataItem, ItemId, ProcessId, Signer};
use holon_tests::network::{Network, Ready};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::speaking::{PATIENCE, at, client, get, json, message, post_item};

const TRAFFIC: &str = include_str!("../vectors/client-traffic.json");

/// What stands for the recorder's placeholders.
struct Cast {
    ready: Ready,
    process: ProcessId,
    module: String,
    message: ItemId,
    wallet: Signer,
}

impl Cast {
    async fn new(client: &Client, ready: Ready) -> Self {
        let wallet = Signer::generate_rsa().unwrap();
        let process: ProcessId = ready.counter_process.parse().unwrap();
        let record = get(client, &at(&ready.su_url, &format!("/processes/{process}"))).await;
        let tags = record["tags"].as_array().unwrap();
        let module = tags.iter().find(|tag| tag["name"] == "Module").unwrap()["value"].as_str().unwrap().to_owned();
        let item = message(process, "Increment", "1", &wallet);
        let (status, text) = post_item(client, &ready.mu_url, &item).await.unwrap();
        assert!(status.is_success(), "{status}: {text}");
        Self { ready, process, module, message: item.id(), wallet }
    }

    /// Another message, because a scheduler does not take the content of one assignment twice (spec 02 §3.3), and looks for it on
    /// the gateway, where it arrives a moment after it was scheduled.
    async fn next_message(&mut self, client: &Client, number: usize) {
        let item = message(self.process, "Increment", &number.to_string(), &self.wallet);
        let (status, text) = post_item(client, &self.ready.mu_url, &item).await.unwrap();
        assert!(status.is_success(), "{status}: {text}");
        self.message = item.id();
        let url = at(&self.ready.gateway_url, &format!("/{}", item.id()));
        let end = Instant::now() + PATIENCE;
        while !client.head(&url).send().await.unwrap().status().is_success() {
            assert!(Instant::now() < end, "{url} did not arrive");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A recorded text with the placeholders filled in.
    fn fill(&self, text: &str) -> String {
        let (process, message) = (self.process.to_string(), self.message.to_string());
        let mut text = text.to_owned();
        for (letter, value) in [
            ('P', &process),
            ('G', &message),
            ('M', &self.module),
            ('Z', &self.module),
            ('S', &self.ready.scheduler),
            ('A', &self.ready.authority),
        ] {
            let repeated = letter.to_string().repeat(43);
            let canonical = format!("{}M", letter.to_string().repeat(42));
            text = text.replace(&repeated, value).replace(&canonical, value);
        }
        for (name, value) in [
            ("<PROCESS>", &process),
            ("<MESSAGE>", &message),
            ("<ID>", &process),
            ("<SCHEDULER>", &self.ready.scheduler),
            ("SCHEDX", &self.ready.scheduler),
            ("MUADDR", &self.ready.authority),
            ("Do_Uc2Sju_ffp6Ev0AnLVdPtot15rvMjP-a9VVaA5fM", &self.module),
            ("_GQ33BkPtZrqxA84vM8Zk-N2aO0toNNu_C-l-rawrBA", &self.ready.scheduler),
            ("from=<URL-ENCODED LAST CURSOR>", &"from=0".to_owned()),
            ("from=curA&to=curB", &"from=0&to=99999999999999".to_owned()),
        ] {
            text = text.replace(name, value);
        }
        text
    }

    fn sign(&self, item: &Value) -> DataItem {
        let mut builder = DataItem::builder();
        match self.fill(item["target"].as_str().unwrap_or_default()).as_str() {
            "" => {}
            target => builder = builder.target(target.parse::<ItemId>().unwrap()),
        }
        match item["anchorHex"].as_str().unwrap_or_default() {
            "" => {}
            hex => {
                let digits = |at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
                builder = builder.anchor(std::array::from_fn(digits));
            }
        }
        for tag in item["tags"].as_array().into_iter().flatten() {
            builder = builder.tag(tag[0].as_str().unwrap(), self.fill(tag[1].as_str().unwrap()));
        }
        builder.data(item["data"].as_str().unwrap_or_default().to_owned()).sign(&self.wallet).unwrap()
    }

    fn unit(&self, name: &str) -> Option<&str> {
        match name {
            "mu" => Some(&self.ready.mu_url),
            "cu" => Some(&self.ready.cu_url),
            "su" => Some(&self.ready.su_url),
            "gateway" => Some(&self.ready.gateway_url),
            // Not part of a local network: a HyperBEAM node, and the public network's router.
            "hb" | "public router" => None,
            other => panic!("the recording names an unknown unit {other}"),
        }
    }
}

/// The queries behind the recorded operation names, as the clients print them (spec 07 §6).
fn query(operation: Option<&str>) -> &'static str {
    match operation {
        Some("GetTransactions") => {
            "query GetTransactions ($transactionIds: [ID!]!) {
              transactions(ids: $transactionIds) {
                edges { node { owner { address } tags { name value } block { id height timestamp } } }
              }
            }"
        }
        Some("GetSchedulerLocation") => {
            "query GetSchedulerLocation ($owner: String!) {
              transactions (
                owners: [$owner]
                tags: [
                  { name: \"Data-Protocol\", values: [\"ao\"] },
                  { name: \"Type\", values: [\"Scheduler-Location\"] }
                ]
                # Only need the most recent Scheduler-Location
                sort: HEIGHT_DESC
                first: 1
              ) { edges { node { tags { name value } } } }
            }"
        }
        None => {
            "query ($owners: [String!]!) {
              transactions(first: 10, owners: $owners, tags: [
                { name: \"Data-Protocol\", values: [\"ao\"] }, { name: \"Type\", values: [\"Process\"] }, { name: \"Name\", values: [\"pcron\"] }
              ]) { edges { node { id tags { name value } } } }
            }"
        }
        Some(other) => panic!("no query is known for the recorded operation {other}"),
    }
}

/// What the clients need of an answer.
fn check(request: &str, unit: &str, path: &str, status: StatusCode, answer: &Value, item: Option<&DataItem>) {
    let needs = |condition: bool, what: &str| assert!(condition, "{request}: {what}; got {status} {answer}");
    match (unit, path.split(['?', '/']).nth(1).unwrap_or_default()) {
        // A scheduler goes by the first tag named `Type` (spec 02 §2), so this one is refused, in words.
        ("mu", "") if item.is_some_and(|item| !matches!(item.tags().get("Type"), Some("Message" | "Process"))) => {
            needs(!status.is_success() && answer["error"].is_string(), "a refusal in words");
        }
        ("mu", "") => {
            needs(status.is_success(), "2xx");
            needs(answer["id"].as_str().is_some_and(|id| id.len() == 43), "an id of 43 characters");
            if let Some(item) = item {
                needs(answer["id"] == item.id().to_string(), "the item's own id");
            }
        }
        ("mu", "monitor") => needs(status.is_success(), "2xx"),
        ("cu", "result" | "dry-run") => {
            needs(status.is_success(), "2xx");
            for member in ["Messages", "Spawns", "Assignments"] {
                needs(answer[member].is_array(), &format!("an array {member}"));
            }
            needs(answer.get("Output").is_some(), "an Output");
            needs(answer["GasUsed"].is_number(), "a number GasUsed");
        }
        ("cu", "results") => {
            needs(status.is_success(), "2xx");
            needs(answer["pageInfo"]["hasNextPage"].is_boolean(), "pageInfo.hasNextPage");
            let edges = answer["edges"].as_array();
            needs(edges.is_some_and(|edges| !edges.is_empty()), "edges");
            for edge in edges.into_iter().flatten() {
                needs(edge["cursor"].is_string() && edge["node"].is_object(), "a cursor and a node in every edge");
            }
        }
        ("su", _) => {
            needs(status.is_success(), "2xx");
            let tags = answer["assignment"]["tags"].as_array();
            needs(tags.is_some_and(|tags| tags.iter().any(|tag| tag["name"] == "Nonce")), "a Nonce in assignment.tags");
        }
        ("gateway", "graphql") => {
            needs(status == StatusCode::OK, "200");
            needs(answer["data"]["transactions"]["edges"].is_array(), "data.transactions.edges");
            needs(answer.get("errors").is_none(), "no errors");
        }
        ("gateway", _) => {}
        other => panic!("no rule for {other:?}"),
    }
}

#[tokio::test]
async fn every_recorded_request_gets_what_its_client_needs() {
    let network = Network::start().unwrap();
    let client = client();
    let mut cast = Cast::new(&client, network.ready().clone()).await;
    let traffic: Value = serde_json::from_str(TRAFFIC).unwrap();
    let mut sent = 0;
    for example in traffic["examples"].as_array().unwrap() {
        for request in example["requests"].as_array().unwrap() {
            let unit = request["unit"].as_str().unwrap();
            let recorded_path = request["path"].as_str().unwrap();
            if recorded_path.contains("&assign=") {
                cast.next_message(&client, sent).await;
            }
            let Some(url) = cast.unit(unit) else { continue };
            let method: Method = request["method"].as_str().unwrap().parse().unwrap();
            let body = &request["body"];
            let mut path = cast.fill(recorded_path);
            if unit == "mu" && path.contains("&base-layer") {
                // There is no confirmed layer one transaction to assign here; the parameters are understood all the same.
                path = path.replace("&base-layer", "");
            }
            let name = format!(
                "{} / {}: {method} {path}",
                example["client"].as_str().unwrap(),
                example["call"].as_str().unwrap()
            );
            let mut item = None;
            let mut builder = client.request(method, at(url, &path));
            for (header, value) in request["headers"].as_object().into_iter().flatten() {
                builder = builder.header(header, value.as_str().unwrap());
            }
            builder = match body["kind"].as_str().unwrap() {
                "ans104" => {
                    let signed = if body["item"].is_object() {
                        cast.sign(&body["item"])
                    } else {
                        message(cast.process, "Increment", "1", &cast.wallet)
                    };
                    let raw = signed.raw().clone();
                    item = Some(signed);
                    builder.body(raw)
                }
                "graphql" => {
                    let variables: Value = serde_json::from_str(&cast.fill(&body["variables"].to_string())).unwrap();
                    let text = json!({"query": query(body["operation"].as_str()), "variables": variables}).to_string();
                    builder.header("content-type", "application/json").body(text)
                }
                "json" if body["value"].is_object() => {
                    let text = cast.fill(&body["value"].to_string());
                    builder.header("content-type", "application/json").body(text)
                }
                // Layer one transactions have tests of their own.
                "json" => continue,
                "empty" => builder,
                other => panic!("{name}: unknown kind of body {other}"),
            };
            if path.starts_with("/none") {
                // An update check: anything but 2xx tells the console that there is nothing new (spec 07 §10).
                assert!(!builder.send().await.unwrap().status().is_success(), "{name}");
                sent += 1;
                continue;
            }
            let answer = builder.send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            check(&name, unit, &path, status, &value, item.as_ref());
            sent += 1;
        }
    }
    assert!(sent >= 25, "only {sent} requests of the recording were sent");
}

/// Answers of the messenger unit that differ from the recorded ones on purpose (spec 04 §16): the status says whose fault it
/// is, and monitoring is idempotent.
#[tokio::test]
async fn the_messenger_answers_as_recorded_but_with_honest_statuses() {
    let network = Network::start().unwrap();
    let client = client();
    let cast = Cast::new(&client, network.ready().clone()).await;
    let mu = &cast.ready.mu_url;
    let process = cast.process;
    let entries = async || {
        let page = get(&client, &at(&cast.ready.su_url, &format!("/{process}?process-id={process}"))).await;
        page["edges"].as_array().unwrap().len()
    };
    let before = entries().await;
    let nobody = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    let item = |tags: &[(&str, &str)]| {
        let mut builder = DataItem::builder().target(process);
        for (name, value) in tags {
            builder = builder.tag(*name, *value);
        }
        builder.data("x").sign(&cast.wallet).unwrap().raw().to_vec()
    };
    let mut tampered = item(&[("Data-Protocol", "ao"), ("Type", "Message")]);
    *tampered.last_mut().unwrap() ^= 1;
    let spawn = |tags: &[(&str, &str)]| {
        let mut builder =
            DataItem::builder().tag("Data-Protocol", "ao").tag("Type", "Process").tag("Module", &cast.module);
        for (name, value) in tags {
            builder = builder.tag(*name, *value);
        }
        builder.sign(&cast.wallet).unwrap().raw().to_vec()
    };
    for (what, method, path, body, expected) in [
        ("half an assignment", Method::POST, format!("/?process-id={process}"), vec![], 400..401),
        ("half an assignment", Method::POST, format!("/?assign={nobody}"), vec![], 400..401),
        ("an assignment of nothing", Method::POST, format!("/?process-id={process}&assign={nobody}"), vec![], 400..503),
        ("an id that is none", Method::POST, format!("/?process-id={process}&assign=../x"), vec![], 400..401),
        ("an empty body", Method::POST, "/".to_owned(), vec![], 400..401),
        ("garbage", Method::POST, "/".to_owned(), b"garbage".to_vec(), 400..401),
        ("a tampered item", Method::POST, "/".to_owned(), tampered, 400..401),
        ("no protocol", Method::POST, "/".to_owned(), item(&[("Type", "Message")]), 400..401),
        ("no type", Method::POST, "/".to_owned(), item(&[("Data-Protocol", "ao")]), 400..401),
        ("a wrong type", Method::POST, "/".to_owned(), item(&[("Data-Protocol", "ao"), ("Type", "Module")]), 400..401),
        ("no scheduler", Method::POST, "/".to_owned(), spawn(&[]), 400..401),
        ("an unknown scheduler", Method::POST, "/".to_owned(), spawn(&[("Scheduler", nobody)]), 404..405),
        ("too much", Method::POST, "/".to_owned(), vec![0; 10 * 1024 * 1024 + 1], 413..414),
        ("monitoring garbage", Method::POST, format!("/monitor/{process}"), b"x".to_vec(), 400..401),
        ("a number that is none", Method::POST, format!("/push/{nobody}/abc?process-id={process}"), vec![], 400..401),
        (
            "two kinds of trace",
            Method::GET,
            format!("/?debug=1&process={process}&message=a&assign=b"),
            vec![],
            422..423,
        ),
        ("no such route", Method::GET, "/no/such/route".to_owned(), vec![], 404..405),
    ] {
        let answer = client
            .request(method, at(mu, &path))
            .header("content-type", "application/octet-stream")
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(expected.contains(&status.as_u16()), "{what}: {status} {text}");
        if status != StatusCode::PAYLOAD_TOO_LARGE && !path.starts_with("/no/") {
            let value: Value =
                serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: {status} without JSON: {text}"));
            assert!(value["error"].is_string(), "{what}: {status} {value}");
        }
    }
    assert_eq!(client.get(at(mu, "/")).send().await.unwrap().text().await.unwrap(), "ao messenger unit");

    let monitor = DataItem::builder().target(process).data(" ").sign(&cast.wallet).unwrap();
    for (method, expected) in [(Method::POST, 200), (Method::POST, 200), (Method::DELETE, 200), (Method::DELETE, 404)] {
        let url = at(mu, &format!("/monitor/{process}"));
        let answer = client.request(method.clone(), url).body(monitor.raw().clone()).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{method}");
    }
    // None of it reached the log.
    assert_eq!(entries().await, before);
    let latest = client.get(at(&cast.ready.su_url, &format!("/{process}/latest"))).send().await.unwrap();
    assert_eq!(json(latest).await["message"]["id"], cast.message.to_string());
}
