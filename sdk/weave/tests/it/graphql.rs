//! GraphQL: the queries that clients send, word for word where they are known, and the rules of filters and pages.

use holon_protocol::{DataItem, Signer};
use serde_json::{Value, json};

use crate::harness::{Weave, ed25519, item};

fn edges(data: &Value) -> Vec<Value> {
    data["transactions"]["edges"].as_array().unwrap().clone()
}

struct World {
    weave: Weave,
    su: Signer,
    user: Signer,
    location: DataItem,
    module: DataItem,
    process: DataItem,
}

/// A scheduler, a module and a process, with other things around them.
async fn world() -> World {
    let weave = Weave::start().await;
    let (su, user) = (ed25519(), ed25519());
    let old = [("Data-Protocol", "ao"), ("Type", "Scheduler-Location"), ("Url", "http://old"), ("Time-To-Live", "1")];
    weave.upload(&item(&su, &old, "x")).await;
    let new = [old[0], old[1], ("Url", "http://new"), ("Time-To-Live", "2")];
    let location = item(&su, &new, "x");
    weave.upload(&location).await;
    let module = item(&user, &[("Data-Protocol", "ao"), ("Type", "Module"), ("Name", "m")], vec![0; 9]);
    weave.upload(&module).await;
    let scheduler = su.address().to_string();
    let process_tags = [
        ("Data-Protocol", "ao"),
        ("Data-Protocol", "other"),
        ("Type", "Process"),
        ("Name", "my process"),
        ("Scheduler", &scheduler),
        ("Content-Type", "text/plain"),
    ];
    let process = item(&user, &process_tags, "hello");
    weave.upload(&process).await;
    weave.upload(&item(&user, &[("Data-Protocol", "ao"), ("Type", "Message"), ("Name", "m")], "x")).await;
    World { weave, su, user, location, module, process }
}

#[tokio::test]
async fn q1_module_check() {
    let World { weave, module, user, .. } = world().await;
    let query = "query GetTransactions ($transactionIds: [ID!]!) {
        transactions(ids: $transactionIds) {
          edges { node { owner { address } tags { name value } block { id height timestamp } } } } }";
    let found = edges(&weave.graphql(query, json!({ "transactionIds": [module.id()] })).await);
    let node = &found[0]["node"];
    assert_eq!(node["owner"]["address"], user.address().to_string());
    assert_eq!(node["tags"][1], json!({ "name": "Type", "value": "Module" }));
    assert!(node["block"]["height"].is_u64() && node["block"]["timestamp"].is_u64());
    assert_eq!(node["block"]["id"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn q2_scheduler_of_a_process() {
    let World { weave, process, su, .. } = world().await;
    let query = r#"query GetTransactions ($transactionIds: [ID!]!) {
        transactions(ids: $transactionIds, tags: [{ name: "Data-Protocol", values: ["ao"] }]) {
          edges { node { tags { name value } } } } }"#;
    let found = edges(&weave.graphql(query, json!({ "transactionIds": [process.id()] })).await);
    assert_eq!(found[0]["node"]["tags"][4]["value"], su.address().to_string());
    let unknown = json!({ "transactionIds": [holon_protocol::ItemId::from_bytes([1; 32])] });
    assert!(edges(&weave.graphql(query, unknown).await).is_empty());
}

#[tokio::test]
async fn q3_location_of_a_scheduler() {
    let World { weave, su, .. } = world().await;
    let query = r#"query GetSchedulerLocation ($owner: String!) {
        transactions (
          owners: [$owner]
          tags: [
            { name: "Data-Protocol", values: ["ao"] },
            { name: "Type", values: ["Scheduler-Location"] }
          ]
          # Only need the most recent Scheduler-Location
          sort: HEIGHT_DESC
          first: 1
        ) { edges { node { tags { name value } } } } }"#;
    let found = edges(&weave.graphql(query, json!({ "owner": su.address() })).await);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["node"]["tags"][2]["value"], "http://new");
}

