//! Walking the list of results.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt};
use holon_client::Sort;
use holon_protocol::ProcessId;
use serde_json::json;

use crate::recorder::{self, Recorder, Seen};

const PROCESS: ProcessId = ProcessId::from_bytes([1; 32]);
/// Results in the list, numbered from 1; the number is the cursor, too.
const TOTAL: usize = 60;

/// The list of spec 05 §2.4: `from` exclusive, `to` inclusive in either order.
fn list(seen: &Seen) -> actix_web::HttpResponse {
    let url: url::Url = format!("http://x{}", seen.path_and_query).parse().unwrap();
    let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
    let number = |name: &str| query.get(name).map(|text| text.parse::<usize>().unwrap());
    let (from, to) = (number("from").unwrap_or(0), number("to").unwrap_or(TOTAL));
    let mut numbers: Vec<usize> = (1..=TOTAL).filter(|&at| at > from && at <= to).collect();
    if query["sort"] == "DESC" {
        numbers.reverse();
    }
    let limit = number("limit").unwrap();
    let edges: Vec<_> = numbers
        .iter()
        .take(limit)
        .map(|at| json!({ "node": { "Output": at.to_string(), "Messages": [] }, "cursor": at.to_string() }))
        .collect();
    recorder::json(200, json!({ "pageInfo": { "hasNextPage": numbers.len() > limit }, "edges": edges }))
}

fn numbers(range: impl Iterator<Item = usize>) -> Vec<String> {
    range.map(|at| at.to_string()).collect()
}

#[tokio::test]
async fn a_page_carries_the_parameters_of_the_official_client() {
    let compute = Recorder::start(list);
    let list = compute.network().results(PROCESS).from("3").to("9").sort(Sort::Descending).limit(4);
    let page = list.page().await.unwrap();
    assert!(page.has_next());
    assert_eq!(page.edges.iter().map(|edge| edge.cursor.as_str()).collect::<Vec<_>>(), ["9", "8", "7", "6"]);
    assert_eq!(compute.only().path_and_query, format!("/results/{PROCESS}?from=3&to=9&sort=DESC&limit=4"));
}

#[tokio::test]
async fn a_stream_gives_every_result_once_in_either_order() {
    let compute = Recorder::start(list);
    for limit in [1, 7, 25, 60, 100] {
        let walk = |sort| {
            let stream = compute.network().results(PROCESS).sort(sort).limit(limit).stream();
            stream.map_ok(|edge| edge.cursor).try_collect::<Vec<_>>()
        };
        assert_eq!(walk(Sort::Ascending).await.unwrap(), numbers(1..=TOTAL), "limit {limit}");
        assert_eq!(walk(Sort::Descending).await.unwrap(), numbers((1..=TOTAL).rev()), "limit {limit}");
    }
}

#[tokio::test]
async fn a_stream_keeps_to_its_bounds() {
    let compute = Recorder::start(list);
    let walk = |sort| {
        let stream = compute.network().results(PROCESS).from("10").to("20").sort(sort).limit(3).stream();
        stream.map_ok(|edge| edge.cursor).try_collect::<Vec<_>>()
    };
    assert_eq!(walk(Sort::Ascending).await.unwrap(), numbers(11..=20));
    assert_eq!(walk(Sort::Descending).await.unwrap(), numbers((11..=20).rev()));
}

#[tokio::test]
async fn a_list_that_never_moves_ends() {
    let stuck = Recorder::start(|_| {
        let edge = json!({ "node": { "Output": "" }, "cursor": "same" });
        recorder::json(200, json!({ "pageInfo": { "hasNextPage": true }, "edges": [edge] }))
    });
    let stream = stuck.network().results(PROCESS).sort(Sort::Descending).stream();
    assert_eq!(stream.collect::<Vec<_>>().await.len(), 1);
}

#[tokio::test]
async fn a_stream_ends_with_its_first_error() {
    let compute = Recorder::start(|_| recorder::json(500, json!({ "error": "no" })));
    let stream = compute.network().results(PROCESS).stream();
    let all = stream.collect::<Vec<_>>().await;
    assert_eq!(all.len(), 1);
    assert!(all[0].is_err());
}
