//! `holon-arweave` against the real thing: reading, uploading, locating.

use std::time::Duration;

use holon_arweave::{
    Error, Gateway, GatewayOptions, LocateError, Locator, Node, Query, Transaction, UploadError, Uploader, UrlPolicy,
    Verified,
};
use holon_protocol::{BlockHeight, Bundle, DataItem, ItemId, Signer, Tags};
use url::Url;

use crate::harness::{Weave, ed25519, generated, item, rsa};

const LOCAL: UrlPolicy = UrlPolicy { allow_private: true };

fn gateway(weave: &Weave) -> Gateway {
    let url = Url::parse(&weave.url).unwrap();
    Gateway::new(GatewayOptions { retries: 2, backoff: Duration::from_millis(1), ..GatewayOptions::new(url) }).unwrap()
}

fn location(signer: &Signer, url: &str) -> DataItem {
    let tags = [("Data-Protocol", "ao"), ("Type", "Scheduler-Location"), ("Url", url), ("Time-To-Live", "3600000")];
    item(signer, &tags, "x")
}

fn process(signer: &Signer, scheduler: &str) -> DataItem {
    item(signer, &[("Data-Protocol", "ao"), ("Type", "Process"), ("Scheduler", scheduler)], "x")
}

#[tokio::test]
async fn what_is_uploaded_can_be_read_in_every_way() {
    let weave = Weave::start().await;
    let (gateway, uploader) = (gateway(&weave), Uploader::new(Url::parse(&weave.url).unwrap()).unwrap());
    let data = generated(300_000);
    let signer = ed25519();
    let target = ItemId::from_bytes([3; 32]);
    let item = DataItem::builder().target(target).anchor([4; 32]).tag("Name", "v").data(data.clone());
    let item = item.sign(&signer).unwrap();
    uploader.upload(&item).await.unwrap();
    uploader.upload(&item).await.unwrap();

    assert_eq!(gateway.raw(item.id()).await.unwrap(), data);
    assert_eq!(gateway.range(item.id(), 5, 10).await.unwrap(), data.slice(5..10));
    assert_eq!(gateway.size(item.id()).await.unwrap(), Some(300_000));
    assert!(gateway.exists(item.id()).await.unwrap());
    let node = gateway.node(item.id()).await.unwrap().unwrap();
    assert_eq!(node.owner.address, signer.address());
    assert_eq!(node.tags, *item.tags());
    assert_eq!(node.recipient, target.to_string());
    assert_eq!(node.anchor, ItemId::from_bytes([4; 32]).to_string());
    let block = node.block.unwrap();
    assert!(block.timestamp.0 > 1_600_000_000_000, "milliseconds");
    assert_eq!(gateway.info().await.unwrap().height, block.height);
    assert_eq!(gateway.blocks(block.height, 5).await.unwrap(), [block]);

    let unknown = ItemId::from_bytes([5; 32]);
    assert!(matches!(gateway.raw(unknown).await, Err(Error::NotFound(_))));
    assert!(!gateway.exists(unknown).await.unwrap());
    assert_eq!(gateway.size(unknown).await.unwrap(), None);
    assert_eq!(gateway.node(unknown).await.unwrap(), None);
    assert_eq!(gateway.status(unknown).await.unwrap(), None);
    assert_eq!(gateway.transaction(unknown).await.unwrap(), None);
    assert!(gateway.block(block.height).await.unwrap().is_some());
    assert!(gateway.block(BlockHeight(5)).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_read_is_bound_to_its_id() {
    let weave = Weave::start().await;
    let (gateway, signer) = (gateway(&weave), ed25519());
    let placed = async |id: ItemId| gateway.placed_nodes(&Query::ids([id])).await.unwrap().nodes.remove(0);
    let alone = DataItem::builder().target(ItemId::from_bytes([3; 32])).anchor([4; 32]).tag("A", "ä").data("alone");
    let alone = alone.sign(&signer).unwrap();
    let inner = ["first", "second"].map(|text| item(&signer, &[("Text", text)], text));
    let container = DataItem::builder().tag("Bundle-Format", "binary").tag("Bundle-Version", "2.0.0");
    let container = container.data(Bundle::encode(&inner)).sign(&signer).unwrap();
    for item in [&alone, &container] {
        weave.upload(item).await;
    }

    let node = placed(alone.id()).await;
    assert_eq!((node.bundled_in, node.data_bytes), (None, Some(5)));
    assert_eq!(gateway.item(&node, 5).await.unwrap().raw(), alone.raw());
    assert!(matches!(gateway.item(&node, 4).await, Err(Error::TooLarge { limit: 4, .. })));
    for forged in [
        Node { tags: Tags::from_iter([("A", "b")]), ..node.clone() },
        Node { recipient: String::new(), ..node.clone() },
        Node { anchor: "short".into(), ..node.clone() },
        Node { signature: String::new(), ..node.clone() },
        // Not a bundle, and a bundle of other items.
        Node { signature: String::new(), bundled_in: Some(alone.id()), ..node.clone() },
        Node { signature: String::new(), bundled_in: Some(container.id()), ..node.clone() },
        // Another item's id.
        Node { id: inner[0].id(), data_bytes: None, ..node.clone() },
    ] {
        let error = gateway.item(&forged, 100).await.unwrap_err();
        assert!(matches!(error, Error::Forged { .. }) && !error.retryable(), "{error}");
        let error = gateway.header(&forged, 100).await.unwrap_err();
        assert!(matches!(error, Error::Forged { .. }), "{error}");
    }
    // Everything but the data, which is read and not kept.
    let header = gateway.header(&node, 5).await.unwrap();
    assert_eq!((header.id, &header.tags, header.target), (alone.id(), alone.tags(), alone.target()));
    assert!(matches!(gateway.header(&node, 4).await, Err(Error::TooLarge { limit: 4, .. })));
    // A gateway that says too little about the size gives nothing that is larger.
    let small = Node { data_bytes: Some(3), ..node.clone() };
    assert!(matches!(gateway.item(&small, 100).await, Err(Error::Forged { .. })));

    // What a gateway leaves out, the bundle around the item has.
    let node = placed(inner[1].id()).await;
    assert_eq!((node.bundled_in, node.data_bytes), (Some(container.id()), Some(6)));
    for node in
        [node.clone(), Node { signature: String::new(), ..node.clone() }, Node { tags: Tags::default(), ..node }]
    {
        assert_eq!(gateway.item(&node, 10_000).await.unwrap().raw(), inner[1].raw());
    }
    assert_eq!(gateway.bundle_ids(container.id()).await.unwrap(), inner.map(|item| item.id()));
    assert!(gateway.bundle_ids(alone.id()).await.unwrap().is_empty());

    let tags = Tags::from_iter([("On", "chain")]);
    let transaction = Transaction::data("on chain", &tags, &[], 0).sign(&rsa()).unwrap();
    weave.post_json("/tx", &transaction.to_json(true)).await;
    let node = placed(transaction.id).await;
    match gateway.verified(&node, 100).await.unwrap() {
        Verified::Transaction(verified, data) => {
            assert_eq!((verified.text_tags(), &data[..]), (tags, &b"on chain"[..]));
            assert_eq!(verified.signature, transaction.signature);
        }
        Verified::Item(item) => panic!("{item:?}"),
    }
    assert!(matches!(gateway.verified(&node, 7).await, Err(Error::TooLarge { limit: 7, .. })));
    // The header of a transaction is signed without its data, which is not read.
    let header = gateway.header(&node, 0).await.unwrap();
    assert_eq!((header.id, header.owner), (transaction.id, transaction.owner));
}

#[tokio::test]
async fn transactions_have_a_status_and_a_json_form() {
    let weave = Weave::start().await;
    let transaction = Transaction::data("x", &Tags::default(), &[], 0).sign(&rsa()).unwrap();
    weave.post_json("/tx", &transaction.to_json(true)).await;
    let gateway = gateway(&weave);
    assert_eq!(gateway.status(transaction.id).await.unwrap().unwrap().confirmations, 1);
    assert_eq!(gateway.transaction(transaction.id).await.unwrap().unwrap()["id"], transaction.id.to_string());
}

#[tokio::test]
async fn pages_lead_through_everything_once() {
    let weave = Weave::start().await;
    let (gateway, signer) = (gateway(&weave), ed25519());
    for number in 0..7 {
        weave.upload(&item(&signer, &[("N", &number.to_string())], "x")).await;
    }
    for ascending in [false, true] {
        let mut query = Query { first: Some(3), ascending, ..Query::default().owner(signer.address()) };
        let mut seen = Vec::new();
        loop {
            let page = gateway.nodes(&query).await.unwrap();
            seen.extend(page.nodes.iter().map(|node| node.tags.get("N").unwrap().to_owned()));
            if !page.has_next_page {
                break;
            }
            query.after = page.end_cursor;
        }
        let mut expected: Vec<_> = (0..7).map(|number| number.to_string()).collect();
        if !ascending {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn forged_items_are_rejected_for_good() {
    let weave = Weave::start().await;
    let mut raw = item(&ed25519(), &[], "x").raw().to_vec();
    *raw.last_mut().unwrap() ^= 1;
    let uploader = Uploader::new(Url::parse(&weave.url).unwrap()).unwrap();
    let error = uploader.upload(&DataItem::parse(raw).unwrap()).await.unwrap_err();
    assert!(matches!(error, UploadError::Rejected { status: 400, .. }), "{error}");
    assert!(!error.retryable());
}

#[tokio::test]
async fn the_newest_location_of_the_right_wallet_is_found() {
    let weave = Weave::start().await;
    let (su, stranger) = (ed25519(), ed25519());
    weave.upload(&location(&su, "http://127.0.0.1:1")).await;
    weave.upload(&location(&su, " http://127.0.0.1:2/base// ")).await;
    weave.upload(&location(&stranger, "http://127.0.0.1:3")).await;
    let process = process(&stranger, &su.address().to_string());
    weave.upload(&process).await;

    let locator = Locator::new(gateway(&weave), LOCAL, Vec::new());
    let found = locator.by_wallet(su.address()).await.unwrap();
    assert_eq!((found.address, found.base()), (su.address(), "http://127.0.0.1:2/base"));
    assert_eq!(locator.by_process(process.id().into(), None).await.unwrap(), found);
    assert_eq!(
        locator.by_process(process.id().into(), Some(stranger.address())).await.unwrap().base(),
        "http://127.0.0.1:3"
    );

    // Remembered for the record's time to live.
    weave.upload(&location(&su, "http://127.0.0.1:9")).await;
    assert_eq!(locator.by_wallet(su.address()).await.unwrap(), found);
}

#[tokio::test]
async fn overrides_come_first() {
    let weave = Weave::start().await;
    let su = ed25519();
    weave.upload(&location(&su, "http://127.0.0.1:1")).await;
    let url = Url::parse("http://127.0.0.1:7/").unwrap();
    let locator = Locator::new(gateway(&weave), UrlPolicy::default(), vec![(su.address(), url.clone())]);
    assert_eq!(locator.by_wallet(su.address()).await.unwrap().url, url);
}

#[tokio::test]
async fn what_cannot_be_located_says_why() {
    let weave = Weave::start().await;
    let su = ed25519();
    let bad = |tags: &[(&str, &str)]| {
        let signer = ed25519();
        let mut all = vec![("Data-Protocol", "ao"), ("Type", "Scheduler-Location")];
        all.extend_from_slice(tags);
        (signer.address(), item(&signer, &all, "x"))
    };
    let cases = [
        bad(&[("Time-To-Live", "1")]),
        bad(&[("Url", "http://a.example")]),
        bad(&[("Url", "not a url"), ("Time-To-Live", "1")]),
        bad(&[("Url", "http://a.example"), ("Time-To-Live", "soon")]),
    ];
    let locator = Locator::new(gateway(&weave), UrlPolicy::default(), Vec::new());
    for (wallet, record) in cases {
        weave.upload(&record).await;
        let error = locator.by_wallet(wallet).await.unwrap_err();
        assert!(matches!(error, LocateError::InvalidLocation { .. }), "{error}");
        assert!(!error.retryable());
    }
    let error = locator.by_wallet(su.address()).await.unwrap_err();
    assert!(matches!(error, LocateError::LocationNotFound(_)), "{error}");
    let unknown = holon_protocol::ProcessId::from_bytes([1; 32]);
    let error = locator.by_process(unknown, None).await.unwrap_err();
    assert!(matches!(error, LocateError::ProcessNotFound(_)), "{error}");
    let homeless = process(&su, "nobody");
    weave.upload(&homeless).await;
    let error = locator.by_process(homeless.id().into(), None).await.unwrap_err();
    assert!(matches!(error, LocateError::NoScheduler(_)), "{error}");
    for url in ["http://127.0.0.1:9000", "http://[::1]/", "http://localhost", "file:///etc/passwd"] {
        let (wallet, record) = bad(&[("Url", url), ("Time-To-Live", "1")]);
        weave.upload(&record).await;
        let error = locator.by_wallet(wallet).await.unwrap_err();
        assert!(matches!(error, LocateError::Refused { .. }), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_router_is_asked_where_a_process_lives_and_cannot_lead_inside() {
    use std::io::{Read, Write};
    // A router that sends everybody to the address it is told to.
    let router = |target: &'static str| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 2048];
            let length = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let head = format!("HTTP/1.1 307 There\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            request
        });
        format!("http://{address}")
    };
    let weave = Weave::start().await;
    for (target, expected) in [("http://127.0.0.1:5/some/path?x=y", Some("http://127.0.0.1:5")), ("file:///etc", None)]
    {
        let su = ed25519();
        weave.upload(&location(&su, &router(target))).await;
        let process = process(&su, &su.address().to_string());
        weave.upload(&process).await;
        let locator = Locator::following_redirects(gateway(&weave), LOCAL, Vec::new()).unwrap();
        let found = locator.by_process(process.id().into(), None).await;
        match expected {
            Some(base) => {
                assert_eq!(found.unwrap().base(), base);
                // Remembered: the router answers only once.
                assert_eq!(locator.by_process(process.id().into(), None).await.unwrap().base(), base);
            }
            None => assert!(matches!(found, Err(LocateError::Refused { .. })), "{found:?}"),
        }
    }
}
