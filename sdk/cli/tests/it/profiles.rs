//! Networks with names.

use std::os::unix::fs::PermissionsExt;

use crate::program::{Signal, User};

const ID: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
const URLS: [&str; 6] =
    ["--mu-url", "http://127.0.0.1:1", "--cu-url", "http://127.0.0.1:2", "--gateway-url", "http://127.0.0.1:3"];

fn add(user: &User, name: &str, more: &[&str]) -> crate::program::Said {
    user.run(["network", "add", name].iter().chain(&URLS).chain(more))
}

#[test]
fn a_network_is_named_used_and_forgotten() {
    let user = User::new();
    assert_eq!(user.run(["network", "list"]).ok().out.lines().count(), 1, "there is the local one");
    add(&user, "team", &["--scheduler", ID]).ok();
    let file = user.home().join(".config/holon/networks.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "for its owner only");

    // Named once, chosen for good, or named in the environment: each time its compute unit is asked.
    let asks = |said: crate::program::Said, unit: &str| {
        assert_eq!(said.code, 3, "{said:?}");
        assert!(said.err.contains(unit), "{unit}: {}", said.err);
    };
    asks(user.run(["dry-run", ID, "--network", "team"]), "127.0.0.1:2");
    assert!(user.run(["dry-run", ID]).err.contains("holon up"), "nothing is in use");
    user.run(["network", "use", "team"]).ok();
    asks(user.run(["dry-run", ID]), "127.0.0.1:2");
    let environment = |variables: &[(&str, &str)], arguments: &[&str]| -> crate::program::Said {
        user.command(arguments).envs(variables.iter().copied()).output().unwrap().into()
    };
    // URLs of the environment go before the network in use, its name before them, and flags before everything.
    let elsewhere = ("CU_URL", "http://127.0.0.1:4");
    asks(environment(&[elsewhere], &["dry-run", ID]), "127.0.0.1:4");
    asks(environment(&[elsewhere, ("HOLON_NETWORK", "team")], &["dry-run", ID]), "127.0.0.1:2");
    asks(environment(&[elsewhere], &["dry-run", ID, "--network", "team"]), "127.0.0.1:2");
    asks(environment(&[("HOLON_NETWORK", "team")], &["dry-run", ID, "--cu-url", "http://127.0.0.1:5"]), "127.0.0.1:5");
    asks(user.run(["dry-run", ID, "--network", "team", "--cu-url", "http://127.0.0.1:6"]), "127.0.0.1:6");

    let shown = user.run(["network", "show", "--json"]).ok().json();
    assert_eq!(
        (&shown["name"], &shown["used"], &shown["profile"]["scheduler"]),
        (&"team".into(), &true.into(), &ID.into())
    );
    let list = user.run(["network", "list"]).ok().out;
    assert!(list.lines().any(|line| line.starts_with("● team")), "{list}");

    user.run(["network", "remove", "team"]).ok();
    assert!(user.run(["dry-run", ID]).err.contains("holon up"), "{list}");
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let user = User::new();
    for (arguments, code, says) in [
        (&["network", "add", "team"][..], 2, "--mu-url"),
        (&["network", "add", "local", "--mu-url", "http://127.0.0.1:1"], 2, "another name"),
        (&["network", "add", "a/b", "--mu-url", "http://127.0.0.1:1"], 2, "letters"),
        (&["network", "use", "nobody"], 2, "holon network add"),
        (&["network", "remove", "nobody"], 2, "nobody"),
        (&["dry-run", ID, "--network", "nobody"], 3, "holon network add nobody"),
        (&["network", "show", "local"], 3, "holon up"),
    ] {
        let said = user.run(arguments);
        assert_eq!(said.code, code, "{arguments:?}: {said:?}");
        assert!(said.err.contains(says), "{arguments:?}: {}", said.err);
    }
    add(&user, "team", &[]).ok();
    let again = add(&user, "team", &[]);
    assert!(again.code == 2 && again.err.contains("--replace"), "{again:?}");
    add(&user, "team", &["--replace", "--use"]).ok();
    std::fs::write(user.home().join(".config/holon/networks.toml"), "nonsense").unwrap();
    let said = user.run(["network", "list"]);
    assert!(said.code == 2 && said.err.contains("networks.toml"), "{said:?}");
}

#[test]
fn a_running_network_is_added_from_the_environment_and_works_by_name() {
    let user = User::new();
    let network = user.network("net");
    let record = user.run(["env", "--network", "net", "--json"]).ok().json();
    let url = |member: &str| record[member].as_str().unwrap().to_owned();
    let said = user
        .command([
            "network",
            "add",
            "here",
            "--scheduler",
            &url("scheduler"),
            "--authority",
            &url("authority"),
            "--use",
        ])
        .envs([("MU_URL", url("mu_url")), ("CU_URL", url("cu_url")), ("GATEWAY_URL", url("gateway_url"))])
        .output()
        .unwrap();
    crate::program::Said::from(said).ok();
    let counter = network.text("counter_process");
    let sent = user.run(["send", &counter, "--action", "Increment", "--json"]).ok().json();
    assert_eq!(sent["result"]["Output"], "2");
    // Its scheduler and authority are the network's, whatever the environment says of another.
    let spawned: crate::program::Said = user
        .command(["spawn", "--module", &network.text("counter_module"), "--json"])
        .env("SCHEDULER", ID)
        .output()
        .unwrap()
        .into();
    assert_eq!(spawned.ok().json()["scheduler"], record["scheduler"]);
}

#[test]
fn flags_win_over_a_running_network_each_for_its_unit_and_variables_do_not() {
    let user = User::new();
    let network = user.network("net");
    let dead = "http://127.0.0.1:1";
    let counter = network.text("counter_process");
    let by_name = |arguments: &[&str]| -> crate::program::Said {
        let mut command = user.command(arguments);
        let variables = ["MU_URL", "CU_URL", "GATEWAY_URL", "UPLOADER_URL"];
        command.env("HOLON_NETWORK", "net").envs(variables.map(|name| (name, "http://127.0.0.1:2")));
        command.output().unwrap().into()
    };
    by_name(&["dry-run", "counter", "--action", "Get"]).ok();
    let replay = ["replay", &counter, "--gateway-url", dead, "--data", "replayed"];
    for (line, wanted) in [
        (&["--cu-url", dead, "dry-run", "counter", "--action", "Get"][..], dead),
        (&["--mu-url", dead, "send", "counter", "--action", "Increment"], dead),
        (&replay, dead),
    ] {
        let named = [&["--network", "net"][..], line].concat();
        for said in [by_name(line), by_name(&named), user.run(&named)] {
            assert_eq!(said.code, 3, "{line:?}: {said:?}");
            assert!(said.err.contains(wanted), "{line:?}: {}", said.err);
        }
    }
    let told = by_name(&["env", "--json", "--gateway-url", dead]).ok().json();
    assert_eq!(told["graphql_url"], format!("{dead}/graphql"));
    assert_eq!(told["cu_url"], network.text("cu_url"));

    // A profile's own search is not asked about another gateway.
    let add = ["network", "add", "team", "--gateway-url", &network.text("gateway_url"), "--graphql-url"];
    user.run(add.iter().chain(&[network.text("graphql_url").as_str()])).ok();
    let said = user.run([&["--network", "team"][..], &replay[..]].concat());
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains(dead), "{}", said.err);
    network.stop(Signal::Interrupt);
}
