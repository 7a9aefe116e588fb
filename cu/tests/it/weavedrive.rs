//! WeaveDrive over a real gateway: who may read what, and what a read gives (spec 06 §9).

use std::time::{Duration, Instant};

use holon_protocol::{DataItem, ItemId};

use crate::network::Network;
use crate::official::{aos, send, shown};

/// Heights reach the scheduler every few seconds.
const HEIGHTS_WITHIN: Duration = Duration::from_secs(90);

async fn publish(network: &Network, data: impl Into<Vec<u8>>, tags: &[(&str, &str)]) -> ItemId {
    let mut item = DataItem::builder().data(data.into());
    for (name, value) in tags {
        item = item.tag(*name, *value);
    }
    let item = item.sign(&network.user).unwrap();
    network.publish(&item).await;
    item.id()
}

/// What a new process with these tags makes of some Lua; the error when nothing was recorded.
async fn eval(network: &Network, tags: &[(&str, &str)], lua: &str) -> Result<String, String> {
    let process = aos(network, tags).await;
    let message = send(network, process, lua).await;
    let (status, body) = network.json(&format!("/result/{message}?process-id={process}")).await;
    match status {
        200 => Ok(shown(&body).to_owned()),
        _ => {
            let listed = network.outputs(process).await;
            assert!(listed.len() <= 1, "{listed:?} was recorded");
            Err(body["error"].as_str().unwrap().to_owned())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_to_boot_from_is_admitted_and_nothing_else() {
    let network = Network::start().await;
    let boot = publish(&network, "Booted = 41", &[]).await.to_string();
    let other = publish(&network, "other", &[]).await;
    let tags = [("On-Boot", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), ("On-Boot", boot.as_str())];
    // The last of several counts.
    assert_eq!(eval(&network, &tags[1..], "return Booted + 1").await.as_deref(), Ok("42"));
    let read = format!("return io.open('/data/{other}'):read(5)");
    let denied = eval(&network, &tags[1..], &read).await.unwrap_err();
    assert!(denied.contains("HALT") && denied.contains("no attestation"), "{denied}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn individually_available_data_is_admitted_where_the_process_says_so() {
    let network = Network::start().await;
    let data: String = (0..150_000).map(|number| format!("{number:010}")).collect();
    let id = publish(&network, data.clone(), &[]).await;
    let tags = [("Data-Protocol", "WeaveDrive"), ("Type", "Available"), ("ID", &*id.to_string())];
    publish(&network, "", &tags).await;
    let attestor = network.user.address().to_string();
    let individual = [("Availability-Type", "Individual"), ("Attestor", attestor.as_str())];
    // Reads at the start, elsewhere, over the border of what is fetched at once, and after a seek to the end, where reading
    // begins anew.
    let read = format!(
        "local f = io.open('/data/{id}'); local size = f:seek('end'); f:seek('set', 0); local a = f:read(12); \
         f:seek('set', 1048570); local b = f:read(20); f:seek('end'); local c = f:read(5); f:close(); \
         return size .. '|' .. a .. '|' .. b .. '|' .. c"
    );
    let expected = format!("{}|{}|{}|{}", data.len(), &data[..12], &data[1_048_570..1_048_590], &data[..5]);
    let started = Instant::now();
    loop {
        match eval(&network, &individual, &read).await {
            Ok(found) => break assert_eq!(found, expected),
            Err(error) => assert!(error.contains("no attestation") && started.elapsed() < HEIGHTS_WITHIN, "{error}"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // The height is there now: what is refused from here on is refused by rule.
    let refused = [
        (vec![("Attestor", attestor.as_str())], "no attestation"),
        (vec![("Availability-Type", "Library"), ("Attestor", attestor.as_str())], "Library is not supported"),
        (vec![("Availability-Type", "Some"), ("Attestor", attestor.as_str())], "is not Assignments, Individual or"),
        (vec![("Availability-Type", "Individual")], "no attestation"),
    ];
    for (tags, reason) in refused {
        let error = eval(&network, &tags, &read).await.unwrap_err();
        assert!(error.contains("HALT") && error.contains(reason), "{tags:?}: {error}");
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_the_gateways_and_other_paths_are_no_files() {
    let network = Network::start().await;
    publish(&network, "makes a block", &[]).await;
    let info: serde_json::Value =
        network.client.get(network.gateway.join("info").unwrap()).send().await.unwrap().json().await.unwrap();
    let height = info["height"].as_u64().unwrap();
    let block = network.gateway.join(&format!("block/height/{height}")).unwrap();
    let block = network.client.get(block).send().await.unwrap().text().await.unwrap();
    let read = format!(
        "local f = io.open('/block/{height}'); local text = f:read(f:seek('end')); \
         local again = f:read(5); return text .. '|' .. again .. '|' .. tostring(io.open('/headers/{height}')) .. \
         tostring(io.open('/data')) .. tostring(io.open('./some.lua'))"
    );
    let found = eval(&network, &[], &read).await.unwrap();
    assert_eq!(found, format!("{block}|{}|nilnilnil", &block[..5]));
    let missing = eval(&network, &[], "return io.open('/block/99999999'):read(1)").await.unwrap_err();
    assert!(missing.contains("HALT: FILE NOT FOUND"), "{missing}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_test_mode_every_process_reads_everything() {
    let network = Network::start_with(|options| options.weavedrive_test = true).await;
    let id = publish(&network, "anything", &[]).await;
    let read = format!("local f = io.open('/data/{id}'); return f:read(f:seek('end'))");
    // Its module has no such extension, and nobody attested it.
    assert_eq!(eval(&network, &[("Availability-Type", "None")], &read).await.as_deref(), Ok("anything"));
    network.stop().await;
}
