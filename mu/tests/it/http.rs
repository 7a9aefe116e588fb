//! The routes over HTTP: what they answer, and that bad input changes nothing (spec 04 §1 to §5, §16).

use holon_protocol::{DataItem, ItemId, ProcessId};
use reqwest::Method;
use serde_json::{Value, json};

use crate::network::{Network, SCHEDULER, empty, eventually, get, idle, post, request};
use crate::peer::Answer;

const P: ProcessId = ProcessId::from_bytes([1; 32]);

fn error(text: &str) -> impl Fn(&Value) -> bool {
    let text = text.to_owned();
    move |body| body["error"].as_str().is_some_and(|error| error.contains(&text))
}

#[tokio::test]
async fn bad_input_gets_its_status_and_changes_nothing() {
    let network = Network::start();
    network.process(1);
    let messenger = network.messenger().await;
    let client = &network.client;
    let item = |tags: &[(&str, &str)], target: Option<ProcessId>| {
        let mut item = DataItem::builder().data("x".as_bytes().to_vec());
        for (name, value) in tags {
            item = item.tag(*name, *value);
        }
        if let Some(target) = target {
            item = item.target(target);
        }
        item.sign(client).unwrap().raw().to_vec()
    };
    let good = network.message(P, "hello").raw().to_vec();
    let mut tampered = good.clone();
    *tampered.last_mut().unwrap() ^= 1;
    let unknown = ProcessId::from_bytes([99; 32]);
    let scheduler = SCHEDULER.to_string();
    let stranger = ItemId::from_bytes([98; 32]).to_string();
    let ao = ("Data-Protocol", "ao");
    let not_an_item = "'body': A valid and signed data item must be provided as the body.";
    let large = vec![0; holon_mu::MAX_ITEM_BYTES + 1];
    let monitor = |target| item(&[], Some(target));
    let both = "You must set both process-id and assign to send an assignment, not just one";
    let id = P.to_string();
    let push = format!("/push/{id}");
    let table: Vec<(Method, String, Vec<u8>, u16, &str)> = vec![
        (Method::POST, "/".into(), vec![], 400, not_an_item),
        (Method::POST, "/".into(), b"garbage".to_vec(), 400, not_an_item),
        (Method::POST, "/".into(), tampered.clone(), 400, not_an_item),
        (Method::POST, "/".into(), good[..good.len() - 40].to_vec(), 400, not_an_item),
        (Method::POST, "/".into(), large.clone(), 413, "larger than"),
        (
            Method::POST,
            "/".into(),
            item(&[("Type", "Message")], Some(P)),
            400,
            "Tag 'Data-Protocol': must contain 'ao'",
        ),
        (Method::POST, "/".into(), item(&[ao], Some(P)), 400, "Tag 'Type': must be either 'Process' or 'Message'"),
        (Method::POST, "/".into(), item(&[ao, ("Type", "Module")], Some(P)), 400, "Tag 'Type'"),
        (Method::POST, "/".into(), item(&[ao, ("type", "Process"), ("Type", "Message")], Some(P)), 400, "Tag 'Type'"),
        (Method::POST, "/".into(), item(&[ao, ("type", "x"), ("Type", "Message")], Some(P)), 400, "Tag 'Type'"),
        (Method::POST, "/".into(), item(&[ao, ("Type", "x"), ("Type", "Message")], Some(P)), 400, "Tag 'Type'"),
        (Method::POST, "/".into(), item(&[ao, ("Type", "Message")], None), 400, "target"),
        (Method::POST, "/".into(), item(&[ao, ("Type", "Message")], Some(unknown)), 404, "was not found"),
        (
            Method::POST,
            "/".into(),
            item(&[ao, ("Type", "Process")], None),
            400,
            "No Scheduler tag found on 'Process' DataItem",
        ),
        (Method::POST, "/".into(), item(&[ao, ("Type", "Process"), ("Scheduler", "x")], None), 400, "Tag 'Scheduler'"),
        (
            Method::POST,
            "/".into(),
            item(&[ao, ("Type", "Process"), ("Scheduler", &stranger)], None),
            404,
            "Scheduler-Location",
        ),
        (Method::POST, format!("/?process-id={id}"), vec![], 400, both),
        (Method::POST, format!("/?assign={id}"), vec![], 400, both),
        (Method::POST, format!("/?process-id={id}&assign="), good.clone(), 400, both),
        (Method::POST, format!("/?process-id={id}&assign=short"), vec![], 400, "assign"),
        (Method::POST, format!("/?process-id=..%2F..&assign={id}"), vec![], 400, "process-id"),
        (Method::POST, format!("/?process-id={id}&assign={id}&exclude=a%26b"), vec![], 400, "exclude"),
        (Method::POST, format!("/?process-id={unknown}&assign={id}"), vec![], 404, "was not found"),
        (Method::POST, format!("/?process-id={id}&assign={id}"), vec![], 400, "cannot be assigned to itself"),
        (
            Method::POST,
            format!("/?process-id={id}&assign={id}&base-layer"),
            vec![],
            400,
            "cannot be assigned to itself",
        ),
        (Method::POST, format!("/monitor/{id}"), vec![], 400, not_an_item),
        (Method::POST, format!("/monitor/{id}"), tampered, 400, not_an_item),
        (Method::POST, format!("/monitor/{id}"), monitor(unknown), 400, "target"),
        (Method::POST, format!("/monitor/{id}"), item(&[], None), 400, "target"),
        (Method::POST, "/monitor/short".into(), monitor(P), 400, "43 base64url characters"),
        (Method::POST, format!("/monitor/{unknown}"), monitor(unknown), 404, "was not found"),
        (Method::POST, format!("/monitor/{id}"), large, 413, "larger than"),
        (Method::DELETE, format!("/monitor/{id}"), b"x".to_vec(), 400, not_an_item),
        (Method::DELETE, format!("/monitor/{id}"), monitor(P), 404, "Process monitor not found"),
        (Method::POST, format!("{push}/abc?process-id={id}"), vec![], 400, "'number' parameter must be a valid number"),
        (Method::POST, format!("{push}/-1?process-id={id}"), vec![], 400, "'number'"),
        (Method::POST, format!("{push}/0"), vec![], 400, "process-id"),
        (Method::POST, format!("/push/x/0?process-id={id}"), vec![], 400, "43 base64url characters"),
        (Method::POST, format!("{push}/0?process-id={id}"), vec![], 403, "Push is disabled"),
        (Method::GET, "/?debug=1".into(), vec![], 400, "'process': Process ID is required."),
        (Method::GET, format!("/?debug=1&process={id}&message=a&assign=b"), vec![], 422, "Only one of message, assign"),
        (Method::GET, "/nowhere".into(), vec![], 404, "no such route"),
        (Method::PUT, "/".into(), vec![], 405, "does not take this method"),
        (Method::GET, format!("/monitor/{id}"), vec![], 405, "does not take this method"),
        (Method::DELETE, format!("{push}/0"), vec![], 405, "does not take this method"),
        (Method::POST, "/push-result/a/0".into(), vec![], 404, "no such route"),
    ];
    for (method, path, body, status, text) in table {
        let (found, answer) = request(&messenger, method.clone(), &path, body).await;
        assert_eq!(found, status, "{method} {path}: {answer}");
        assert!(error(text)(&answer), "{method} {path}: {answer} does not say {text:?}");
    }
    // A path that ends with a slash is the same path.
    let (status, answer) = request(&messenger, Method::DELETE, &format!("/monitor/{id}/"), monitor(P)).await;
    assert!(status == 404 && error("Process monitor not found")(&answer), "{status} {answer}");
    assert_eq!(network.log(P).len(), 0, "nothing was scheduled");
    assert_eq!(network.scheduler.asked("POST", "/").len(), 0, "nothing was even sent");
    assert_eq!(messenger.queued(), 0);
    assert_eq!(scheduler, SCHEDULER.to_string());

    // The unit still works.
    let (status, _) = post(&messenger, "/", good).await;
    assert_eq!(status, 202);
    idle(&messenger).await;
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn reads_answer_as_the_reference_does() {
    let network = Network::start();
    let messenger = network.messenger().await;
    let (status, body) = request(&messenger, Method::GET, "/", "").await;
    assert_eq!((status, body), (200, json!("ao messenger unit")));
    assert_eq!(request(&messenger, Method::GET, "//", "").await.0, 200);
    assert_eq!(request(&messenger, Method::GET, "/health", "").await.0, 200);
    let (status, body) = request(&messenger, Method::GET, "/metrics", "").await;
    assert!(status == 200 && body.as_str().unwrap().contains("ao_mu_queue_size"), "{body}");
    let (status, body) = request(&messenger, Method::GET, &format!("/?debug=1&process={P}"), "").await;
    assert_eq!((status, body), (200, json!({ "pageInfo": { "hasNextPage": false }, "edges": [] })));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let preflight = http
        .request(Method::OPTIONS, format!("{}/monitor/{P}", messenger.url()))
        .header("origin", "http://localhost:3000")
        .header("access-control-request-method", "DELETE")
        .header("access-control-request-headers", "content-type");
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let headers = answer.headers();
    assert!(headers.contains_key("access-control-allow-origin"), "{headers:?}");
    assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("DELETE"));
    let send = async |method: Method, path: &str| {
        let answer = http.request(method, format!("{}{path}", messenger.url())).send().await.unwrap();
        (answer.status().as_u16(), answer.headers().clone(), answer.text().await.unwrap())
    };
    let (status, headers, body) = send(Method::OPTIONS, "/").await;
    assert_eq!((status, body.as_str()), (204, ""), "also to those who are no pages");
    assert_eq!(headers["access-control-allow-methods"], "GET,HEAD,PUT,PATCH,POST,DELETE");
    for path in ["/", "/health", "/metrics"] {
        let (status, headers, body) = send(Method::HEAD, path).await;
        assert_eq!((status, body.as_str()), (200, ""), "{path}");
        assert!(path == "/health" || headers["content-length"] != "0", "{path}: as of GET");
    }
    let (status, headers, _) = send(Method::PUT, &format!("/monitor/{P}")).await;
    assert_eq!((status, headers["allow"].to_str().unwrap()), (405, "POST, DELETE"));
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn an_item_is_forwarded_unchanged_and_answered_with_its_own_id_whatever_its_content_type() {
    let network = Network::start();
    network.process(1);
    let messenger = network.messenger().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for content_type in [Some("application/octet-stream"), Some("text/plain"), Some("application/json"), None] {
        let item = network.message(P, &format!("as {content_type:?}"));
        let mut request = http.post(messenger.url()).body(item.raw().clone());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 202);
        assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body, json!({ "message": "Processing DataItem", "id": item.id() }));
        assert_eq!(network.log(P).last().unwrap().raw(), item.raw());
    }
    let posted = network.scheduler.asked("POST", "/");
    assert!(posted.iter().all(|call| call.path == "/"));
    assert!(posted.iter().all(|call| call.content_type.as_deref() == Some("application/octet-stream")));
    idle(&messenger).await;
    let pulls = network.compute.asked("GET", "/result/");
    assert_eq!(pulls.len(), 4);
    let first = network.log(P)[0].id();
    assert_eq!(pulls[0].path, format!("/result/{first}?process-id={P}&no-busy=1"));
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_refusal_of_the_scheduler_is_shown_and_nothing_is_pushed() {
    let network = Network::start();
    network.process(1);
    let mut options = network.options();
    options.limits.retry_for_ms = 300;
    let messenger = network.messenger_with(options).await;
    for refused in [400, 413] {
        let refusal = Answer::Json(refused, json!({ "error": "not here" }));
        network.state.lock().unwrap().instead.push(("POST /", refusal));
        let (status, body) = post(&messenger, "/", network.message(P, "once").raw().clone()).await;
        assert_eq!(status, refused);
        assert!(error(&format!("Error: Error: {refused}: "))(&body) && error("not here")(&body), "{body}");
    }
    network.state.lock().unwrap().instead.push(("POST /", Answer::Json(500, json!("su down"))));
    let (status, body) = post(&messenger, "/", network.message(P, "twice").raw().clone()).await;
    assert_eq!(status, 502);
    assert!(error("Error: Error: 500: ")(&body) && error("su down")(&body), "{body}");
    idle(&messenger).await;
    assert_eq!(network.compute.asked("GET", "/result/").len(), 0);
    let dead = messenger.dead_letters(10).await.unwrap();
    assert_eq!(dead.len(), 1, "the item nobody knows the fate of");
    assert!(dead[0].reason.contains("does not have it"), "{}", dead[0].reason);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn clients_that_only_announce_a_body_keep_nobody_out() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let network = Network::start();
    network.process(1);
    let messenger = network.messenger().await;
    let address = messenger.url().trim_start_matches("http://").to_owned();
    let open = async |length: usize| {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let mut idle_clients = Vec::new();
    for _ in 0..80 {
        idle_clients.push(open(holon_mu::MAX_ITEM_BYTES).await);
    }
    assert_eq!(post(&messenger, "/", network.message(P, "hello").raw().clone()).await.0, 202);
    let mut answer = [0; 12];
    open(holon_mu::MAX_ITEM_BYTES + 1).await.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413", "before a byte of the body arrived");
    idle(&messenger).await;
    drop(idle_clients);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_scheduler_that_redirects_to_nowhere_has_had_the_item_and_is_asked_for_it() {
    let network = Network::start();
    network.process(1);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed: url::Url = format!("http://{closed}/").parse().unwrap();
    let mut options = network.options();
    options.scheduler_origins = vec![closed.clone()];
    let messenger = network.messenger_with(options).await;
    for target in [closed.as_str(), "http://169.254.169.254/"] {
        let item = network.message(P, target);
        network.state.lock().unwrap().instead.push(("POST /", Answer::Redirect(307, target.into())));
        let (status, body) = post(&messenger, "/", item.raw().clone()).await;
        assert_eq!(status, 502, "{target}: {body}");
        assert!(!error("nothing was sent")(&body), "{target}: {body}");
        let asked = || !network.scheduler.asked("GET", &format!("/{}", item.id())).is_empty();
        eventually("the scheduler is asked whether it took it", || asked().then_some(())).await;
    }
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn redirects_of_a_scheduler_are_followed_to_known_schedulers_only_and_at_most_five_times() {
    let network = Network::start();
    network.process(1);
    let other = Network::start();
    other.process(1);
    let mut options = network.options();
    options.scheduler_origins = vec![other.scheduler.url()];
    let messenger = network.messenger_with(options).await;
    let redirect =
        |status, to: String| network.state.lock().unwrap().instead.push(("POST /", Answer::Redirect(status, to)));

    redirect(307, other.scheduler.url().to_string());
    let item = network.message(P, "elsewhere");
    assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    assert_eq!(other.log(P)[0].raw(), item.raw());

    let message = item.id();
    redirect(308, format!("{}?process-id={P}&assign={message}", other.scheduler.url()));
    let (status, body) =
        post(&messenger, &format!("/?process-id={P}&assign={message}&base-layer&exclude=Data,Tags"), "").await;
    assert_eq!(status, 202, "{body}");
    assert_eq!(other.state.lock().unwrap().assignments.len(), 1);
    let asked = network.scheduler.asked("POST", "/?").pop().unwrap();
    assert_eq!(asked.path, format!("/?process-id={P}&assign={message}&base-layer&exclude=Data,Tags"));

    for _ in 0..5 {
        redirect(307, "/".into());
    }
    assert_eq!(post(&messenger, "/", network.message(P, "five").raw().clone()).await.0, 202);
    for _ in 0..6 {
        redirect(307, "/".into());
    }
    let (status, body) = post(&messenger, "/", network.message(P, "six").raw().clone()).await;
    assert!(status == 502 && error("redirects")(&body), "{status} {body}");

    for target in [
        network.compute.url().join("/x").unwrap().to_string(),
        "ftp://example.com/".into(),
        "http://169.254.169.254/".into(),
    ] {
        redirect(307, target.clone());
        let (status, body) = post(&messenger, "/", network.message(P, &target).raw().clone()).await;
        assert_eq!(status, 502, "{target}: {body}");
        assert!(error("is refused")(&body), "{target}: {body}");
        assert!(!error("://")(&body), "errors do not say where the peers are: {body}");
    }
    redirect(302, other.scheduler.url().to_string());
    let (status, body) = post(&messenger, "/", network.message(P, "302").raw().clone()).await;
    assert!(status == 502 && error("302")(&body), "{status} {body}");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_scheduler_that_takes_no_more_for_now_is_not_asked_again_and_the_client_told_to_wait() {
    let network = Network::start();
    network.process(1);
    let messenger = network.messenger().await;
    let item = network.message(P, "later");
    let message = item.id();
    for path in ["/".to_owned(), format!("/?process-id={P}&assign={message}")] {
        let limit = Answer::Json(429, json!({ "error": "slow down" }));
        network.state.lock().unwrap().instead.push(("POST /", limit));
        let url = messenger.url() + &path;
        let answer = reqwest::Client::new().post(url).body(item.raw().clone()).send().await.unwrap();
        assert_eq!(answer.status(), 429, "{path}");
        assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
        let body: Value = answer.json().await.unwrap();
        assert!(error("slow down")(&body), "{path}: {body}");
        assert_eq!(messenger.queued(), 0, "{path}: nothing is left open");
    }
    assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    idle(&messenger).await;
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_assignment_is_answered_with_the_schedulers_id_and_its_result_is_pushed() {
    let network = Network::start();
    network.process(1);
    let message = ItemId::from_bytes([42; 32]);
    let assignment = ItemId::from_bytes([100; 32]);
    let entry = json!({ "Target": P, "Anchor": "1", "Tags": [], "Data": "from the assignment" });
    let result = json!({ "Messages": [entry], "Spawns": [], "Assignments": [] });
    network.state.lock().unwrap().results.insert(assignment.to_string(), result);
    let messenger = network.messenger().await;
    let (status, body) = post(&messenger, &format!("/?process-id={P}&assign={message}"), "ignored").await;
    assert_eq!((status, body), (202, json!({ "message": "Processing Assignment", "id": assignment })));
    let pushed = eventually("the message is scheduled", || network.log(P).pop()).await;
    assert_eq!(pushed.tags().get("Pushed-For"), Some(&*assignment.to_string()));
    idle(&messenger).await;
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn an_assignment_whose_answer_was_lost_is_not_mistaken_for_one_that_a_process_made_of_the_same_item() {
    let network = Network::start();
    let (_, emitter) = (network.process(1), network.process(2));
    let message = ItemId::from_bytes([42; 32]);
    let [of_process, of_client] = [100, 101].map(|byte| ItemId::from_bytes([byte; 32]));
    {
        let mut state = network.state.lock().unwrap();
        state.repeats = true;
        let assignment = json!({ "Processes": [P], "Message": message });
        let result = json!({ "Messages": [], "Spawns": [], "Assignments": [assignment] });
        state.results.insert("go".into(), result);
    }
    let messenger = network.messenger().await;
    assert_eq!(post(&messenger, "/", network.message(emitter, "go").raw().clone()).await.0, 202);
    idle(&messenger).await;
    // The process's assignment came in after the client's log was looked at, and before the client's own, whose answer is lost.
    {
        let mut state = network.state.lock().unwrap();
        assert_eq!(state.assignments.len(), 1);
        let latest: &'static str = Box::leak(format!("GET /{P}/latest").into_boxed_str());
        state.instead.push((latest, Answer::Json(400, json!({ "error": "Process not found" }))));
        state.lost.push(Answer::Json(500, json!("lost")));
    }
    assert_eq!(post(&messenger, &format!("/?process-id={P}&assign={message}"), "").await.0, 502);
    idle(&messenger).await;
    assert_eq!(network.state.lock().unwrap().assignments.len(), 2);
    for id in [of_process, of_client] {
        assert_eq!(network.compute.asked("GET", &format!("/result/{id}")).len(), 1, "{id}");
    }
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn an_assignment_whose_answer_was_lost_is_found_behind_any_number_of_others() {
    const OTHERS: usize = 20;
    let network = Network::start();
    network.process(1);
    let message = ItemId::from_bytes([42; 32]);
    network.state.lock().unwrap().repeats = true;
    let messenger = network.messenger().await;
    let assign = format!("/?process-id={P}&assign={message}");
    // All of them came in after the log was looked at for this one, whose answer is lost.
    for _ in 0..OTHERS {
        assert_eq!(post(&messenger, &assign, "").await.0, 202);
    }
    idle(&messenger).await;
    {
        let mut state = network.state.lock().unwrap();
        let latest: &'static str = Box::leak(format!("GET /{P}/latest").into_boxed_str());
        state.instead.push((latest, Answer::Json(400, json!({ "error": "Process not found" }))));
        state.lost.push(Answer::Json(500, json!("lost")));
    }
    assert_eq!(post(&messenger, &assign, "").await.0, 502);
    idle(&messenger).await;
    assert_eq!(get(&messenger, "/dead-letters").await["deadLetters"], json!([]));
    let made: Vec<_> = network.state.lock().unwrap().assignments.iter().map(|(_, id)| *id).collect();
    assert_eq!(made.len(), OTHERS + 1);
    for id in made {
        assert_eq!(network.compute.asked("GET", &format!("/result/{id}")).len(), 1, "{id}");
    }
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn monitoring_twice_is_once_and_survives_a_restart() {
    let network = Network::start();
    network.process(1);
    let item = DataItem::builder().target(P).data(b" ".to_vec()).sign(&network.client).unwrap();
    let path = format!("/monitor/{P}");
    let messenger = network.messenger().await;
    for _ in 0..2 {
        let (status, body) = post(&messenger, &path, item.raw().clone()).await;
        assert_eq!((status, body), (200, json!("Monitoring process")));
    }
    messenger.stop().await.unwrap();
    let messenger = network.messenger().await;
    let (status, body) = request(&messenger, Method::DELETE, &path, item.raw().clone()).await;
    assert_eq!((status, body), (200, json!("Process deleted")));
    assert_eq!(request(&messenger, Method::DELETE, &path, item.raw().clone()).await.0, 404);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn only_the_owner_monitors_when_that_is_asked_for() {
    let network = Network::start();
    let messenger = network.messenger_with(holon_mu::Options { monitor_owner_only: true, ..network.options() }).await;
    let id = ProcessId::from_bytes([2; 32]);
    // In the scripted scheduler the signer of the first message is the owner.
    let first = network.message(id, "x");
    network.state.lock().unwrap().processes.insert(id, vec![first]);
    let stranger = holon_protocol::Signer::generate_ed25519().unwrap();
    for (signer, status) in [(&stranger, 403), (&network.client, 200)] {
        let item = DataItem::builder().target(id).data(b" ".to_vec()).sign(signer).unwrap();
        assert_eq!(post(&messenger, &format!("/monitor/{id}"), item.raw().clone()).await.0, status);
    }
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn one_message_of_a_result_is_pushed_again_when_that_is_allowed() {
    let network = Network::start();
    network.process(1);
    let options = holon_mu::Options { enable_push: true, ..network.options() };
    let messenger = network.messenger_with(options).await;
    let item = network.message(P, "hello");
    network.state.lock().unwrap().processes.get_mut(&P).unwrap().push(item.clone());
    let entry = |data: &str| json!({ "Target": P, "Anchor": "7", "Tags": [], "Data": data });
    let mut result = empty();
    result["Messages"] = json!([entry("zero"), entry("one"), { "Target": "bad" }]);
    network.state.lock().unwrap().results.insert(item.id().to_string(), result);
    let push = |number: &str| format!("/push/{}/{number}?process-id={P}", item.id());
    let (status, body) = post(&messenger, &push("1"), "").await;
    assert_eq!((status, body), (202, json!({ "message": "Processing Message Result", "id": item.id() })));
    idle(&messenger).await;
    let log = network.log(P);
    assert_eq!((log.len(), &log[1].data()[..]), (2, &b"one"[..]));
    assert_eq!(log[1].tags().get("Pushed-For"), Some(&*item.id().to_string()));
    let (status, body) = post(&messenger, &push("3"), "").await;
    assert!(status == 400 && error("Message number does not exist in the result.")(&body), "{body}");
    assert_eq!(post(&messenger, &push("2"), "").await.0, 400);
    let stranger = ItemId::from_bytes([5; 32]);
    let (status, body) = post(&messenger, &format!("/push/{stranger}/0?process-id={P}"), "").await;
    assert!(status == 404 && error("Message id not found on the scheduler")(&body), "{body}");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn clients_that_claim_a_from_process_are_refused_when_that_is_asked_for() {
    let network = Network::start();
    network.process(1);
    let item = DataItem::builder()
        .target(P)
        .tag("Data-Protocol", "ao")
        .tag("Type", "Message")
        .tag("From-Process", P.to_string())
        .sign(&network.client)
        .unwrap();
    for (refuse, status) in [(true, 403), (false, 202)] {
        let options = holon_mu::Options { refuse_from_process: refuse, ..network.options() };
        let messenger = network.messenger_with(options).await;
        assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, status);
        messenger.stop().await.unwrap();
    }
}

#[tokio::test]
async fn its_explorer_knows_what_the_options_name_but_no_secrets_in_them() {
    let network = Network::start();
    let mut options = network.options();
    options.cu_url.set_password(Some("secret")).unwrap();
    let messenger = network.messenger_with(options).await;
    let (status, known) = request(&messenger, Method::GET, "/explorer/network.json", "").await;
    assert_eq!((status, &known["self"]), (200, &json!("mu")));
    assert_eq!(known["cu_url"], network.compute.url().as_str().trim_end_matches('/'));
    assert_eq!(known["su_url"], network.scheduler.url().as_str().trim_end_matches('/'));
    assert_eq!(known["scheduler"], SCHEDULER.to_string());
    assert_eq!(known["authority"], network.wallet.address().to_string());
    assert!(known["name"].is_string());
    messenger.stop().await.unwrap();
}
