//! Every route that a unit's `GET /openapi.json` names is asked, and answers as it is described. That no other routes exist
//! follows from how they are registered (`holon_unit::routes`).

use std::collections::BTreeSet;

use holon_protocol::{DataItem, ProcessId, Signer};
use holon_tests::network::Network;
use holon_unit::routes::schema;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::speaking;

/// A request: its operation as the description names it, what is asked, and the status that is expected.
struct Ask {
    operation: &'static str,
    path: String,
    body: Body,
    status: u16,
}

enum Body {
    Empty,
    Item(DataItem),
    Json(Value),
}

fn ask(operation: &'static str, path: impl Into<String>, status: u16) -> Ask {
    Ask { operation, path: path.into(), body: Body::Empty, status }
}

impl Ask {
    fn item(self, item: DataItem) -> Self {
        Self { body: Body::Item(item), ..self }
    }

    fn json(self, value: Value) -> Self {
        Self { body: Body::Json(value), ..self }
    }
}

#[tokio::test]
async fn units_answer_as_their_descriptions_say() {
    let network = Network::start().unwrap();
    let ready = network.ready().clone();
    let signer = Signer::generate_ed25519().unwrap();
    let process: ProcessId = ready.counter_process.parse().unwrap();
    let message = |data: &str| speaking::message(process, "Increment", data, &signer);

    let pushed = message("2");
    let unknown = "A".repeat(43);
    let explorer = || {
        [
            ask("get /openapi.json", "/openapi.json", 200),
            ask("get /explorer", "/explorer", 308),
            ask("get /explorer/network.json", "/explorer/network.json", 200),
            ask("get /explorer/{path}", "/explorer/app.js", 200),
            ask("head /openapi.json", "/openapi.json", 200),
            ask("head /explorer", "/explorer", 308),
            ask("head /explorer/network.json", "/explorer/network.json", 200),
            ask("head /explorer/{path}", "/explorer/", 200),
        ]
    };

    let mut messenger = vec![
        ask("get /", "/", 200),
        ask("post /", "/", 202).item(pushed.clone()),
        ask("get /health", "/health", 200),
        ask("get /metrics", "/metrics", 200),
        ask("post /monitor/{process}", format!("/monitor/{process}"), 200).item(message("3")),
        ask("delete /monitor/{process}", format!("/monitor/{process}"), 200).item(message("3")),
        ask("post /push/{message}/{number}", format!("/push/{}/1?process-id={process}", pushed.id()), 400),
        ask("get /trace/{message}", format!("/trace/{}", pushed.id()), 200),
        ask("get /dead-letters", "/dead-letters", 200),
        ask("post /dead-letters/{letter}/retry", "/dead-letters/1/retry", 401),
        ask("get /monitors", "/monitors", 200),
        ask("head /", "/", 200),
        ask("head /health", "/health/", 200),
        ask("head /metrics", "/metrics", 200),
        ask("head /trace/{message}", format!("/trace/{}", pushed.id()), 200),
        ask("head /dead-letters", "/dead-letters", 200),
        ask("head /monitors", "/monitors/", 200),
    ];
    messenger.extend(explorer());
    follow(&ready.mu_url, messenger).await;

    let item = message("4");
    let mut scheduler = vec![
        ask("get /", "/", 200),
        ask("post /", "/", 200).item(item.clone()),
        ask("get /timestamp", "/timestamp", 200),
        ask("get /health", "/health", 200),
        ask("get /metrics", "/metrics", 200),
        ask("get /processes/{process_id}", format!("/processes/{process}"), 200),
        ask("get /events", "/events", 200),
        ask("get /{process_id}/latest", format!("/{process}/latest"), 200),
        ask("get /{tx_id}", format!("/{process}?limit=2"), 200),
        ask("get /{tx_id}", format!("/{}?process-id={process}", item.id()), 200),
        ask("get /{tx_id}", format!("/{unknown}"), 400),
    ];
    scheduler.extend(explorer());
    follow(&ready.su_url, scheduler).await;

    let mut compute = vec![
        ask("get /", "/", 200),
        ask("get /health", "/health", 200),
        ask("get /metrics", "/metrics", 200),
        ask("get /result/{message}", format!("/result/{}?process-id={process}", item.id()), 200),
        ask("get /result/{message}", format!("/result/{}", item.id()), 400),
        ask("get /results/{process}", format!("/results/{process}?limit=3&sort=DESC"), 200),
        ask("get /events/{process}", format!("/events/{process}"), 200),
        ask("get /cron/{process}", format!("/cron/{process}"), 200),
        ask("get /state/{process}", format!("/state/{process}"), 200),
        ask("get /state/{process}", format!("/state/{process}?slot=1000"), 404),
        ask("get /root/{process}", format!("/root/{process}?slot=1"), 200),
        ask("post /dry-run", format!("/dry-run?process-id={process}"), 200)
            .json(json!({ "Tags": [{ "name": "Action", "value": "Get" }], "Owner": unknown, "Target": process })),
        ask("get /parked", "/parked", 200),
        ask("post /resume/{process}", format!("/resume/{process}"), 401),
        ask("head /", "/", 200),
        ask("head /health", "/health/", 200),
        ask("head /metrics", "/metrics", 200),
        ask("head /result/{message}", format!("/result/{}/?process-id={process}", item.id()), 200),
        ask("head /results/{process}", format!("/results/{process}"), 200),
        ask("head /events/{process}", format!("/events/{process}?from=0"), 200),
        ask("head /cron/{process}", format!("/cron/{process}"), 200),
        ask("head /state/{process}", format!("/state/{process}"), 200),
        ask("head /root/{process}", format!("/root/{process}?slot=1"), 200),
        ask("head /parked", "/parked", 200),
    ];
    compute.extend(explorer());
    follow(&ready.cu_url, compute).await;

    let module = item.id();
    let get = |template: &'static str, path: &str, status: u16| {
        let (get, head) = (format!("get {template}").leak(), format!("head {template}").leak());
        [ask(get, path, status), ask(head, path, status)]
    };
    let query = "/graphql?query=%7Bblocks(first:1)%7Bedges%7Bcursor%7D%7D%7D";
    let tx = |field: &str| format!("/tx/{unknown}{field}");
    let mut gateway: Vec<Ask> = [
        get("/", "/", 200),
        get("/info", "/info", 200),
        get("/peers", "/peers", 200),
        get("/height", "/height", 200),
        get("/time", "/time", 200),
        get("/tx_anchor", "/tx_anchor", 200),
        get("/mine", "/mine", 200),
        get("/mine/{count}", "/mine/2", 200),
        get("/health", "/health", 200),
        get("/metrics", "/metrics", 200),
        get("/graphql", query, 200),
        get("/wallet/{address}/balance", &format!("/wallet/{unknown}/balance"), 200),
        get("/wallet/{address}/last_tx", &format!("/wallet/{unknown}/last_tx"), 200),
        get("/mint/{address}/{winston}", &format!("/mint/{unknown}/5"), 200),
        get("/price/{bytes}", "/price/5", 200),
        get("/price/{first}/{second}", "/price/matic/5", 200),
        get("/account/balance", &format!("/account/balance?address={unknown}"), 200),
        get("/account/balance/{address}", &format!("/account/balance/{unknown}"), 200),
        get("/tx/pending", "/tx/pending", 200),
        get("/tx/{id}/status", &format!("/tx/{}/status", ready.counter_process), 200),
        get("/tx/{id}", &tx(""), 404),
        get("/tx/{id}/offset", &tx("/offset"), 404),
        get("/tx/{id}/data", &tx("/data"), 404),
        get("/tx/{id}/data.{extension}", "/tx/x/data.html", 400),
        get("/tx/{id}/{field}", "/tx/x/owner", 400),
        get("/unconfirmed_tx/{id}", "/unconfirmed_tx/x", 400),
        get("/chunk/{offset}", "/chunk/x", 400),
        get("/block/current", "/block/current", 200),
        get("/current_block", "/current_block", 200),
        get("/block/height/{height}", "/block/height/1500000", 200),
        get("/block/hash/{hash}", "/block/hash/x", 400),
        get("/raw/{id}", &format!("/raw/{process}"), 200),
        get("/{id}", &format!("/{process}"), 200),
        get("/{id}/{path}", &format!("/{unknown}/index.html"), 404),
    ]
    .into_iter()
    .flatten()
    .collect();
    gateway.extend([
        ask("post /", "/", 200).json(json!({ "query": "{blocks(first:1){edges{cursor}}}" })),
        ask("post /graphql", "/graphql", 400).json(json!({ "query": "{" })),
        ask("post /wallet", "/wallet", 200).json(json!({ "address": unknown, "balance": 5 })),
        ask("patch /wallet/{address}/balance", format!("/wallet/{unknown}/balance"), 200)
            .json(json!({ "balance": "7" })),
        ask("post /tx", "/tx", 400).json(json!({})),
        ask("post /tx/{id}", "/tx/matic", 200).item(item.clone()),
        ask("post /v1/tx", "/v1/tx", 200).item(item.clone()),
        ask("post /v1/tx/{token}", "/v1/tx/matic", 200).item(item),
        ask("post /chunk", "/chunk", 400).json(json!({})),
        ask("get /raw/{id}", format!("/raw/{module}"), 200),
    ]);
    gateway.extend(explorer());
    // It forgets everything, so it comes last.
    gateway.extend(get("/reset", "/reset", 200));
    follow(&ready.gateway_url, gateway).await;
}

