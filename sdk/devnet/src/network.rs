//! A network: its life, its time, its units.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_client::Network as Client;
use holon_protocol::{Address, BlockHeight, ModuleId, ProcessId, Signer, Timestamp};
use holon_unit::clock::Clock;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::answer::Answer;
use crate::error::Error;
use crate::requests::{DryRun, Send, Spawn};
use crate::runtime;
use crate::units::{LOCATION_TIME_TO_LIVE, Listeners, Plan, Unit, Units, Urls};
use crate::wallets;

/// Time at which networks begin, in milliseconds: the first second of 2026. Always the same, so that runs are.
pub const BEGINNING: Timestamp = Timestamp(1_767_225_600_000);
/// Longest time a result or dry run is waited for, unless told otherwise.
const RESULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time until everything is pushed, in time of the computer.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks whether it is.
const IDLE_PAUSE: Duration = Duration::from_millis(2);
/// Most rounds in which crons are asked for what fell due in one step of time.
const MAX_WAKES: usize = 100;
/// Longest time that dropping a network waits for its end.
const DROP_LIMIT: Duration = Duration::from_secs(10);
/// An interval that does not come round in a test: nothing happens by itself.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Threads of each kind in a compute unit. A long evaluation gets one of its own.
const WORKERS: usize = 1;
/// A folder in memory, on most Linux systems.
const MEMORY_FOLDER: &str = "/dev/shm";
/// Room it must have to be used, in bytes: containers often have a tiny one.
const MEMORY_FOLDER_BYTES: u64 = 1 << 30;
/// Folder of compiled modules beside the test program.
const COMPILED: &str = "holon-devnet-compiled";

/// A network that is to be started with other settings than the usual ones.
#[derive(Default)]
pub struct Builder {
    beginning: Option<Timestamp>,
    real_time: bool,
    wallet: Option<Signer>,
    data: Option<PathBuf>,
    result_timeout: Option<Duration>,
    change: Option<Change>,
}

type Change = Box<dyn FnOnce(&mut Plan) + std::marker::Send>;

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("data", &self.data).finish_non_exhaustive()
    }
}

impl Builder {
    /// The time at which the network begins, in milliseconds since 1970; [`BEGINNING`] without it.
    pub fn beginning(mut self, time: Timestamp) -> Self {
        self.beginning = Some(time);
        self
    }

    /// Lets time pass as it does outside, and blocks come by themselves: for tests with clients that wait for something to
    /// happen. [`Network::advance`] then has no effect.
    pub fn real_time(mut self) -> Self {
        self.real_time = true;
        self
    }

    /// The wallet that signs unless a call names another one; a new one without it.
    pub fn wallet(mut self, wallet: Signer) -> Self {
        self.wallet = Some(wallet);
        self
    }