#[tokio::test]
async fn q4_and_q9_everything_with_a_field_selected_twice() {
    let World { weave, process, user, .. } = world().await;
    let query = "query ($ids: [ID!]!) { transactions(ids: $ids) { edges { node {
        id anchor signature recipient owner { address key } fee { winston ar } quantity { winston ar }
        data { size type } tags { name value } block { id timestamp height previous } parent { id }
        bundledIn { id } block { height } } } } }";
    let found = edges(&weave.graphql(query, json!({ "ids": [process.id()] })).await);
    let node = &found[0]["node"];
    assert_eq!(node["recipient"], "");
    assert_eq!(node["anchor"], "");
    assert_eq!(node["owner"]["address"], user.address().to_string());
    assert_eq!(node["owner"]["key"], holon_protocol::base64url::encode(user.owner()));
    assert_eq!(node["signature"], holon_protocol::base64url::encode(process.signature()));
    assert_eq!(node["fee"], json!({ "winston": "0", "ar": "0.000000000000" }));
    assert_eq!(node["data"], json!({ "size": "5", "type": "text/plain" }));
    assert_eq!(node["parent"], Value::Null);
    assert_eq!(node["block"].as_object().unwrap().len(), 4);
    assert_eq!(node["tags"].as_array().unwrap().len(), 6, "duplicates stay");
}

#[tokio::test]
async fn q5_process_by_name_with_an_empty_owner_in_the_list() {
    let World { weave, process, user, .. } = world().await;
    let query = r#"query ($owners: [String!]!) {
        transactions(first: 10, owners: $owners, tags: [
          { name: "Data-Protocol", values: ["ao"] }, { name: "Type", values: ["Process"] },
          { name: "Name", values: ["my process"] }]) { edges { node { id tags { name value } } } } }"#;
    let found = edges(&weave.graphql(query, json!({ "owners": [user.address(), ""] })).await);
    assert_eq!(found[0]["node"]["id"], process.id().to_string());
    assert!(edges(&weave.graphql(query, json!({ "owners": [""] })).await).is_empty());
}

#[tokio::test]
async fn q6_module_by_name() {
    let World { weave, module, .. } = world().await;
    let query = r#"query FindAoModuleByName($name: String!) {
        transactions(tags: [{name: "Type", values: ["Module"]}, {name: "Data-Protocol", values: ["ao"]},
          {name: "Name", values: [$name]}] sort: HEIGHT_DESC first: 100
        ) { edges { node { id tags { name value } block { timestamp } } } } }"#;
    let found = edges(&weave.graphql(query, json!({ "name": "m" })).await);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["node"]["id"], module.id().to_string());
    assert!(found[0]["node"]["block"]["timestamp"].as_u64().unwrap() > 1_600_000_000);
}

#[tokio::test]
async fn q7_list_of_processes() {
    let World { weave, process, user, .. } = world().await;
    let query = r#"query ($owners: [String!]!) { transactions(first: 100, owners: $owners, tags: [
        { name: "Data-Protocol", values: ["ao"] }, { name: "Type", values: ["Process"] }])
        { edges { node { id owner { address } tags { name value } } } } }"#;
    let found = edges(&weave.graphql(query, json!({ "owners": [user.address()] })).await);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["node"]["id"], process.id().to_string());
}

#[tokio::test]
async fn q8_all_locations_page_by_page() {
    let World { weave, location, .. } = world().await;
    let query = r#"query GetSchedulerLocations($cursor: String) {
        transactions(tags: [{ name: "Type", values: ["Scheduler-Location"] }, { name: "Data-Protocol", values: ["ao"] }]
          first: 1 after: $cursor) { pageInfo { hasNextPage }
          edges { cursor node { id owner { address } tags { name value } block { id height timestamp } } } } }"#;
    let first = weave.graphql(query, json!({})).await;
    assert_eq!(first["transactions"]["pageInfo"]["hasNextPage"], true);
    assert_eq!(edges(&first)[0]["node"]["id"], location.id().to_string());
    let second = weave.graphql(query, json!({ "cursor": edges(&first)[0]["cursor"] })).await;
    assert_eq!(second["transactions"]["pageInfo"]["hasNextPage"], false);
    assert_eq!(edges(&second).len(), 1);
    assert_ne!(edges(&second)[0]["node"]["id"], location.id().to_string());
    let none = weave.graphql(query, json!({ "cursor": null })).await;
    assert_eq!(edges(&none).len(), 1);
}

