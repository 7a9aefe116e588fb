//! What strangers publish or send cannot make the messenger call addresses inside, sign for others, or fill its memory
//! (spec 04 §17). Each attack is carried out twice: with the guard against it, and without, where it works.

use std::time::{Duration, Instant};

use holon_mu::crank::budget::Budgets;
use holon_mu::crank::dispatch::Limits;
use holon_mu::{Guards, MAX_ITEM_BYTES, Options};
use holon_protocol::{Address, BlockHeight, DataItem, ItemId, ProcessId};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use crate::network::{MODULE, Network, eventually, get, idle, metric, post, request};
use crate::peer::{Answer, Peer};

const A: ProcessId = ProcessId::from_bytes([1; 32]);
const B: ProcessId = ProcessId::from_bytes([2; 32]);
const STRANGER: Address = Address::from_bytes([78; 32]);

/// Somebody inside who must not be called.
fn victim() -> Peer {
    Peer::start(|_| Answer::Json(200, json!({ "id": MODULE, "timestamp": 1 })))
}

fn node(id: u8, owner: Address, tags: Value) -> Value {
    json!({
        "id": ItemId::from_bytes([id; 32]), "anchor": "", "signature": "", "recipient": "",
        "owner": { "address": owner, "key": "" }, "tags": tags, "block": null,
    })
}

/// A process of a stranger whose scheduler says that it is at `url`.
fn publish(network: &Network, process: u8, url: &str) -> ProcessId {
    let tag = |name: &str, value: &str| json!({ "name": name, "value": value });
    let protocol = tag("Data-Protocol", "ao");
    let scheduler = tag("Scheduler", &STRANGER.to_string());
    let location = [protocol.clone(), tag("Type", "Scheduler-Location"), tag("Url", url), tag("Time-To-Live", "1000")];
    network.state.lock().unwrap().published = vec![
        node(
            process,
            Address::from_bytes([79; 32]),
            json!([protocol, tag("Type", "Process"), scheduler, tag("Module", "m")]),
        ),
        node(200, STRANGER, json!(location)),
    ];
    ProcessId::from_bytes([process; 32])
}