/// Asks all of it, in order.
async fn follow(url: &str, asks: Vec<Ask>) {
    let client = speaking::client();
    let description = speaking::get(&client, &format!("{url}/openapi.json")).await;
    let title = &description["info"]["title"];
    assert_eq!(description["openapi"], "3.1.0");
    let paths = description["paths"].as_object().unwrap();
    let named: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    let asked: BTreeSet<String> = asks.iter().map(|ask| ask.operation.to_owned()).collect();
    assert_eq!(asked, named, "{title}: a request for every operation, and for no other");

    let mut wrong = Vec::new();
    for Ask { operation, path, body, status } in asks {
        let (method, template) = operation.split_once(' ').unwrap();
        let request = client.request(method.to_uppercase().parse().unwrap(), format!("{url}{path}"));
        let request = match body {
            Body::Empty => request,
            Body::Item(item) => request.header(CONTENT_TYPE, "application/octet-stream").body(item.raw().clone()),
            Body::Json(value) => request.json(&value),
        };
        let answer = request.send().await.unwrap();
        let found = answer.status().as_u16();
        let media = answer.headers().get(CONTENT_TYPE).map(|media| media.to_str().unwrap().to_owned());
        // A stream of events does not end.
        let streams = media.as_deref().is_some_and(|media| media.starts_with("text/event-stream"));
        let body = if streams { Default::default() } else { answer.bytes().await.unwrap() };
        let described = &description["paths"][template][method]["responses"][found.to_string()];
        let mismatch = if found != status {
            Some(format!("{status} was expected"))
        } else if described.is_null() {
            Some("this status is not described".into())
        } else if method == "head" {
            None
        } else {
            not_as_described(&described["content"], media.as_deref().unwrap_or_default(), &body)
        };
        let text = String::from_utf8_lossy(&body[..body.len().min(300)]);
        wrong.extend(mismatch.map(|reason| format!("{method} {path} gave {found} {text:?}: {reason}")));
    }
    assert!(wrong.is_empty(), "{title}:\n{}", wrong.join("\n"));
}

/// Why a body is none of those that are described.
fn not_as_described(content: &Value, media: &str, body: &[u8]) -> Option<String> {
    let Some(forms) = content.as_object() else {
        return (!body.is_empty()).then(|| "no body is described".into());
    };
    let essence = media.split(';').next().unwrap_or_default();
    // Files have the type that whoever uploaded them gave them.
    let file = ["text/html", "application/octet-stream"].iter().any(|file| forms.contains_key(*file));
    match forms.get(essence) {
        None => (!file).then(|| format!("{media:?} is none of {:?}", forms.keys())),
        Some(form) if essence == "application/json" => {
            schema::mismatch(&form["schema"], &serde_json::from_slice(body).unwrap())
        }
        Some(_) => None,
    }
}