    /// A folder for the data and the wallets, which stays when the network ends: the next one that names it is the same network,
    /// on other ports, and its time goes on with its newest block. A temporary folder without it.
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = Some(folder.into());
        self
    }

    /// Longest wait for a result or dry run; 60 seconds without it.
    pub fn result_timeout(mut self, limit: Duration) -> Self {
        self.result_timeout = Some(limit);
        self
    }

    /// Changes what the units are started with, to test against other limits than the usual ones.
    pub fn change(mut self, change: impl FnOnce(&mut Plan) + std::marker::Send + 'static) -> Self {
        self.change = Some(Box::new(change));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`Error::Port`], [`Error::Environment`] or [`Error::NotStarted`] when this computer does not allow it.
    pub async fn start(self) -> Result<Network, Error> {
        let starting = runtime::shared()?.spawn(Box::pin(self.start_here()));
        starting.await.unwrap_or_else(|error| Err(Error::Environment(format!("starting it panicked: {error}"))))
    }

    async fn start_here(self) -> Result<Network, Error> {
        let folder = match self.data {
            Some(folder) => {
                std::fs::create_dir_all(&folder).map_err(environment)?;
                Folder::Kept(folder)
            }
            None => {
                Folder::Temporary(tempfile::Builder::new().prefix("holon-").tempdir_in(place()).map_err(environment)?)
            }
        };
        let keys = wallets::of_units(folder.kept())?;
        let wallet = self.wallet.map_or_else(|| wallets::kept(folder.kept(), "user"), Ok)?;
        let listeners = Listeners::free()?;
        let urls = listeners.urls()?;

        let clock = match self.real_time {
            true => Clock::system(),
            false => Clock::by_hand(self.beginning.unwrap_or(BEGINNING)),
        };
        let mut plan = Plan::local(folder.path(), &keys, &urls, "holon devnet");
        plan.weave.clock = clock.clone();
        plan.su.clock = clock.clone();
        plan.cu.clock = clock.clone();
        plan.mu.clock = clock.clone();
        if self.real_time {
            plan.mu.cron_interval = Duration::from_secs(1);
        } else {
            plan.weave.block_interval = NEVER;
            plan.su.height_interval = NEVER;
        }
        // A test that sends and then asks wants to see what it sent.
        plan.cu.dry_run_max_age = Duration::ZERO;
        plan.cu.checkpoint_store = holon_cu::CheckpointStore::None;
        plan.cu.compiled_dir = compiled();
        (plan.cu.workers, plan.cu.dry_run_workers) = (WORKERS, WORKERS);
        if let Some(change) = self.change {
            change(&mut plan);
        }

        let units = Box::pin(Units::start(plan, listeners)).await?;
        if let Some(newest) = units.gateway().map(holon_weave::Running::time)
            && !self.real_time
        {
            clock.advance(Duration::from_millis(newest.0.saturating_sub(clock.now().0)));
        }
        let client = Client::builder()
            .mu_url(urls.messenger.clone())
            .cu_url(urls.compute.clone())
            .gateway_url(urls.gateway.clone())
            .allow_private_urls(true)
            .result_timeout(self.result_timeout.unwrap_or(RESULT_TIMEOUT))
            .build()?;
        let network = Network {
            client,
            clock,
            wallet,
            scheduler: keys.scheduler.address(),
            authority: keys.messenger.address(),
            urls,
            running: Some(Arc::new(Running { units: Mutex::new(Some(units)), folder })),
        };
        let location = network.client.locate_scheduler(network.urls.scheduler.clone());
        location.time_to_live(LOCATION_TIME_TO_LIVE).send(&keys.scheduler).await?;
        Ok(network)
    }
}

/// Where compiled modules are kept: beside the test program, so that the next run and all networks have them, and `cargo clean`
/// forgets them. Else each network compiles for itself.
fn compiled() -> Option<PathBuf> {
    let folder = std::env::current_exe().ok()?.parent()?.join(COMPILED);
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder)
}

/// Where data of tests go: into memory where there is a folder for that with room, because the units wait for the disk before they
/// promise anything, and starting them alone is a hundred such waits. `TMPDIR` names another place.
fn place() -> PathBuf {
    let memory = Path::new(MEMORY_FOLDER);
    let room = rustix::fs::statvfs(memory).map_or(0, |room| room.f_bavail.saturating_mul(room.f_frsize));
    match std::env::var_os("TMPDIR") {
        None if room >= MEMORY_FOLDER_BYTES => memory.to_owned(),
        _ => std::env::temp_dir(),
    }
}

fn environment(error: impl fmt::Display) -> Error {
    Error::Environment(error.to_string())
}

#[derive(Debug)]
enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }

    /// The folder, if it stays.
    fn kept(&self) -> Option<&Path> {
        match self {
            Self::Temporary(_) => None,
            Self::Kept(folder) => Some(folder),
        }
    }
}

#[derive(Debug)]
struct Running {
    /// `None` once stopped.
    units: Mutex<Option<Units>>,
    folder: Folder,
}

