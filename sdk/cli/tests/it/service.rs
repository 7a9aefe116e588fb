//! Units as programs of their own: `holon weave`, `su`, `cu`, `mu`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::program::User;

/// A unit; killed when dropped.
struct Unit {
    child: Child,
    url: String,
}

impl Unit {
    /// Runs a unit until it says where it is.
    fn start(user: &User, arguments: &[&str]) -> Self {
        let mut command = user.command(arguments);
        let mut child =
            command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://"), "{arguments:?} said {url:?}");
        Self { child, url: url.trim().to_owned() }
    }

    /// Asks it to stop, as an operator's supervisor does.
    fn stop(mut self) -> Option<i32> {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where other programs find a scheduler.
fn located(gateway: &str, scheduler: &str) -> url::Url {
    let options = holon_arweave::GatewayOptions::new(gateway.parse().unwrap());
    let gateway = holon_arweave::Gateway::new(options).unwrap();
    let policy = holon_arweave::UrlPolicy { allow_private: true };
    let locator = holon_arweave::Locator::new(gateway, policy, Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(locator.by_wallet(scheduler.parse().unwrap())).unwrap().url
}

#[test]
fn a_network_can_be_started_unit_by_unit() {
    let user = User::new();
    for name in ["mu", "su", "cu"] {
        user.run(["wallet", "new", "--type", "ed25519", "--out", &format!("{name}.json")]).ok();
    }
    let weave = Unit::start(&user, &["weave", "--data-dir", "weave"]);
    let su = Unit::start(&user, &["su", "--wallet-path", "su.json", "--data-dir", "su", "--gateway-url", &weave.url]);
    let address = user.run(["wallet", "show", "--wallet", "su.json", "--json"]).ok().json();
    let address = address["address"].as_str().unwrap();
    let known = format!("{address}={}", su.url);
    let common = ["--gateway-url", &weave.url, "--allow-private-urls", "--scheduler-url", &known];
    let cu = Unit::start(&user, &[&["cu", "--wallet", "cu.json", "--data-dir", "cu"], &common[..]].concat());
    let mu_line = ["mu", "--wallet", "mu.json", "--data-dir", "mu", "--cu-url", &cu.url];
    let mu = Unit::start(&user, &[&mu_line, &common[..]].concat());

    // Nobody is told where it is by somebody else's wallet, or without one.
    let announce =
        |wallet: &str| user.run(["announce", &su.url, "--wallet", wallet, "--gateway-url", &weave.url, "--json"]);
    let said = announce("cu.json");
    assert!(said.code == 2 && said.err.contains(address), "{said:?}");
    let said = user.run(["announce", &su.url, "--gateway-url", &weave.url]);
    assert!(said.code == 2 && said.err.contains("--wallet su.json"), "{said:?}");
    let announced = announce("su.json").ok().json();
    assert_eq!((&announced["scheduler"], &announced["time_to_live"]), (&address.into(), &3600.into()));
    let found = located(&weave.url, address);
    assert_eq!(found.as_str().trim_end_matches('/'), su.url);

    let named = ["--mu-url", &mu.url, "--cu-url", &cu.url, "--gateway-url", &weave.url];
    user.run(["network", "add", "mine", "--scheduler", address, "--use"].iter().chain(&named)).ok();
    let wasm = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wasm-processes/counter/counter.wasm");
    user.run(["wallet", "new", "--type", "ed25519"]).ok();
    let module = user.run(["publish", wasm, "--memory-limit", "16-mb", "--json"]).ok().json();
    let spawned = user.run(["spawn", "--module", module["module"].as_str().unwrap(), "--json"]).ok().json();
    let process = spawned["process"].as_str().unwrap();
    let sent = user.run(["send", process, "--action", "Increment", "--data", "7", "--json"]).ok().json();
    assert_eq!(sent["result"]["Output"], "7", "{sent}");

    for unit in [mu, cu, su, weave] {
        let url = unit.url.clone();
        assert_eq!(unit.stop(), Some(0), "{url} stops in order");
    }
}

#[test]
fn a_unit_says_what_it_needs() {
    let user = User::new();
    let said = user.run(["su", "--data-dir", "su"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("--wallet-path"), "{}", said.err);
    let said = user.run(["su", "--data-dir", "su", "--wallet-path", "missing.json"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("missing.json"), "{}", said.err);
}
