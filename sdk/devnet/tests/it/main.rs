//! The test kit, tested as its users use it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod failures;
mod life;
mod many;
mod time;

use std::sync::LazyLock;

use holon_devnet::Network;

fn wasm(name: &str) -> Vec<u8> {
    let path = format!("{}/../../wasm-processes/{name}/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

static COUNTER: LazyLock<Vec<u8>> = LazyLock::new(|| wasm("counter"));

async fn start() -> Network {
    Network::start().await.unwrap()
}
