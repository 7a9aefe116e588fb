//! Allow-lists and the router check, all off unless configured (spec 02 §2). The lists are items on the local Arweave.

use holon_protocol::{DataItem, Signer};
use serde_json::{Value, json};
use url::Url;

use crate::network::{Network, Scheduler, Weave, client, eventually, nowhere, stub};

async fn publish(weave: &Weave, list: &Value) -> Url {
    let item = DataItem::builder().data(list.to_string()).sign(&Signer::generate_ed25519().unwrap()).unwrap();
    weave.publish(&item).await;
    weave.url.join(&format!("raw/{}", item.id())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_addresses_may_post() {
    let network = Network::start().await;
    let process = network.process(&[]);
    let url = publish(&network.weave, &json!(["10.0.0.1"])).await;
    let options = network.options();
    let Network { su, weave, .. } = network;
    su.running.stop().await.unwrap();
    let su = Scheduler::start(holon_su::Options { ip_allow_list: Some(url), ..options }).await;
    let post = async |address: Option<&str>| {
        let request = client().post(&su.url).body(process.raw().clone());
        let request = match address {
            Some(address) => request.header("x-real-ip", address),
            None => request,
        };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let denied = json!({ "error": "Access denied" });
    assert_eq!(post(None).await, (400, denied.clone()));
    assert_eq!(post(Some("10.0.0.2")).await, (403, denied));
    eventually("the list is read", || async { post(Some("10.0.0.1")).await.0 == 200 }).await;
    assert_eq!(su.get("/").await.status(), 200, "reads are for everybody");
    su.running.stop().await.unwrap();
    drop(weave);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_processes_are_served() {
    let network = Network::start().await;
    let open = network.spawn_tagged(&[("Name", "open")]).await;
    let frozen = network.spawn_tagged(&[("Name", "frozen")]).await;
    let elsewhere = network.spawn_tagged(&[("Name", "elsewhere")]).await;
    let list = json!({ "sus": {}, "processes": {
        open.to_string(): { "su": "http://here", "db_name": "a" },
        frozen.to_string(): { "su": "http://here", "db_name": "a", "read_only": true },
        elsewhere.to_string(): { "su": "http://there", "db_name": "a" },
    }});
    let url = publish(&network.weave, &list).await;
    let items = [open, frozen, elsewhere].map(|process| network.message(process, &[], "x"));
    let another = network.process(&[("Name", "new")]);
    let options = network.options();
    let Network { su, weave, .. } = network;
    su.running.stop().await.unwrap();
    let list = Some((url, "http://here".to_owned()));
    let su = Scheduler::start(holon_su::Options { process_allow_list: list, ..options }).await;

    eventually("the table is read", || async { su.get(&format!("/{open}")).await.status() == 200 }).await;
    let refused = async |answer: reqwest::Response| {
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap()["error"].as_str().unwrap_or_default().to_owned())
    };
    su.schedule(&items[0]).await;
    let answer = refused(su.post("", items[1].raw().clone()).await).await;
    assert_eq!(answer, (400, format!("Process {frozen} is read_only on this SU")));
    let not_here = format!("Process {elsewhere} is not allowed on this SU");
    assert_eq!(refused(su.post("", items[2].raw().clone()).await).await, (400, not_here.clone()));
    assert_eq!(su.get(&format!("/{frozen}")).await.status(), 200);
    for path in [format!("/{elsewhere}"), format!("/processes/{elsewhere}"), format!("/{elsewhere}/latest")] {
        assert_eq!(refused(su.get(&path).await).await, (403, not_here.clone()));
    }
    let answer = refused(su.post("", another.raw().clone()).await).await;
    assert_eq!(answer, (400, "Process spawning is not supported".to_owned()));
    su.running.stop().await.unwrap();
    drop(weave);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_may_say_that_a_process_belongs_elsewhere() {
    // A router is any HTTP server that redirects; this one redirects everything.
    let elsewhere = stub(|_, _| {
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            .into()
    });
    for (router, status, error) in
        [(elsewhere, 400, "Process does not belong on this SU"), (nowhere(), 503, "Unable to check router")]
    {
        let network = Network::start_with(|options| options.router_url = Some(router)).await;
        let process = network.process(&[]);
        let answer = network.su.post("", process.raw().clone()).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "error": error }));
        assert_eq!(network.su.get(&format!("/{}", process.id())).await.status(), 400, "nothing was written");
        network.stop().await;
    }
    // The local Arweave knows no such path and does not redirect.
    let weave = Weave::start().await;
    let url = weave.url.clone();
    let network = Network::start_with(|options| options.router_url = Some(url)).await;
    network.spawn().await;
    network.stop().await;
}
