//! The published aoconnect 0.0.98, unmodified, with the official modules.

use holon_tests::{network::Network, peers};

fn drive(module: &str, format: &str) {
    let network = Network::start().unwrap();
    let ready = network.ready();
    let output = peers::script("official-client.mjs")
        .unwrap()
        .arg(peers::module(module).unwrap())
        .arg(format)
        .env("GATEWAY_URL", &ready.gateway_url)
        .env("UPLOADER_URL", &ready.uploader_url)
        .env("MU_URL", &ready.mu_url)
        .env("CU_URL", &ready.cu_url)
        .env("SCHEDULER", &ready.scheduler)
        .env("AUTHORITY", &ready.authority)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{module}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn it_gets_answers_from_the_64_bit_aos() {
    drive("aos2_0_6", "wasm64-unknown-emscripten-draft_2024_02_15");
}

#[test]
fn it_gets_answers_from_the_32_bit_aos() {
    drive("aos2_0_4_32", "wasm32-unknown-emscripten4");
}