/// A whole network: a local Arweave, a scheduler, a compute unit, a messenger, and a wallet to use them with.
///
/// It ends when it is dropped, or in order, with errors, by [`Self::stop`]. All calls can be made at once from many tasks.
pub struct Network {
    client: Client,
    clock: Clock,
    wallet: Signer,
    scheduler: Address,
    authority: Address,
    urls: Urls,
    /// `None` only while it is being dropped.
    running: Option<Arc<Running>>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("urls", &self.urls).field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Network {
    /// Starts a network whose time stands still until [`Self::advance`] moves it.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// Starts describing a network.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Stops the units in order.
    ///
    /// # Errors
    /// [`Error::NotStopped`] with the first unit that did not end as it should.
    pub async fn stop(mut self) -> Result<(), Error> {
        let Some(running) = self.running.take() else { return Ok(()) };
        on_runtime(async move {
            let units = running.units.lock().await.take();
            match units {
                Some(units) => units.stop().await,
                None => Ok(()),
            }
        })
        .await
    }

    // ---- processes and messages ----

    /// Publishes a module and spawns a process of it. Await it, or add tags first.
    pub fn deploy(&self, wasm: impl Into<Bytes>) -> Spawn<'_> {
        Spawn::of_wasm(self, wasm.into())
    }

    /// Publishes a module written with `holon-process`; for other formats and limits there is
    /// [`client().publish(…)`](Client::publish).
    ///
    /// # Errors
    /// [`Error::Client`] if the gateway does not take it.
    pub async fn publish(&self, wasm: impl Into<Bytes>) -> Result<ModuleId, Error> {
        Ok(self.client.publish(wasm).send(&self.wallet).await?)
    }

