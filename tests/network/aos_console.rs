//! Every request of the aos console, made by the published aoconnect (spec 07 §5).

use holon_tests::{network::Network, peers};

use crate::command_line::done;

#[test]
fn the_aos_console_finds_everything_it_asks_for() {
    let network = Network::start().unwrap();
    let wasm = peers::module("aos2_0_6").unwrap();
    // Two modules of one name: the console takes the newer one, by the time of its block.
    let publish = |version: &str| {
        let (tag, wasm) = (format!("Version={version}"), wasm.to_str().unwrap());
        let line = ["publish", wasm, "--format", "aos64", "--tag", "Name=our-aos", "--tag", &tag];
        done(&network, &line)["module"].as_str().unwrap().to_owned()
    };
    let (_older, module) = (publish("1"), publish("2"));
    let mut script = peers::script("aos-console.mjs").unwrap();
    script.args(["our-aos", &module]);
    // What `holon env` prints is all that the console is told.
    let output = network.command().unwrap().arg("env").output().unwrap();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (name, value) = line.strip_prefix("export ").unwrap().split_once('=').unwrap();
        script.env(name, value);
    }
    let output = script.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
