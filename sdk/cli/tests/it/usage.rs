//! Wrong command lines and unreachable networks: which exit code, and what the user is told to do.

use crate::program::User;

const ID: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

#[test]
fn wrong_arguments_exit_with_2() {
    let user = User::new();
    let cases: &[&[&str]] = &[
        &[],
        &["nonsense"],
        &["send"],
        &["send", "short"],
        &["send", ID, "--tag", "no-equals-sign"],
        &["send", ID, "--data", "a", "--file", "b"],
        &["spawn"],
        &["spawn", "--module", ID, "--cron", "soon"],
        &["spawn", "--module", ID, "--cron-tag", "Action=Tick"],
        &["eval", ID],
        &["results", ID, "--limit", "0"],
        &["up", "--port", "65533"],
        &["publish", "missing.wasm"],
        &["send", ID, "--mu-url", "not a url"],
    ];
    for arguments in cases {
        let said = user.run(*arguments);
        assert_eq!(said.code, 2, "{arguments:?}: {said:?}");
        assert!(!said.err.is_empty(), "{arguments:?}");
        assert!(said.out.is_empty(), "{arguments:?}: {}", said.out);
    }
}

#[test]
fn without_a_network_the_user_learns_how_to_start_one() {
    let said = User::new().run(["send", "counter", "--action", "Get"]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("holon up"), "{}", said.err);
}

#[test]
fn an_unreachable_unit_exits_with_3() {
    let user = User::new();
    let nowhere = "http://127.0.0.1:1";
    let said = user.run(["dry-run", ID, "--action", "Get", "--cu-url", nowhere]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("compute unit") && said.err.contains(nowhere), "{}", said.err);
}

#[test]
fn with_json_failures_are_json_on_standard_error() {
    let said = User::new().run(["dry-run", ID, "--json", "--cu-url", "http://127.0.0.1:1"]);
    assert_eq!(said.code, 3);
    assert!(said.out.is_empty());
    let failure: serde_json::Value = serde_json::from_str(&said.err).unwrap();
    assert!(failure["error"].as_str().unwrap().contains("compute unit"), "{failure}");
    // Also those of the command line itself.
    for (line, error) in
        [(["sned", "--json"], "sned"), (["retry", "--json"], "required"), (["--json", "logs"], "required")]
    {
        let said = User::new().run(line);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{line:?}");
        let failure: serde_json::Value = serde_json::from_str(&said.err).unwrap();
        assert!(failure["error"].as_str().unwrap().contains(error), "{failure}");
        assert!(failure["hint"].as_str().unwrap().contains("holon"), "{failure}");
    }
}

#[test]
fn urls_of_one_network_are_not_mixed_with_those_of_another() {
    let user = User::new();
    let said = user.run(["dry-run", ID, "--mu-url", "http://127.0.0.1:1"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("--cu-url") && said.err.contains("CU_URL"), "{}", said.err);
}

#[test]
fn the_environment_names_the_units() {
    let user = User::new();
    let output = user.command(["dry-run", ID]).env("CU_URL", "http://127.0.0.1:1").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("http://127.0.0.1:1"));
}

#[test]
fn a_file_that_is_not_wasm_is_not_published() {
    let user = User::new();
    std::fs::write(user.home().join("a.wasm"), "text").unwrap();
    let said = user.run(["publish", "a.wasm"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("not a Wasm file"), "{}", said.err);
}

#[test]
fn a_module_of_unknown_format_asks_for_one() {
    let user = User::new();
    std::fs::write(user.home().join("a.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let said = user.run(["publish", "a.wasm"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("--format"), "{}", said.err);
}