    /// Spawns a process of a published module. Await it, or add tags first.
    pub fn spawn(&self, module: ModuleId) -> Spawn<'_> {
        Spawn::of_module(self, module)
    }

    /// Sends a message, signed by [`Self::wallet`] unless told otherwise. Await it for its id, or its
    /// [`result()`](Send::result) for the answer.
    pub fn send(&self, process: ProcessId) -> Send<'_> {
        Send::new(self, process)
    }

    /// The answer of a process to a message.
    ///
    /// # Errors
    /// [`Error::Client`] if there is none. That the *process* reports an error is no such error: see [`Answer::ok`].
    pub async fn result(
        &self,
        process: ProcessId,
        message: impl Into<holon_protocol::MessageId>,
    ) -> Result<Answer, Error> {
        Ok(self.client.result(process, message).await?.into())
    }

    /// Asks a process without leaving a trace. Await it for the answer.
    pub fn dry_run(&self, process: ProcessId) -> DryRun<'_> {
        DryRun::new(self, process)
    }

    /// Everything else that can be asked of a network.
    pub fn client(&self) -> &Client {
        &self.client
    }

    // ---- who and where ----

    /// The wallet that signs unless a call names another one.
    pub fn wallet(&self) -> &Signer {
        &self.wallet
    }

    /// A new wallet, for another user.
    ///
    /// # Errors
    /// [`Error::Environment`] if this computer has no random numbers.
    pub fn new_wallet(&self) -> Result<Signer, Error> {
        wallets::new()
    }

    /// Address of the scheduler: what processes have in their tag `Scheduler`.
    pub fn scheduler(&self) -> Address {
        self.scheduler
    }

    /// Address of the messenger: what processes have in their tag `Authority`.
    pub fn authority(&self) -> Address {
        self.authority
    }

    /// Where the units are, for clients in other programs and languages. Every unit has the explorer at `explorer/`.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// The names under which clients look for these URLs in their environment, with their values.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |url: &url::Url| url.as_str().trim_end_matches('/').to_owned();
        let gateway = text(&self.urls.gateway);
        vec![
            ("MU_URL", text(&self.urls.messenger)),
            ("CU_URL", text(&self.urls.compute)),
            ("SU_URL", text(&self.urls.scheduler)),
            ("GRAPHQL_URL", format!("{gateway}/graphql")),
            ("UPLOADER_URL", gateway.clone()),
            ("GATEWAY_URL", gateway),
            ("SCHEDULER", self.scheduler.to_string()),
            ("AUTHORITY", self.authority.to_string()),
        ]
    }

    // ---- time ----

    /// What time it is in this network, in milliseconds since 1970.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets time pass, at once: cron messages that fall due are evaluated, and when this returns, whatever they sent has been
    /// pushed and evaluated too. Returns the new time.
    ///
    /// A cron message carries the time at which it was due, and fires once it is later than that. What falls due at the very
    /// moment reached comes with the next step. What it *sends* gets its place in other logs at the new time: where
    /// that matters, advance in small steps. One block is made at the new time, because cron messages only fire up to the
    /// newest block, whose time is in whole seconds; a gateway that is down makes none, and then nothing fires.
    ///
    /// # Errors
    /// [`Error::Busy`] if pushing does not come to an end.
    pub async fn advance(&self, by: Duration) -> Result<Timestamp, Error> {
        self.idle().await?;
        let now = self.clock.advance(by);
        self.on_units(|units| {
            async {
                if let Some(gateway) = units.gateway() {
                    units.tell_height(gateway.mine_now().await.map_err(environment)?);
                }
                Ok(())
            }
            .boxed()
        })
        .await?;
        self.wake().await?;
        Ok(now)
    }

    /// Lets time pass until it is `time`.
    ///
    /// # Errors
    /// [`Error::Past`] if it is later already, else as [`Self::advance`].
    pub async fn advance_to(&self, time: Timestamp) -> Result<(), Error> {
        let now = self.now();
        let by = time.0.checked_sub(now.0).ok_or(Error::Past { now, asked: time })?;
        self.advance(Duration::from_millis(by)).await.map(drop)
    }

    /// Makes blocks, each a second after the one before: of blocks with the same second, processes that wake every so many blocks
    /// would know one. Messages sent from now on carry the new height, which is returned, and those processes have been woken.
    ///
    /// # Errors
    /// [`Error::Down`] without a gateway, [`Error::Busy`] if pushing does not come to an end.
    pub async fn mine(&self, blocks: u64) -> Result<BlockHeight, Error> {
        self.idle().await?;
        let clock = self.clock.clone();
        let height = self
            .on_units(move |units| {
                async move {
                    let gateway = units.gateway().ok_or(Error::Down(Unit::Gateway))?;
                    let mut height = gateway.height();
                    for _ in 0..blocks {
                        clock.advance(Duration::from_secs(1));
                        height = gateway.mine(1).await.map_err(environment)?;
                    }
                    units.tell_height(height);
                    Ok(height)
                }
                .boxed()
            })
            .await?;
        self.wake().await?;
        Ok(height)
    }

    /// The height of the newest block.
    ///
    /// # Errors
    /// [`Error::Down`] without a gateway.
    pub async fn height(&self) -> Result<BlockHeight, Error> {
        let running = self.running()?;
        let units = running.units.lock().await;
        let gateway = units.as_ref().ok_or(Error::Stopped)?.gateway();
        gateway.map(holon_weave::Running::height).ok_or(Error::Down(Unit::Gateway))
    }

    /// Has the messenger ask every process for its cron messages and waits until all is pushed; again as long as there is more
    /// than a messenger takes at once.
    async fn wake(&self) -> Result<(), Error> {
        for _ in 0..MAX_WAKES {
            let more = self.on_units(|units| {
                async {
                    match units.messenger() {
                        Some(messenger) => Ok(messenger.ask_crons().await),
                        None => Ok(false),
                    }
                }
                .boxed()
            });
            let more = more.await?;
            self.idle().await?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Waits until nothing is left to do: every message sent so far has been evaluated, and so has everything that came out of
    /// it. What was sent to a scheduler that crashed before it answered belongs to that: the messenger asks after it, until the same item
    /// is sent again.
    ///
    /// # Errors
    /// [`Error::Busy`] if that takes longer than a minute.
    pub async fn idle(&self) -> Result<(), Error> {
        let running = self.running()?;
        let begun = Instant::now();
        loop {
            let queued = {
                let units = running.units.lock().await;
                units.as_ref().ok_or(Error::Stopped)?.messenger().map_or(0, holon_mu::Running::queued)
            };
            match queued {
                0 => return Ok(()),
                _ if begun.elapsed() > IDLE_LIMIT => {
                    return Err(Error::Busy { queued, waited: IDLE_LIMIT });
                }
                _ => tokio::time::sleep(IDLE_PAUSE).await,
            }
        }
    }

    // ---- failures ----

    /// Takes a unit down: nobody answers at its address until it is brought [`up`](Self::up) again.
    ///
    /// # Errors
    /// [`Error::NotStopped`] if it does not end as it should.
    pub async fn down(&self, unit: Unit) -> Result<(), Error> {
        self.on_units(move |units| units.stop_one(unit).boxed()).await
    }

    /// Brings a unit up again, at its old address and with its data.
    ///
    /// # Errors
    /// [`Error::NotStarted`] or [`Error::Port`] if it does not start.
    pub async fn up(&self, unit: Unit) -> Result<(), Error> {
        self.on_units(move |units| units.start_one(unit).boxed()).await
    }

    /// Ends a unit as a crash would, in the middle of whatever it does: requests are cut, work is dropped, nothing is tidied up. What it
    /// had promised is in its folder, and [`up`](Self::up) brings it back. (The operating system lives on, so what was written is there even
    /// if it was not yet on a disk.)
    ///
    /// # Errors
    /// [`Error::NotStopped`] if it cannot be ended.
    pub async fn kill(&self, unit: Unit) -> Result<(), Error> {
        self.on_units(move |units| units.kill_one(unit).boxed()).await
    }

    /// Ends all units at once as a crash would, and brings them up again.
    ///
    /// # Errors
    /// As [`Self::kill`] and [`Self::up`].
    pub async fn power_cut(&self) -> Result<(), Error> {
        self.on_units(|units| units.kill().boxed()).await?;
        for unit in Unit::ALL {
            self.up(unit).await?;
        }
        Ok(())
    }

    /// Takes a unit down and brings it up again.
    ///
    /// # Errors
    /// As [`Self::down`] and [`Self::up`].
    pub async fn restart(&self, unit: Unit) -> Result<(), Error> {
        self.down(unit).await?;
        self.up(unit).await
    }

    /// Where the data of the units are, for a look at what is wrong.
    pub fn folder(&self) -> Option<&Path> {
        self.running.as_ref().map(|running| running.folder.path())
    }

    /// Does something with the units, on their own threads, to its end even if the caller goes away.
    async fn on_units<T: std::marker::Send + 'static>(
        &self,
        work: impl FnOnce(&mut Units) -> BoxFuture<'_, Result<T, Error>> + std::marker::Send + 'static,
    ) -> Result<T, Error> {
        let running = self.running()?;
        on_runtime(async move {
            let mut units = running.units.lock().await;
            work(units.as_mut().ok_or(Error::Stopped)?).await
        })
        .await
    }

    fn running(&self) -> Result<Arc<Running>, Error> {
        self.running.clone().ok_or(Error::Stopped)
    }
}

/// Runs something on the units' own threads, to its end even if the caller goes away.
async fn on_runtime<T: std::marker::Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + std::marker::Send + 'static,
) -> Result<T, Error> {
    let done = runtime::shared()?.spawn(Box::pin(work)).await;
    done.unwrap_or_else(|error| Err(Error::Environment(format!("a unit panicked: {error}"))))
}

impl Drop for Network {
    fn drop(&mut self) {
        let (Some(running), Ok(runtime)) = (self.running.take(), runtime::shared()) else { return };
        let (ended, end) = std::sync::mpsc::channel::<()>();
        runtime.spawn(async move {
            let units = running.units.lock().await.take();
            if let Some(units) = units
                && let Err(error) = units.stop().await
            {
                tracing::warn!(%error, "a network that was dropped did not end in order");
            }
            drop((running, ended));
        });
        // Its folder shall be gone when the test program ends. The units have threads of their own, so this keeps nobody from ending.
        let _ = end.recv_timeout(DROP_LIMIT);
    }
}
