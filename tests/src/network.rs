//! A whole network as `holon up` runs it, as a child process that ends with its owner.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::command::holon;

/// A network makes wallets, compiles a module and spawns a process at its first start.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// Ports in a row that `holon up --port` may use.
const PORTS: u16 = 10;
/// Lines of the network's log that a failure shows.
const LOG_TAIL_LINES: usize = 40;

/// The line `holon up --json` prints when it is ready.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    /// Arweave gateway.
    pub gateway_url: String,
    /// Bundler.
    pub uploader_url: String,
    /// Messenger unit.
    pub mu_url: String,
    /// Scheduler unit.
    pub su_url: String,
    /// Compute unit.
    pub cu_url: String,
    /// Wallet of the scheduler unit.
    pub scheduler: String,
    /// Wallet of the messenger unit.
    pub authority: String,
    /// The process of `wasm-processes/counter`.
    pub counter_process: String,
}

/// A running network.
#[derive(Debug)]
pub struct Network {
    ready: Ready,
    child: Child,
    folder: Folder,
    port: u16,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Removes the folder with the network.
    _temporary: Option<tempfile::TempDir>,
}

impl Network {
    /// A fresh network on free ports; its data goes with it.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start() -> Result<Self> {
        Self::start_on(0)
    }

    /// A fresh network whose ports can be taken again by [`restart`](Self::restart).
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_on_fixed_ports() -> Result<Self> {
        Self::start_on(free_ports()?)
    }

    fn start_on(port: u16) -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let folder = Folder { path: temporary.path().to_owned(), _temporary: Some(temporary) };
        let (ready, child) = launch(&folder.path, port)?;
        Ok(Self { ready, child, folder, port })
    }

    /// Ends every unit at once, as a power cut would (`SIGKILL`).
    ///
    /// # Errors
    /// When the process cannot be ended.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts again on the same data and ports after [`kill`](Self::kill).
    ///
    /// # Errors
    /// When it does not get ready, or is another network than before.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.port != 0, "only a network on fixed ports can be restarted");
        let (ready, child) = launch(&self.folder.path, self.port)?;
        self.child = child;
        ensure!(
            ready.mu_url == self.ready.mu_url && ready.counter_process == self.ready.counter_process,
            "the restarted network is another one: {ready:?}, before {:?}",
            self.ready
        );
        self.ready = ready;
        Ok(())
    }

    /// Where its units are.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path.join("data")
    }

    /// The `holon` command set up to talk to this network, with a wallet and state of its own.
    ///
    /// # Errors
    /// When the command does not compile.
    pub fn command(&self) -> Result<Command> {
        let mut command = isolated(&self.folder.path)?;
        command.args(["--network".as_ref(), self.data().as_os_str()]);
        Ok(command)
    }

    /// Last lines of what the network logged.
    pub fn log_tail(&self) -> String {
        log_tail(&self.folder.path)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the network's log ended with\n{}", self.log_tail());
        }
        // It may have been killed by the test already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(folder: &Path, port: u16) -> Result<(Ready, Child)> {
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    let mut child = isolated(folder)?
        .args(["up", "--json", "--port", &port.to_string(), "--data"])
        .arg(folder.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start holon up")?;
    match read_ready(&mut child) {
        Ok(ready) => Ok((ready, child)),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error.context(format!("its log ended with\n{}", log_tail(folder))))
        }
    }
}

fn read_ready(child: &mut Child) -> Result<Ready> {
    let stdout = child.stdout.take().context("the output of holon up is not piped")?;
    let (sender, lines) = mpsc::channel();
    // Reads on after the line, so that the network never waits for a full pipe.
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    match lines.recv_timeout(START_DEADLINE) {
        Ok(line) => serde_json::from_str(&line).with_context(|| format!("holon up --json printed {line}")),
        Err(mpsc::RecvTimeoutError::Disconnected) => bail!("holon up ended before it was ready: {:?}", child.wait()),
        Err(mpsc::RecvTimeoutError::Timeout) => bail!("holon up was not ready within {START_DEADLINE:?}"),
    }
}

/// The command without the caller's network, wallet or state.
fn isolated(folder: &Path) -> Result<Command> {
    let mut command = Command::new(holon()?);
    for name in ["MU_URL", "CU_URL", "GATEWAY_URL", "UPLOADER_URL", "HOLON_NETWORK", "HOLON_WALLET"] {
        command.env_remove(name);
    }
    let home = folder.join("home");
    fs::create_dir_all(&home)?;
    command.current_dir(folder).env("HOME", &home);
    for (name, sub) in [("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state"), ("XDG_DATA_HOME", "share")] {
        command.env(name, home.join(sub));
    }
    Ok(command)
}

/// First of [`PORTS`] ports in a row that nobody listens on now.
fn free_ports() -> Result<u16> {
    const ATTEMPTS: usize = 100;
    for _ in 0..ATTEMPTS {
        let first = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let Some(last) = first.checked_add(PORTS - 1) else { continue };
        // Bound together, so that all are free at the same time.
        let held: Vec<_> = (first..=last).map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if held.len() == usize::from(PORTS) {
            return Ok(first);
        }
    }
    bail!("there are no {PORTS} free ports in a row")
}

fn log_tail(folder: &Path) -> String {
    let logs = [folder.join("data").join("holon.log"), folder.join("log")];
    let text: String = logs.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
