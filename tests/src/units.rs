//! A network of separate programs, one for each unit, any of which can be ended and started again.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use holon_protocol::Signer;

use crate::{command::program, wait::until};

/// A unit opens its stores and listens.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// A unit finishes requests and writes checkpoints.
const END_DEADLINE: Duration = Duration::from_secs(60);
/// Lines of a unit's log that a failure shows.
const LOG_TAIL_LINES: usize = 30;

/// The units of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The local Arweave.
    Weave,
    /// The scheduler unit.
    Su,
    /// The compute unit.
    Cu,
    /// The messenger unit.
    Mu,
}

impl Kind {
    /// All of them, in the order in which they start.
    pub const ALL: [Self; 4] = [Self::Weave, Self::Su, Self::Cu, Self::Mu];

    fn name(self) -> &'static str {
        match self {
            Self::Weave => "weave",
            Self::Su => "su",
            Self::Cu => "cu",
            Self::Mu => "mu",
        }
    }
}

/// A running network of separate programs. They end with it.
#[derive(Debug)]
pub struct Units {
    folder: tempfile::TempDir,
    /// In the order of [`Kind::ALL`], further messenger units after that.
    ports: Vec<u16>,
    children: Vec<Option<Child>>,
    /// Wallet of the scheduler unit.
    pub scheduler: Signer,
    /// Wallet of the messenger unit.
    pub messenger: Signer,
    /// More arguments of the messenger unit.
    messenger_arguments: Vec<String>,
}

impl Units {
    /// Starts all units on free ports. `messenger_arguments` are added to those of the messenger unit.
    ///
    /// # Errors
    /// When one of them does not get ready.
    pub fn start(messenger_arguments: &[&str]) -> Result<Self> {
        Self::start_with(1, messenger_arguments)
    }

    /// The same with so many messenger units, all of them with the same wallet and arguments.
    ///
    /// What is pushed twice stands in the logs twice: the messenger signs nothing twice with the same bytes, and the scheduler does
    /// not look whether the same content under another id was there before.
    ///
    /// # Errors
    /// When one of them does not get ready.
    pub fn start_with(messengers: usize, messenger_arguments: &[&str]) -> Result<Self> {
        let places = Kind::ALL.len() - 1 + messengers;
        let (scheduler, messenger) = (Signer::generate_ed25519()?, Signer::generate_rsa()?);
        let mut units = Self {
            folder: tempfile::tempdir()?,
            ports: free_ports(places)?,
            children: std::iter::repeat_with(|| None).take(places).collect(),
            scheduler,
            messenger,
            messenger_arguments: messenger_arguments.iter().map(|&argument| argument.to_owned()).collect(),
        };
        for (name, wallet) in [("scheduler", &units.scheduler), ("messenger", &units.messenger)] {
            fs::write(units.wallet(name), wallet.to_jwk().as_bytes())?;
        }
        for place in 0..places {
            units.begin_at(place)?;
        }
        Ok(units)
    }

    /// Where a unit is, without a trailing slash.
    pub fn url(&self, kind: Kind) -> String {
        self.url_at(kind as usize)
    }

    /// The same for the messenger unit with this number, from 0.
    pub fn messenger_url(&self, number: usize) -> String {
        self.url_at(Kind::Mu as usize + number)
    }

    fn url_at(&self, place: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[place])
    }

    /// Ends a unit as `kill -9` does.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn kill(&mut self, kind: Kind) -> Result<()> {
        self.kill_at(kind as usize)
    }

    /// The same for the messenger unit with this number, from 0.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn kill_messenger(&mut self, number: usize) -> Result<()> {
        self.kill_at(Kind::Mu as usize + number)
    }

    fn kill_at(&mut self, place: usize) -> Result<()> {
        if let Some(mut child) = self.children[place].take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks a unit to end as service managers and containers do (SIGTERM), and tells how it ended.
    ///
    /// # Errors
    /// When it does not run, or does not end in time.
    pub fn terminate(&mut self, kind: Kind) -> Result<ExitStatus> {
        let mut child = self.children[kind as usize].take().with_context(|| format!("{} does not run", kind.name()))?;
        let asked = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", child.id())).status()?;
        let ended = until(kind.name(), END_DEADLINE, || Ok(child.try_wait()?));
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let ended = ended.with_context(|| format!("kill gave {asked}; its log ended with\n{}", self.log_tail(kind)))?;
        Ok(ended)
    }

    /// Starts a unit that was ended, on its port and its data.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn begin(&mut self, kind: Kind) -> Result<()> {
        self.begin_at(kind as usize)
    }

    /// The same for the messenger unit with this number, from 0.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn begin_messenger(&mut self, number: usize) -> Result<()> {
        self.begin_at(Kind::Mu as usize + number)
    }

    fn begin_at(&mut self, place: usize) -> Result<()> {
        let kind = Kind::ALL[place.min(Kind::Mu as usize)];
        let log = File::options().create(true).append(true).open(self.log(kind))?;
        let child = self.command(kind, place)?.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.with_context(|| format!("cannot start the program of {}", kind.name()))?;
        let child = self.children[place].insert(child);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[place]));
        let ready = until(kind.name(), START_DEADLINE, || {
            if let Some(status) = child.try_wait()? {
                bail!("it ended with {status}");
            }
            Ok(TcpStream::connect(address).is_ok().then_some(()))
        });
        ready.with_context(|| format!("the log of {} ended with\n{}", kind.name(), self.log_tail(kind)))
    }

    fn command(&self, kind: Kind, place: usize) -> Result<Command> {
        let mut command = Command::new(program(&format!("holon-{}-under-test", kind.name()))?);
        let [gateway, su, cu] = [Kind::Weave, Kind::Su, Kind::Cu].map(|kind| self.url(kind));
        let listen = format!("127.0.0.1:{}", self.ports[place]);
        let schedulers = format!("{}={su}", self.scheduler.address());
        command.current_dir(self.folder.path()).env_clear().env("HOME", self.folder.path());
        command.args(["--listen", &listen]);
        match kind {
            Kind::Weave => command.args(["--data-dir", "weave"]),
            Kind::Su => command
                .args(["--data-dir", "su", "--gateway-url", &gateway])
                .args(["--enable-deep-hash-checks", "false"])
                .arg("--wallet-path")
                .arg(self.wallet("scheduler")),
            Kind::Cu => command
                .args(["--data-dir", "cu", "--gateway-url", &gateway, "--allow-private-urls"])
                .args(["--scheduler-url", &schedulers])
                .arg("--wallet")
                .arg(self.wallet("messenger")),
            Kind::Mu => command
                .arg("--data-dir")
                .arg(format!("mu{}", place - Kind::Mu as usize))
                .args(["--gateway-url", &gateway, "--cu-url", &cu, "--allow-private-urls"])
                .args(["--scheduler-url", &schedulers])
                .args(&self.messenger_arguments)
                .arg("--wallet")
                .arg(self.wallet("messenger")),
        };
        Ok(command)
    }

    fn wallet(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.json"))
    }

    fn log(&self, kind: Kind) -> PathBuf {
        self.folder.path().join(format!("{}.log", kind.name()))
    }

    /// Last lines of what a unit logged.
    pub fn log_tail(&self, kind: Kind) -> String {
        tail(&self.log(kind))
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for kind in Kind::ALL {
                eprintln!("the log of {} ended with\n{}", kind.name(), self.log_tail(kind));
            }
        }
        for place in 0..self.children.len() {
            // It may have been ended by the test already.
            let _ = self.kill_at(place);
        }
    }
}

/// Ports that nobody listens on now, held together so that they differ.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    }
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
