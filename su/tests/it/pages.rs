//! Pages in both modes (spec 02 §7.2).

use holon_protocol::{ProcessId, wire};

use crate::network::Network;

async fn log_of_ten() -> (Network, ProcessId, Vec<u64>) {
    let network = Network::start().await;
    let process = network.spawn().await;
    for index in 1..10 {
        network.su.schedule(&network.message(process, &[], &index.to_string())).await;
    }
    let page = network.su.page(process, "").await;
    let times = page.edges.iter().map(|edge| edge.cursor.parse().unwrap()).collect();
    (network, process, times)
}

fn nonces(page: &wire::Page) -> Vec<u64> {
    let nonce = |edge: &wire::Edge| edge.node.assignment.tags.get("Nonce").unwrap().parse().unwrap();
    page.edges.iter().map(nonce).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_what_their_bounds_say() {
    let (network, process, times) = log_of_ten().await;
    let all: Vec<u64> = (0..10).collect();
    let (t0, t3, t6, t9) = (times[0], times[3], times[6], times[9]);
    // query, positions, whether more follow
    let cases: Vec<(String, &[u64], bool)> = vec![
        (String::new(), &all, false),
        ("&from=undefined&to=undefined&limit=undefined".into(), &all, false),
        ("&from=&to=&limit=".into(), &all, false),
        ("&limit=3".into(), &[0, 1, 2], true),
        ("&limit=10".into(), &all, false),
        ("&limit=1".into(), &[0], true),
        (format!("&from={t0}"), &all[1..], false),
        (format!("&from={t3}&to={t6}"), &[4, 5, 6], false),
        (format!("&from={t3}&to={t6}&limit=2"), &[4, 5], true),
        (format!("&from={t3}&to={t6}&limit=3"), &[4, 5, 6], false),
        (format!("&to={t3}"), &[0, 1, 2, 3], false),
        (format!("&to={}", t3 - 1), &[0, 1, 2], false),
        ("&to=1".into(), &[0], false),
        ("&to=-5".into(), &[0], false),
        (format!("&from={t9}"), &[], false),
        ("&from=-1".into(), &all[1..], false),
        ("&from=0&limit=2".into(), &[1, 2], true),
        (format!("&from={t6}&to={t3}"), &[], false),
        ("&from-nonce=-1".into(), &all, false),
        ("&from-nonce=0".into(), &all[1..], false),
        ("&from-nonce=0&limit=1".into(), &[1], true),
        ("&from-nonce=3&to-nonce=5".into(), &[4, 5], false),
        ("&to-nonce=2".into(), &[0, 1, 2], false),
        ("&to-nonce=0".into(), &[0], false),
        ("&to-nonce=-1".into(), &[0], false),
        ("&from-nonce=-1&to-nonce=4&limit=2".into(), &[0, 1], true),
        ("&from-nonce=9".into(), &[], false),
        ("&from-nonce=9223372036854775807".into(), &[], false),
        ("&to-nonce=9223372036854775807".into(), &all, false),
        (format!("&from={t6}&from-nonce=-1&to-nonce=1"), &[0, 1], false),
    ];
    for (query, expected, more) in cases {
        let page = network.su.page(process, &query).await;
        assert_eq!((nonces(&page).as_slice(), page.page_info.has_next_page), (expected, more), "{query}");
        for edge in &page.edges {
            let name = if query.contains("nonce") { "Nonce" } else { "Timestamp" };
            assert_eq!(Some(edge.cursor.as_str()), edge.node.assignment.tags.get(name), "{query}");
        }
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn following_cursors_gives_every_entry_once_in_both_modes() {
    let (network, process, _) = log_of_ten().await;
    for name in ["from", "from-nonce"] {
        for limit in 1..6 {
            let mut seen = Vec::new();
            let mode = if name == "from" { "" } else { "&from-nonce=-1" };
            let mut page = network.su.page(process, &format!("&limit={limit}{mode}")).await;
            loop {
                seen.extend(nonces(&page));
                let Some(last) = page.edges.last().filter(|_| page.page_info.has_next_page) else { break };
                page = network.su.page(process, &format!("&limit={limit}&{name}={}", last.cursor)).await;
            }
            assert_eq!(seen, (0..10).collect::<Vec<_>>(), "{name}, {limit} at a time");
        }
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_process_id_is_the_same_page() {
    let (network, process, _) = log_of_ten().await;
    let with = network.su.json(&format!("/{process}?process-id={process}")).await;
    for query in ["", "?from=undefined&to=undefined&limit=undefined", "?process-id=undefined"] {
        assert_eq!(network.su.json(&format!("/{process}{query}")).await, with, "{query}");
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_many_bytes_ends_early_and_more_follows() {
    let network = Network::start_with(|options| options.max_read_bytes = 30_000).await;
    let process = network.spawn().await;
    for index in 0..5 {
        network.su.schedule(&network.message(process, &[], &index.to_string().repeat(10_000))).await;
    }
    let page = network.su.page(process, "").await;
    assert!(page.edges.len() < 6 && page.page_info.has_next_page);
    assert_eq!(network.su.log(process).await.len(), 6);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_found_in_their_process_only() {
    let network = Network::start().await;
    let (one, two) = (network.spawn().await, network.spawn_tagged(&[("Name", "two")]).await);
    let item = network.message(one, &[], "x");
    network.su.schedule(&item).await;
    let by_message = network.su.entry(one, item.id()).await;
    assert_eq!(by_message.message.as_ref().unwrap().id, item.id());
    assert_eq!(network.su.entry(one, by_message.assignment.id).await, by_message);
    assert_eq!(network.su.get(&format!("/{}?process-id={two}", item.id())).await.status(), 400);
    assert_eq!(network.su.get(&format!("/{}", item.id())).await.status(), 400);
    // A process id is a page of its own log, whatever process-id says.
    let page = network.su.json(&format!("/{two}?process-id={one}")).await;
    assert_eq!(page["edges"][0]["node"]["message"]["id"], two.to_string());
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_the_newest_entry_or_the_process_itself() {
    let network = Network::start().await;
    let process = network.spawn().await;
    let latest = async || network.su.json(&format!("/{process}/latest")).await;
    assert_eq!(latest().await["message"]["id"], process.to_string());
    let item = network.message(process, &[], "x");
    network.su.schedule(&item).await;
    assert_eq!(latest().await["message"]["id"], item.id().to_string());
    network.stop().await;
}