#[tokio::test]
async fn a_scheduler_that_a_stranger_publishes_inside_is_never_called() {
    let network = Network::start();
    let victim = victim();
    let port = victim.url().port().unwrap();
    let urls = [
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        format!("http://2130706433:{port}"),
        format!("http://0x7f.1:{port}"),
        format!("http://[::1]:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        "http://169.254.169.254/latest/meta-data".into(),
        "http://10.0.0.1".into(),
        "file:///etc/passwd".into(),
        "ftp://example.com".into(),
    ];
    let messenger = network.messenger().await;
    for (number, url) in urls.iter().enumerate() {
        let process = publish(&network, 100 + u8::try_from(number).unwrap(), url);
        let (status, body) = post(&messenger, "/", network.message(process, url).raw().clone()).await;
        assert!(matches!(status, 404 | 502), "{url}: {status} {body}");
        assert_eq!(victim.calls().len(), 0, "{url}");
    }
    // A message of a process to such a one stays here as well.
    network.process(1);
    let process = publish(&network, 150, &urls[0]);
    let message = json!({ "Target": process, "Anchor": "0".repeat(32), "Data": "x", "Tags": [] });
    let result = json!({ "Messages": [message], "Spawns": [], "Assignments": [] });
    network.state.lock().unwrap().results.insert("lure".into(), result);
    assert_eq!(post(&messenger, "/", network.message(A, "lure").raw().clone()).await.0, 202);
    idle(&messenger).await;
    assert_eq!(victim.calls().len(), 0);
    messenger.stop().await.unwrap();

    // Without the guard the same is called.
    let open = Options { allow_private_urls: true, ..network.options() };
    let messenger = network.messenger_with(open).await;
    let process = publish(&network, 160, &urls[0]);
    let _ = post(&messenger, "/", network.message(process, "x").raw().clone()).await;
    assert!(!victim.calls().is_empty(), "the attack works where the operator allows it");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_compute_unit_cannot_redirect_a_read_to_an_address_inside() {
    let network = Network::start();
    network.process(1);
    let victim = victim();
    let redirect = |times: usize| {
        let mut state = network.state.lock().unwrap();
        state.instead.extend((0..times).map(|_| ("GET /result/", Answer::Redirect(307, victim.url().to_string()))));
    };
    let messenger = network.messenger().await;
    redirect(2);
    assert_eq!(post(&messenger, "/", network.message(A, "x").raw().clone()).await.0, 202);
    idle(&messenger).await;
    assert_eq!(victim.calls().len(), 0);
    messenger.stop().await.unwrap();

    let messenger = network.messenger_with(Options { allow_private_urls: true, ..network.options() }).await;
    redirect(1);
    assert_eq!(post(&messenger, "/", network.message(A, "y").raw().clone()).await.0, 202);
    idle(&messenger).await;
    assert!(!victim.calls().is_empty(), "the attack works where the operator allows it");
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn a_scheduler_redirects_items_to_known_schedulers_only_and_to_no_other_scheme() {
    let attack = async |redirects: bool, target: Option<&str>| {
        let (network, victim) = (Network::start(), victim());
        network.process(1);
        let guards = Guards { redirects, ..Guards::ALL };
        let options = Options { guards, allow_private_urls: true, ..network.options() };
        let messenger = network.messenger_with(options).await;
        let target = target.map_or_else(|| victim.url().to_string(), str::to_owned);
        network.state.lock().unwrap().instead = vec![("POST /", Answer::Redirect(307, target))];
        let (status, _) = post(&messenger, "/", network.message(A, "x").raw().clone()).await;
        messenger.stop().await.unwrap();
        (status, victim.calls().len())
    };
    assert_eq!(attack(true, None).await, (502, 0));
    assert_eq!(attack(false, None).await, (202, 1), "the victim has the item");
    for guarded in [true, false] {
        for target in ["ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1:70/x"] {
            assert_eq!(attack(guarded, Some(target)).await, (502, 0), "{target}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_redirects_for_ever_is_left_soon() {
    let attack = async |hops: bool| {
        let network = Network::start();
        network.process(1);
        let guards = Guards { hops, ..Guards::ALL };
        let messenger = network.messenger_with(Options { guards, ..network.options() }).await;
        let again = || ("POST /", Answer::Redirect(307, network.scheduler.url().to_string()));
        network.state.lock().unwrap().instead = (0..100).map(|_| again()).collect();
        let (status, _) = post(&messenger, "/", network.message(A, "x").raw().clone()).await;
        let asked = network.scheduler.asked("POST", "/").len();
        messenger.stop().await.unwrap();
        (status, asked)
    };
    assert_eq!(attack(true).await, (502, 6));
    assert_eq!(attack(false).await, (202, 101), "it goes wherever it is sent");
}

#[tokio::test]
async fn a_monitor_must_be_signed_for_the_process_in_the_path_and_by_its_owner_where_that_is_asked_for() {
    let attack = async |change: fn(&mut Options), forged: bool, path: ProcessId| {
        let network = Network::start();
        network.process(1);
        network.process(2);
        let mut options = network.options();
        change(&mut options);
        let messenger = network.messenger_with(options).await;
        let item = DataItem::builder().target(A).data(b" ".to_vec()).sign(&network.client).unwrap();
        let mut raw = item.raw().to_vec();
        raw[10] ^= u8::from(forged);
        let (status, _) = post(&messenger, &format!("/monitor/{path}"), raw).await;
        let (_, total) = (status, get(&messenger, "/monitors").await["total"].clone());
        messenger.stop().await.unwrap();
        (status, total.as_u64().unwrap())
    };
    assert_eq!(attack(|_| {}, false, A).await, (200, 1));
    assert_eq!(attack(|_| {}, true, A).await, (400, 0));
    assert_eq!(attack(|options| options.guards.signatures = false, true, A).await, (200, 1), "anybody may");
    assert_eq!(attack(|_| {}, false, B).await, (400, 0));
    assert_eq!(attack(|options| options.guards.subjects = false, false, B).await, (200, 1), "a signature is reused");
    assert_eq!(attack(|options| options.monitor_owner_only = true, false, A).await, (403, 0), "not the owner's");
}

/// What the messenger signs for a process that claims to be another one.
async fn signed_for_a_liar(guards: Guards) -> Vec<DataItem> {
    let network = Network::start();
    network.process(1);
    network.process(2);
    let lie = ItemId::from_bytes([55; 32]);
    let claims = ["From-Process", "From-Module", "Pushed-For"].map(|name| json!({ "name": name, "value": lie }));
    let entry = json!({ "Target": B, "Anchor": "0".repeat(32), "Data": "x", "Tags": claims });
    let spawn_tags: Vec<_> = claims.iter().cloned().chain([json!({ "name": "Module", "value": MODULE })]).collect();
    let result = json!({ "Messages": [entry], "Spawns": [{ "Tags": spawn_tags, "Data": "" }], "Assignments": [] });
    network.state.lock().unwrap().results.insert("lie".into(), result);
    let messenger = network.messenger_with(Options { guards, ..network.options() }).await;
    let item = network.message(A, "lie");
    assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    idle(&messenger).await;
    let posted: Vec<_> = network.scheduler.asked("POST", "/").into_iter().skip(1).collect();
    messenger.stop().await.unwrap();
    let items: Vec<_> = posted.iter().map(|call| DataItem::parse_verified(call.body.clone()).unwrap()).collect();
    assert!(items.iter().all(|item| item.owner_address() == network.wallet.address()));
    items
}

#[tokio::test]
async fn what_a_process_claims_about_its_origin_is_replaced() {
    let lie = ItemId::from_bytes([55; 32]).to_string();
    let values = |item: &DataItem, name: &str| -> Vec<String> {
        item.tags().iter().filter(|tag| tag.name == name).map(|tag| tag.value.clone()).collect()
    };
    let items = signed_for_a_liar(Guards::ALL).await;
    assert_eq!(items.len(), 3, "message, process, notice");
    for item in &items {
        assert_eq!(values(item, "From-Process"), [A.to_string()], "{:?}", item.tags());
        assert!(item.tags().iter().all(|tag| tag.value != lie), "{:?}", item.tags());
    }
    let forged = signed_for_a_liar(Guards { origins: false, ..Guards::ALL }).await;
    for name in ["From-Process", "From-Module", "Pushed-For"] {
        assert!(forged.iter().any(|item| item.tags().get(name) == Some(&lie)), "readers take the first {name}");
    }
    let process = forged.iter().find(|item| item.tags().get("Type") == Some("Process")).unwrap();
    assert_eq!(process.tags().get("From-Process"), Some(&*lie), "a new process with a forged origin");
}

#[tokio::test]
async fn an_item_of_a_client_that_claims_an_origin_is_forwarded_as_the_clients_own_or_refused() {
    let attack = async |refuse_from_process: bool| {
        let network = Network::start();
        network.process(1);
        let messenger = network.messenger_with(Options { refuse_from_process, ..network.options() }).await;
        let item = DataItem::builder().target(A).tag("Data-Protocol", "ao").tag("Type", "Message");
        let item = item.tag("From-Process", B.to_string()).data(b"x".to_vec()).sign(&network.client).unwrap();
        let (status, _) = post(&messenger, "/", item.raw().clone()).await;
        messenger.stop().await.unwrap();
        let owners: Vec<_> = network.log(A).iter().map(DataItem::owner_address).collect();
        assert!(owners.iter().all(|owner| *owner == network.client.address()), "never in the messenger's name");
        (status, owners.len())
    };
    assert_eq!(attack(true).await, (403, 0));
    assert_eq!(attack(false).await, (202, 1));
}

#[tokio::test]
async fn results_come_from_the_configured_compute_unit_whatever_a_request_says() {
    let (network, victim) = (Network::start(), victim());
    network.process(1);
    let result = json!({ "Messages": [{ "Target": A, "Anchor": "0".repeat(32), "Data": "x", "Tags": [] }], "Spawns": [], "Assignments": [] });
    network.state.lock().unwrap().results.insert("again".into(), result);
    let options = |enable_push| Options { enable_push, allow_pushes_after: BlockHeight(0), ..network.options() };
    let messenger = network.messenger_with(options(false)).await;
    let item = network.message(A, "again");
    assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
    idle(&messenger).await;
    let path = format!("/push/{}/0?process-id={A}&custom-cu={}", item.id(), victim.url());
    assert_eq!(post(&messenger, &path, "").await.0, 403, "off by default");
    messenger.stop().await.unwrap();
    let messenger = network.messenger_with(options(true)).await;
    assert_eq!(post(&messenger, &path, "").await.0, 202);
    idle(&messenger).await;
    assert_eq!(victim.calls().len(), 0);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_pasted_into_addresses_has_the_form_of_an_id() {
    let network = Network::start();
    network.process(1);
    let messenger = network.messenger().await;
    let escape = "..%2F..%2Fstate%3Fx=";
    let good = A.to_string();
    for (method, path) in [
        (Method::POST, format!("/?process-id={escape}&assign={good}")),
        (Method::POST, format!("/?process-id={good}&assign={escape}")),
        (Method::POST, format!("/?process-id={good}&assign={good}&exclude=a%26process-id%3D{good}")),
        (Method::POST, format!("/monitor/{escape}")),
        (Method::DELETE, format!("/monitor/{escape}")),
        (Method::POST, format!("/push/{escape}/0?process-id={good}")),
        (Method::GET, format!("/trace/{escape}")),
        (Method::GET, format!("/?debug=1&process={escape}")),
    ] {
        let (status, body) = request(&messenger, method, &path, "").await;
        assert_eq!(status, 400, "{path}: {body}");
    }
    let asked = [&network.scheduler, &network.compute, &network.gateway].map(|peer| peer.calls().len());
    assert_eq!(asked, [0; 3]);
    messenger.stop().await.unwrap();
    // Pasted as it is, the same text would lead elsewhere. The types of ids are the guard: there is no way around them.
    let pasted = Url::parse(&format!("http://unit/result/{}?process-id={good}", "../../state?x=")).unwrap();
    assert_eq!((pasted.path(), pasted.query()), ("/state", Some(&*format!("x=?process-id={good}"))));
    assert!("../../state?x=".parse::<ItemId>().is_err());
}

#[tokio::test]
async fn what_strangers_answer_is_cut() {
    let attack = async |quotes: bool| {
        let network = Network::start();
        network.process(1);
        let guards = Guards { quotes, ..Guards::ALL };
        let messenger = network.messenger_with(Options { guards, ..network.options() }).await;
        let long = "x".repeat(1_000_000);
        network.state.lock().unwrap().instead = vec![("POST /", Answer::Json(400, json!({ "error": long })))];
        let (status, body) = post(&messenger, "/", network.message(A, "x").raw().clone()).await;
        messenger.stop().await.unwrap();
        assert_eq!(status, 400);
        body["error"].as_str().unwrap().len()
    };
    assert!(attack(true).await < 1_200);
    assert!(attack(false).await > 4_000, "as much as any answer may have is passed on");
}

#[tokio::test]
async fn an_answer_that_does_not_end_costs_bounded_memory() {
    let attack = async |answers: bool| {
        let network = Network::start();
        network.process(1);
        let guards = Guards { answers, ..Guards::ALL };
        let messenger = network.messenger_with(Options { guards, ..network.options() }).await;
        let long = json!({ "id": MODULE, "timestamp": 1, "filler": "x".repeat(5_000_000) });
        network.state.lock().unwrap().instead = vec![("POST /", Answer::Json(200, long))];
        let (status, _) = post(&messenger, "/", network.message(A, "x").raw().clone()).await;
        messenger.stop().await.unwrap();
        status
    };
    assert_eq!(attack(true).await, 502);
    assert_eq!(attack(false).await, 202, "all of it was read");
}

#[tokio::test]
async fn a_scheduler_that_never_answers_costs_bounded_time() {
    let attack = async |scheduler_timeout: Duration| {
        let network = Network::start();
        network.process(1);
        let messenger = network.messenger_with(Options { scheduler_timeout, ..network.options() }).await;
        network.state.lock().unwrap().instead = vec![("POST /", Answer::Silence)];
        let sent = post(&messenger, "/", network.message(A, "x").raw().clone());
        let answer = tokio::time::timeout(Duration::from_secs(2), sent).await;
        messenger.stop().await.unwrap();
        answer.ok().map(|(status, _)| status)
    };
    assert_eq!(attack(Duration::from_millis(200)).await, Some(502));
    assert_eq!(attack(Duration::from_secs(3_600)).await, None, "the client still waits");
}

#[tokio::test]
async fn where_a_client_says_that_it_comes_from_changes_nothing_and_is_not_kept() {
    let network = Network::start();
    network.process(1);
    let messenger = network.messenger().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut answers = Vec::new();
    for from in ["203.0.113.7", "127.0.0.1", "nonsense"] {
        let item = network.message(A, from);
        let answer = http.post(messenger.url()).header("x-forwarded-for", from).body(item.raw().clone());
        answers.push(answer.send().await.unwrap().status().as_u16());
        idle(&messenger).await;
        for path in [format!("/trace/{}", item.id()), format!("/?debug=1&process={A}"), "/dead-letters".into()] {
            assert!(!get(&messenger, &path).await.to_string().contains(from), "{path}");
        }
    }
    assert_eq!(answers, [202; 3]);
    // Nor does it open what is the operator's.
    let retry = http.post(format!("{}/dead-letters/1/retry", messenger.url())).header("x-forwarded-for", "127.0.0.1");
    assert_eq!(retry.send().await.unwrap().status(), 401);
    messenger.stop().await.unwrap();
}

#[tokio::test]
async fn traces_are_not_for_strangers() {
    let attack = async |public_traces: bool| {
        let network = Network::start();
        network.process(1);
        let messenger = network.messenger_with(Options { public_traces, ..network.options() }).await;
        let item = network.message(A, "x");
        assert_eq!(post(&messenger, "/", item.raw().clone()).await.0, 202);
        idle(&messenger).await;
        let page = get(&messenger, &format!("/?debug=1&process={A}")).await;
        let (status, _) = request(&messenger, Method::GET, &format!("/trace/{}", item.id()), "").await;
        messenger.stop().await.unwrap();
        (page.to_string().contains(&item.id().to_string()), status)
    };
    assert_eq!(attack(false).await, (false, 401));
    assert_eq!(attack(true).await, (true, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_answer_each_other_for_ever_are_stopped() {
    let attack = async |per_push: u64| {
        let network = Network::start();
        network.process(1);
        network.process(2);
        network.state.lock().unwrap().behaviour = Some(Box::new(|id, item| {
            let target = if item?.target() == Some(*A.as_bytes()) { B } else { A };
            let anchor = &id[..32];
            Some(
                json!({ "Messages": [{ "Target": target, "Anchor": anchor, "Data": "x", "Tags": [] }], "Spawns": [], "Assignments": [] }),
            )
        }));
        let budgets = Budgets { per_push, ..Budgets::default() };
        let options = Options { limits: Limits { budgets, ..network.options().limits }, ..network.options() };
        let messenger = network.messenger_with(options).await;
        assert_eq!(post(&messenger, "/", network.message(A, "x").raw().clone()).await.0, 202);
        let sent = || network.log(A).len() + network.log(B).len();
        eventually("it ends, or goes on and on", || (messenger.queued() == 0 || sent() > 100).then_some(())).await;
        messenger.stop().await.unwrap();
        sent()
    };
    assert_eq!(attack(20).await, 21);
    assert!(attack(0).await > 100);
    assert!(Budgets::default().per_push > 0, "there is a limit by default");
}

/// Opens a request with a body of `bytes` and sends all but the last one.
async fn almost_all(address: &str, bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: mu\r\ncontent-length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // Whoever is refused closes its side meanwhile.
    let _ = stream.write_all(&vec![b'x'; bytes - 1]).await;
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_large_items_costs_bounded_memory() {
    const CLIENTS: usize = 6;
    let attack = async |body_memory_bytes: usize| {
        let network = Network::start();
        let messenger = network.messenger_with(Options { body_memory_bytes, ..network.options() }).await;
        let address = messenger.url().trim_start_matches("http://").to_owned();
        let mut streams = Vec::new();
        for _ in 0..CLIENTS {
            streams.push(almost_all(&address, MAX_ITEM_BYTES - 1).await);
        }
        let (mut refused, mut begun) = (0, Instant::now());
        for stream in &mut streams {
            let mut answer = [0; 12];
            let left = Duration::from_secs(2).saturating_sub(begun.elapsed()).max(Duration::from_millis(200));
            if let Ok(Ok(_)) = tokio::time::timeout(left, stream.read_exact(&mut answer)).await {
                assert_eq!(&answer, b"HTTP/1.1 503");
                refused += 1;
                begun = Instant::now();
            }
        }
        let reserved = metric(&messenger, "ao_mu_body_bytes").await.unwrap();
        drop(streams);
        messenger.stop().await.unwrap();
        (refused, reserved)
    };
    let (refused, reserved) = attack(25 * 1024 * 1024).await;
    assert!(refused >= CLIENTS - 2 && reserved <= 25.0 * 1024.0 * 1024.0, "{refused} refused, {reserved} bytes");
    let (refused, reserved) = attack(usize::MAX).await;
    assert!(refused == 0 && reserved > 60_000_000.0, "all are held: {refused} refused, {reserved} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_an_item_is_taken_until_it_is_forwarded_though_its_client_is_gone() {
    let network = Network::start();
    network.process(1);
    let options = Options { scheduler_timeout: Duration::from_secs(3), ..network.options() };
    let messenger = network.messenger_with(options).await;
    network.state.lock().unwrap().instead = vec![("POST /", Answer::Silence)];
    let item = network.message(A, &"x".repeat(2_000_000));
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(700)).build().unwrap();
    assert!(http.post(messenger.url()).body(item.raw().clone()).send().await.is_err(), "the client goes away");
    assert_eq!(network.scheduler.asked("POST", "/").len(), 1);
    assert!(metric(&messenger, "ao_mu_body_bytes").await.unwrap() > 2_000_000.0);
    let started = Instant::now();
    while metric(&messenger, "ao_mu_body_bytes").await != Some(0.0) {
        assert!(started.elapsed() < Duration::from_secs(20), "its memory comes back");
    }
    messenger.stop().await.unwrap();
}

#[derive(Debug, clap::Parser)]
struct Program {
    #[command(flatten)]
    arguments: holon_mu::Arguments,
}

#[test]
fn what_cannot_be_asked_over_http_is_refused_at_the_start_without_showing_a_password() {
    let scheduler = format!("{}=ftp://user:secret@example.com", crate::network::SCHEDULER);
    for option in ["--cu-url", "--gateway-url", "--graphql-url", "--uploader-url", "--scheduler-url"] {
        let url = if option == "--scheduler-url" { &*scheduler } else { "ftp://user:secret@example.com" };
        let words = ["mu", "--wallet", "w.json", option, url];
        let program = <Program as clap::Parser>::try_parse_from(words).unwrap();
        let error = Options::try_from(program.arguments).unwrap_err().to_string();
        assert!(error.contains(option) && error.contains("ftp://") && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn configuration_shows_no_token() {
    let network = Network::start();
    let options = Options { operator_token: Some("secret-of-the-operator".to_owned().into()), ..network.options() };
    let shown = format!("{options:?}");
    assert!(!shown.contains("secret-of-the-operator"), "{shown}");
    let words = ["mu", "--wallet", "w.json", "--operator-token", "secret-of-the-operator"];
    let program = <Program as clap::Parser>::try_parse_from(words).unwrap();
    assert!(!format!("{program:?}").contains("secret-of-the-operator"));
    assert_eq!(program.arguments.operator_token.unwrap().as_str(), "secret-of-the-operator");
}
