//! Running the program with a home folder of its own, and networks that end with the test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything in these tests.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A user: a home folder and nothing in the environment.
pub struct User {
    home: tempfile::TempDir,
}

/// What a finished program said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Standard output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Asserts success.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl User {
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holon"));
        command.args(arguments).env_clear().env("HOME", self.home()).current_dir(self.home());
        command
    }

    /// Runs to the end.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    /// A network on free ports, once it says that it is ready.
    pub fn network(&self, data: &str) -> Network {
        self.network_with(data, &[])
    }

    pub fn network_with(&self, data: &str, more: &[&str]) -> Network {
        let mut command = self.command(["up", "--json", "--port", "0", "--data", data]);
        let mut child = command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        if line.is_empty() {
            let said = child.wait_with_output().unwrap();
            let log = std::fs::read_to_string(self.home().join(data).join("holon.log")).unwrap_or_default();
            panic!("no network: {}\n{log}", String::from_utf8_lossy(&said.stderr));
        }
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Network { child: Some(child), out, ready, data: self.home().join(data) }
    }
}

/// How a network is ended.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    Interrupt,
    Terminate,
    Kill,
}

/// A running network; killed when dropped.
pub struct Network {
    child: Option<Child>,
    out: BufReader<std::process::ChildStdout>,
    /// The line it printed when it was ready.
    pub ready: Value,
    pub data: PathBuf,
}

impl Network {
    pub fn text(&self, member: &str) -> String {
        self.ready[member].as_str().unwrap_or_else(|| panic!("{member} in {}", self.ready)).to_owned()
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self, signal: Signal) -> (ExitStatus, String) {
        let mut child = self.child.take().unwrap();
        let signal = match signal {
            Signal::Interrupt => "-INT",
            Signal::Terminate => "-TERM",
            Signal::Kill => "-KILL",
        };
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < DEADLINE, "the network does not stop");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (status, rest)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
