//! From nothing to a process on a network: `holon init`, `test`, `build`, `deploy`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Said, User};

const WASM_PROCESSES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wasm-processes");
const TARGET: &str = "wasm32-unknown-unknown";

/// A user with a new project, who has Rust.
struct Author {
    user: User,
    folder: PathBuf,
}

impl Author {
    fn new() -> Self {
        let user = User::new();
        // Without --sdk: this program was built from a checkout.
        user.run(["init", "jar"]).ok();
        let folder = user.home().join("jar");
        // The versions that are here already: a test fetches nothing.
        fs::copy(Path::new(WASM_PROCESSES).join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        Self { user, folder }
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = self.user.command(arguments);
        command.current_dir(&self.folder);
        for name in ["PATH", "RUSTUP_HOME", "CARGO_HOME", "RUSTUP_TOOLCHAIN"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let home = std::env::home_dir().unwrap();
        for (name, folder) in [("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")] {
            if std::env::var_os(name).is_none() {
                command.env(name, home.join(folder));
            }
        }
        command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("projects"));
        command.output().unwrap().into()
    }

    fn file(&self) -> String {
        fs::read_to_string(self.folder.join("holon.toml")).unwrap()
    }
}

#[test]
fn a_new_project_passes_its_tests() {
    let author = Author::new();
    let said = author.run(&["test"]).ok();
    assert!(said.out.contains("test only_the_owner_empties_it ... ok"), "{}", said.out);
    let lib = author.folder.join("src/lib.rs");
    let broken = fs::read_to_string(&lib).unwrap().replace("self.coins.plus(put.quantity)?", "put.quantity");
    fs::write(&lib, broken).unwrap();
    let said = author.run(&["test", "--", "coins_add_up"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("did not pass"), "{}", said.err);
}

#[test]
fn a_module_is_built_or_the_target_is_asked_for() {
    let author = Author::new();
    let folder = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output().unwrap();
    let installed = Path::new(String::from_utf8(folder.stdout).unwrap().trim()).is_dir();
    let said = author.run(&["build", "--json"]);
    if installed {
        let wasm = PathBuf::from(said.ok().json()["wasm"].as_str().unwrap());
        assert!(fs::read(wasm).unwrap().starts_with(b"\0asm"));
    } else {
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(&format!("rustup target add {TARGET}")), "{}", said.err);
    }
}

#[test]
fn a_project_is_deployed_once_for_each_module_and_known_by_its_name() {
    let author = Author::new();
    let _network = author.user.network(".holon");
    let module = |name: &str| format!("{WASM_PROCESSES}/{name}/{name}.wasm");
    let not_yet = author.run(&["send", "jar", "--action", "Increment"]);
    assert_eq!(not_yet.code, 2, "{not_yet:?}");
    assert!(not_yet.err.contains("holon deploy"), "{}", not_yet.err);

    let own = author.file();
    let counter = module("counter");
    let first = author.run(&["deploy", "--wasm", &counter, "--json"]).ok().json();
    assert_eq!(
        (&first["network"], &first["published"], &first["spawned"]),
        (&"local".into(), &true.into(), &true.into())
    );
    let file = author.file();
    assert!(file.starts_with(own.trim_end()) && file.contains(first["process"].as_str().unwrap()), "{file}");
    let sent = author.run(&["send", "jar", "--action", "Increment", "--data", "7", "--json"]).ok().json();
    assert_eq!((&sent["process"], &sent["result"]["Output"]), (&first["process"], &"7".into()));

    let again = author.run(&["deploy", "--wasm", &counter, "--json"]).ok().json();
    assert_eq!(
        (&again["process"], &again["published"], &again["spawned"]),
        (&first["process"], &false.into(), &false.into())
    );
    let second = author.run(&["deploy", "--wasm", &counter, "--new", "--json"]).ok().json();
    assert_eq!((&second["module"], &second["published"]), (&first["module"], &false.into()));
    assert_ne!(second["process"], first["process"]);
    let changed = author.run(&["deploy", "--wasm", &module("token"), "--json"]).ok().json();
    assert_ne!(changed["module"], first["module"]);
    let info = author.run(&["dry-run", "jar", "--action", "Info", "--json"]).ok().json();
    assert_eq!(info["result"]["Output"], "jar (), 12 decimal places");
    // The counter has what it had.
    let old = first["process"].as_str().unwrap();
    assert_eq!(author.run(&["dry-run", old, "--action", "Get", "--json"]).ok().json()["result"]["Output"], "7");
}

#[test]
fn wrong_beginnings_are_refused_in_words() {
    let user = User::new();
    for (arguments, expected) in [
        (vec!["init", "Jar"], "no name for a process"),
        (vec!["init", "jar", "--sdk", "nowhere"], "holds no crate"),
        (vec!["build"], "no holon.toml"),
        (vec!["deploy"], "no holon.toml"),
    ] {
        let said = user.run(&arguments);
        assert_eq!(said.code, 2, "{arguments:?}: {said:?}");
        assert!(said.err.contains(expected), "{}", said.err);
    }
    user.run(["init", "jar"]).ok();
    let again = user.run(["init", "jar"]);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("is not empty"), "{}", again.err);
}