#[tokio::test]
async fn q10_inlined_combinations() {
    let World { weave, process, user, .. } = world().await;
    let id = process.id();
    let arguments = format!(
        r#"ids: ["{id}"], owners: ["{}"], tags: [{{ name: "Type", values: ["Process", "Other"] }}], block: {{ min: 0, max: 9999999 }}, first: 5, sort: HEIGHT_ASC"#,
        user.address()
    );
    assert_eq!(weave.find(&arguments).await, [id.to_string()]);
    let (status, body) = weave
        .post_json(
            "/graphql",
            &json!({ "query": format!("query {{ transactions(ids: [\"{id}\"]) {{ edges {{ node {{ id signature anchor owner {{ address key }} tags {{ name value }} recipient }} }} }} }}"), "variables": {} }),
        )
        .await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains(&id.to_string()));
}

#[tokio::test]
async fn q11_blocks_by_height_and_cursor() {
    let World { weave, .. } = world().await;
    let tip = weave.height().await;
    let query = "query ($after: String, $sort: SortOrder) { blocks(first: 2, height: { min: 1500001 }, after: $after, sort: $sort) {
        pageInfo { hasNextPage } edges { cursor node { id timestamp height previous } } } }";
    for (sort, expected) in [("HEIGHT_ASC", [1_500_001, 1_500_002]), ("HEIGHT_DESC", [tip, tip - 1])] {
        let page = weave.graphql(query, json!({ "sort": sort })).await["blocks"].clone();
        let heights: Vec<_> =
            page["edges"].as_array().unwrap().iter().map(|edge| edge["node"]["height"].as_u64().unwrap()).collect();
        assert_eq!(heights, expected);
        assert_eq!(page["pageInfo"]["hasNextPage"], true);
        let next = weave.graphql(query, json!({ "sort": sort, "after": page["edges"][1]["cursor"] })).await;
        let step = |height: u64| if sort == "HEIGHT_ASC" { height + 1 } else { height - 1 };
        assert_eq!(next["blocks"]["edges"][0]["node"]["height"], step(expected[1]));
    }
    let id = weave.json("/info").await["current"].clone();
    let one = weave.graphql("query ($id: String) { block(id: $id) { height } }", json!({ "id": id })).await;
    assert_eq!(one["block"]["height"], tip);
}

#[tokio::test]
async fn metadata_with_fields_skipped_by_variables() {
    let World { weave, process, .. } = world().await;
    let query =
        "query GetTransactions ($ids: [ID!]!, $skipTags: Boolean!, $skipSignature: Boolean!, $skipAnchor: Boolean!) {
        transactions(ids: $ids) { edges { node { id signature @skip(if: $skipSignature) anchor @skip(if: $skipAnchor)
          owner { address key } tags @skip(if: $skipTags) { name value } recipient @include(if: true) } } } }";
    let variables = json!({ "ids": [process.id()], "skipTags": false, "skipSignature": true, "skipAnchor": true });
    let node = edges(&weave.graphql(query, variables).await)[0]["node"].clone();
    assert!(node.get("signature").is_none() && node.get("anchor").is_none());
    assert!(node["tags"].is_array());
}

#[tokio::test]
async fn attestations_up_to_a_height() {
    let World { weave, user, .. } = world().await;
    let tags = [("Data-Protocol", "ao"), ("Type", "Attestation"), ("Message", "M")];
    weave.upload(&item(&user, &tags, "x")).await;
    let height = weave.height().await;
    let query = r#"query ($owners: [String!], $max: Int) { transactions(owners: $owners, block: { min: 0, max: $max }, tags: [
        { name: "Type", values: ["Attestation"] }, { name: "Message", values: ["M"] },
        { name: "Data-Protocol", values: ["ao"] }]) { edges { node { id } } } }"#;
    let find = async |max: u64| {
        edges(&weave.graphql(query, json!({ "owners": ["x", user.address()], "max": max })).await).len()
    };
    assert_eq!((find(height).await, find(height - 1).await), (1, 0));
}

#[tokio::test]
async fn filters_are_exact_and_combine_as_the_rules_say() {
    let weave = Weave::start().await;
    let (one, two) = (ed25519(), ed25519());
    let a = item(&one, &[("App", "x"), ("App", "y"), ("Kind", "k")], "1");
    let b = item(&two, &[("App", "x")], "2");
    let c = DataItem::builder().target(a.id()).tag("App", "X").data("3").sign(&two).unwrap();
    for each in [&a, &b, &c] {
        weave.upload(each).await;
    }
    let names = [(a.id().to_string(), "a"), (b.id().to_string(), "b"), (c.id().to_string(), "c")];
    let (one, two) = (one.address(), two.address());
    for (arguments, expected) in [
        (String::new(), "cba"),
        ("sort: HEIGHT_ASC".into(), "abc"),
        ("first: 2".into(), "cb"),
        (r#"tags: [{name: "App", values: ["x"]}]"#.into(), "ba"),
        (r#"tags: [{name: "App", values: ["y"]}]"#.into(), "a"),
        (r#"tags: [{name: "App", values: ["y", "X"]}]"#.into(), "ca"),
        (r#"tags: [{name: "app", values: ["x"]}]"#.into(), ""),
        (r#"tags: [{name: "App", values: ["x"]}, {name: "Kind", values: ["k"]}]"#.into(), "a"),
        (r#"tags: [{name: "App", values: ["x"], op: EQ}, {name: "App", values: ["y"]}]"#.into(), "a"),
        (r#"tags: [{name: "App", values: ["y"], op: NEQ}]"#.into(), "cb"),
        (r#"tags: [{name: "App", values: []}]"#.into(), ""),
        (format!(r#"owners: ["{one}"]"#), "a"),
        (format!(r#"owners: ["{one}", "{two}"]"#), "cba"),
        (format!(r#"owners: ["{two}"], tags: [{{name: "App", values: ["x"]}}]"#), "b"),
        (r#"owners: ["0x1234"]"#.into(), ""),
        (format!(r#"recipients: ["{}"]"#, a.id()), "c"),
        (format!(r#"ids: ["{}", "{}", "nonsense"]"#, a.id(), c.id()), "ca"),
        (format!(r#"ids: ["{}"], owners: ["{two}"]"#, a.id()), ""),
        (r#"ids: ["nonsense"]"#.into(), ""),
        ("ids: []".into(), ""),
        (format!(r#"ids: [], owners: ["{one}"]"#), ""),
        ("owners: [], recipients: [], bundledIn: [], tags: []".into(), "cba"),
        ("block: {min: 0}".into(), "cba"),
        ("block: {min: 1500002}".into(), "cb"),
        ("block: {max: 1500002}".into(), "ba"),
        ("block: {min: 1500002, max: 1500002}".into(), "b"),
        ("block: {min: 5, max: 1}".into(), ""),
        ("block: {max: -1}".into(), ""),
        ("block: {}".into(), "cba"),
        ("first: 0".into(), ""),
        ("first: 100000".into(), "cba"),
        ("first: null, after: null, sort: null, tags: null, ids: null".into(), "cba"),
        (r#"tags: [{name: "App", values: ["x"], match: EXACT}]"#.into(), "ba"),
    ] {
        let arguments = if arguments.is_empty() { "first: 10".to_owned() } else { arguments };
        let found = weave.find(&arguments).await;
        let letters: String = found
            .iter()
            .map(|id| names.iter().find(|(name, _)| name == id).map_or("?", |(_, letter)| letter))
            .collect();
        assert_eq!(letters, expected, "{arguments}");
    }
}

#[tokio::test]
async fn rare_and_common_tags_meet_in_long_lists() {
    let weave = Weave::with(|_| {}).await;
    let signer = ed25519();
    for number in 0..120 {
        let third = (number % 3).to_string();
        let kind = if number % 40 == 7 { "rare" } else { "common" };
        weave
            .upload(&item(&signer, &[("Protocol", "ao"), ("Third", &third), ("Kind", kind)], number.to_string()))
            .await;
    }
    let count = async |arguments: &str| weave.find(arguments).await.len();
    let all = r#"{name: "Protocol", values: ["ao"]}"#;
    for sort in ["HEIGHT_ASC", "HEIGHT_DESC"] {
        assert_eq!(count(&format!("first: 200, sort: {sort}, tags: [{all}]")).await, 100, "a page is cut");
        let rare = format!(r#"first: 200, sort: {sort}, tags: [{all}, {{name: "Kind", values: ["rare"]}}]"#);
        assert_eq!(count(&rare).await, 3);
        let both = format!(
            r#"first: 200, sort: {sort}, tags: [{{name: "Kind", values: ["rare"]}}, {all}, {{name: "Third", values: ["1", "2"]}}]"#
        );
        // 7, 47 and 87 leave 1, 2 and 0.
        assert_eq!(count(&both).await, 2);
    }
}

#[tokio::test]
async fn the_root_answers_queries_too_and_so_does_get() {
    let World { weave, .. } = world().await;
    let (status, body) = weave.post_json("/", &json!({ "query": "{ transactions { edges { cursor } } }" })).await;
    assert_eq!(status, 200);
    assert_eq!(edges(&serde_json::from_str::<Value>(&body).unwrap()["data"]).len(), 5);
    let found = weave.text("/graphql?query=%7Btransactions%7Bedges%7Bcursor%7D%7D%7D").await;
    assert!(found.contains("cursor"));
}

#[tokio::test]
async fn a_full_page_with_every_field_is_allowed_but_not_many_of_them() {
    let World { weave, .. } = world().await;
    let node = "{ id anchor signature recipient owner { address key } fee { winston ar } quantity { winston ar }
        data { size type } tags { name value } block { id timestamp height previous } parent { id } bundledIn { id }
        block { height } }";
    let page = format!("transactions(first: 100) {{ pageInfo {{ hasNextPage }} edges {{ cursor node {node} }} }}");
    let found = weave.graphql(&format!("query {{ {page} }}"), json!({})).await;
    assert_eq!(edges(&found).len(), 5);
    let blocks =
        "{ blocks(first: 100) { pageInfo { hasNextPage } edges { cursor node { id timestamp height previous } } } }";
    weave.graphql(blocks, json!({})).await;
    // Also when the number hides in a variable, and with pages larger than what a page holds.
    for (first, variables) in [("100", json!({})), ("$n", json!({ "n": 100 })), ("2147483647", json!({}))] {
        let small = format!("transactions(first: {first}) {{ edges {{ node {{ tags {{ name value }} }} }} }}");
        let aliases: String = (0..190).map(|n| format!("a{n}: {small} ")).collect();
        let body = json!({ "query": format!("query ($n: Int) {{ {aliases} }}"), "variables": variables });
        let (status, answer) = weave.post_json("/graphql", &body).await;
        assert_eq!(status, 400);
        assert!(answer.contains("complex"), "{answer}");
    }
}

#[tokio::test]
async fn the_schema_can_be_asked_for() {
    let weave = Weave::start().await;
    let query =
        "{ __schema { types { name fields { name args { name defaultValue type { kind name ofType { name } } } } } } }";
    let schema = weave.graphql(query, json!({})).await.to_string();
    for name in ["TransactionConnection", "BlockFilter", "TagOperator", "hasNextPage", "bundledIn", "HEIGHT_DESC"] {
        assert!(schema.contains(name), "{name}");
    }
}

#[tokio::test]
async fn operations_are_chosen_by_name_and_commas_may_be_missing() {
    let World { weave, .. } = world().await;
    let body = json!({
        "query": "query A { transactions(first: 1 sort: HEIGHT_ASC) { edges { node { id } } } }, query B { blocks { pageInfo { hasNextPage } } }",
        "operationName": "B",
    });
    let (status, answer) = weave.post_json("/graphql", &body).await;
    assert_eq!(status, 200);
    assert!(answer.contains("blocks") && !answer.contains("transactions"), "{answer}");
}
