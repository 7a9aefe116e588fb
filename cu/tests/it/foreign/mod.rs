//! Logs of schedulers that are not ours: clocks that are set back, entries of one millisecond, epochs.

mod scheduler;

use std::time::{Duration, Instant};

use holon_cu::replay::{Replay, ReplayOptions};
use holon_cu::{LogSource, Options, Running, Service};
use holon_protocol::{DataItem, MessageId, Nonce, ProcessId, Signer};
use serde_json::{Value, json};

use self::scheduler::Foreign;
use crate::network::{Network, answer, listener};

const START: u64 = 1_700_000_000_250;

/// A network whose process is scheduled by somebody else.
struct Abroad {
    network: Network,
    scheduler: Foreign,
    process: ProcessId,
    messages: Vec<MessageId>,
    /// Ids of their assignments.
    assignments: Vec<String>,
}

impl Abroad {
    /// A process that begins in `epoch` and has `tags`.
    async fn start(epoch: u64, tags: &[(&str, &str)]) -> Self {
        let (network, scheduler) = (Network::start().await, Foreign::start());
        let mut process = DataItem::builder()
            .tag("Data-Protocol", "ao")
            .tag("Variant", "ao.TN.1")
            .tag("Type", "Process")
            .tag("Module", network.module.to_string())
            .tag("Scheduler", scheduler.wallet.address().to_string())
            .data("1984");
        for (name, value) in tags {
            process = process.tag(*name, *value);
        }
        let process = process.sign(&network.user).unwrap();
        let mut abroad =
            Self { network, scheduler, process: process.id().into(), messages: vec![], assignments: vec![] };
        abroad.place(&process, 0, epoch).await;
        abroad
    }

    async fn place(&mut self, item: &DataItem, offset: u64, epoch: u64) {
        let assignment = self.scheduler.schedule(self.process, item, START + offset, epoch);
        self.network.publish(item).await;
        self.network.publish(&assignment).await;
        self.messages.push(item.id().into());
        self.assignments.push(assignment.id().to_string());
    }

    /// Schedules a message so long after the process.
    async fn send(&mut self, action: &str, offset: u64, epoch: u64) -> MessageId {
        let message = self.network.message(self.process, action, &[]);
        self.place(&message, offset, epoch).await;
        message.id().into()
    }

    async fn unit(&self, folder: &tempfile::TempDir, change: impl FnOnce(&mut Options)) -> Unit<'_> {
        let wallet = Signer::generate_ed25519().unwrap();
        let mut options = Options::new(folder.path().join("cu"), wallet, self.network.gateway.clone());
        options.scheduler_urls = vec![(self.scheduler.wallet.address(), self.scheduler.url.clone())];
        options.allow_private_urls = true;
        (options.retries, options.backoff) = (1, Duration::from_millis(20));
        change(&mut options);
        Unit { running: Service::start(options, listener()).await.unwrap(), of: self }
    }

    async fn replay(&self, log: LogSource) -> (tempfile::TempDir, Replay) {
        let folder = tempfile::tempdir().unwrap();
        let mut options = ReplayOptions::new(folder.path().to_owned(), self.network.gateway.clone());
        options.scheduler_urls = vec![(self.scheduler.wallet.address(), self.scheduler.url.clone())];
        (options.log, options.retries, options.backoff) = (log, 2, Duration::from_millis(20));
        options.allow_private_urls = true;
        let replay = Replay::open(options, self.process).await.unwrap();
        (folder, replay)
    }
}

struct Unit<'a> {
    running: Running,
    of: &'a Abroad,
}

impl Unit<'_> {
    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.of.network.client.get(format!("{}{path}", self.running.url())).send().await.unwrap()).await
    }

    async fn result(&self, id: &str) -> Value {
        let (status, body) = self.get(&format!("/result/{id}?process-id={}", self.of.process)).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Everything that it lists, with its cursors.
    async fn listed(&self) -> Value {
        let (status, body) = self.get(&format!("/results/{}?limit=1000", self.of.process)).await;
        assert_eq!(status, 200, "{body}");
        body["edges"].clone()
    }

    async fn root(&self, query: &str) -> Value {
        let (status, body) = self.get(&format!("/root/{}{query}", self.of.process)).await;
        assert_eq!(status, 200, "{body}");
        body["stateRoot"].clone()
    }
}

/// A clock that is set back between entries, now and then by more than a page of them.
const SET_BACK: [(&str, u64); 10] = [
    ("Add", 4000),
    ("Add", 7000),
    ("X-Echo", 6999),
    ("Add", 6999),
    ("Add", 5000),
    ("Add", 2000),
    ("X-Trap", 7000),
    ("Add", 7001),
    ("Add", 9900),
    ("Add", 9100),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_process_goes_on_when_the_clock_of_its_scheduler_is_set_back_and_is_the_same_for_everybody() {
    let mut abroad = Abroad::start(0, &[("Cron-Interval", "3-seconds"), ("Cron-Tag-Action", "Add")]).await;
    let folders: [tempfile::TempDir; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    // One unit reads every entry as it comes, and is started again after each, going on from its checkpoint.
    let mut roots = Vec::new();
    for (action, offset) in [("", 0)].into_iter().chain(SET_BACK) {
        let message = match action {
            "" => abroad.process.into(),
            action => abroad.send(action, offset, 0).await,
        };
        let unit = abroad.unit(&folders[0], |options| options.checkpoint_messages = 1).await;
        unit.result(&message.to_string()).await;
        roots.push(unit.root(&format!("?slot={}", roots.len())).await);
        unit.running.stop().await.unwrap();
    }
    let live = abroad.unit(&folders[0], |_| {}).await;
    let listed = live.listed().await;
    // A process sees the time that was signed; its place in the log, not its time, says when.
    let echo = live.result(&abroad.messages[3].to_string()).await["Output"].clone();
    assert_eq!((&echo["Timestamp"], &echo["Nonce"]), (&json!(START + 6999), &json!(3)));
    let outputs: Vec<&str> =
        listed.as_array().unwrap().iter().filter_map(|edge| edge["node"]["Output"].as_str()).collect();
    // Crons at 3, 6 and 9 seconds, each once; what was echoed has no number, and what trapped did not count.
    let counts: Vec<String> = (1..=13).filter(|count| *count != 6).map(|count| count.to_string()).collect();
    assert_eq!(outputs, counts);

    // Others come later: one reads pages that are shorter than what was set back, one asks for times.
    let late = abroad.unit(&folders[1], |options| options.page_size = 2).await;
    let last = abroad.messages.last().unwrap().to_string();
    late.result(&last).await;
    assert_eq!(late.listed().await, listed);
    let timed = abroad.unit(&folders[2], |options| options.page_size = 3).await;
    for offset in [2000, 6999, 7000, 7001, 8000, 9900] {
        let query = format!("?to={}", START + offset);
        assert_eq!(timed.root(&query).await, live.root(&query).await, "at {offset}");
        let through = [4000, 7000, 7000, 7000, 7000, 7000, 7000, 7001, 9900, 9900].partition_point(|at| *at <= offset);
        let state = timed.get(&format!("/root/{}{query}", abroad.process)).await.1;
        assert_eq!(state["nonce"], through, "{offset}: {state}");
    }
    timed.result(&last).await;
    assert_eq!(timed.listed().await, listed);
    for unit in [&live, &late, &timed] {
        for (slot, root) in roots.iter().enumerate() {
            assert_eq!(unit.root(&format!("?slot={slot}")).await, *root, "slot {slot}");
        }
        // Under the name of its assignment, too, whatever time that says.
        for (message, assignment) in abroad.messages.iter().zip(&abroad.assignments).skip(1) {
            let expected = live.result(&message.to_string()).await;
            assert_eq!(
                [unit.result(&message.to_string()).await, unit.result(assignment).await],
                [expected.clone(), expected]
            );
        }
    }
    for log in [LogSource::Arweave, LogSource::Scheduler] {
        let (_folder, mut replay) = abroad.replay(log).await;
        for (slot, root) in roots.iter().enumerate() {
            let report = replay.advance(Some(Nonce(slot as u64))).await.unwrap();
            assert_eq!(json!(report.state_root), *root, "slot {slot} from {log:?}");
        }
        replay.close().await;
    }
    for unit in [live, late, timed] {
        unit.running.stop().await.unwrap();
    }
    abroad.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_before_crons_that_fired_because_of_what_a_scheduler_said_stops_the_unit_that_asked_and_no_other() {
    let mut abroad = Abroad::start(0, &[("Cron-Interval", "3-seconds"), ("Cron-Tag-Action", "Add")]).await;
    let process = abroad.process;
    let folders: [tempfile::TempDir; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let asked = abroad.send("Add", 1000, 0).await.to_string();
    let unit = abroad.unit(&folders[0], |_| {}).await;
    assert_eq!(unit.result(&asked).await["Output"], "2");
    abroad.scheduler.say_time(START + 10_000);
    let deadline = Instant::now() + Duration::from_secs(60);
    let fired = loop {
        let (status, page) = unit.get(&format!("/cron/{process}")).await;
        assert!(status == 200 && Instant::now() < deadline, "{status} {page}");
        match page["edges"].as_array().unwrap().len() {
            // At 3, 6 and 9 seconds.
            3 => break page["edges"].clone(),
            fired => assert_eq!(fired, 0, "{page}"),
        }
    };
    let before = unit.listed().await;
    unit.running.stop().await.unwrap();

    // Its clock was wrong, or is now.
    let late = abroad.send("Add", 5000, 0).await.to_string();
    for _restart in 0..2 {
        let unit = abroad.unit(&folders[0], |_| {}).await;
        let (status, body) = unit.get(&format!("/result/{late}?process-id={process}")).await;
        let error = body["error"].as_str().unwrap();
        let assignment = abroad.assignments.last().unwrap();
        assert!(status == 422 && error.contains(assignment), "{status} {error}");
        assert!(error.contains(&(START + 9000).to_string()), "the last cron is named: {error}");
        // What it said before, it says again.
        assert_eq!(unit.result(&asked).await["Output"], "2");
        assert_eq!((unit.listed().await, before.as_array().unwrap().len()), (before.clone(), 5));
        unit.running.stop().await.unwrap();
    }
    // For everybody else the log alone counts: one cron fires before the entry.
    let other = abroad.unit(&folders[1], |_| {}).await;
    assert_eq!(other.result(&late).await["Output"], "4");
    let (listed, root) = (other.listed().await, other.root("?slot=2").await);
    assert_eq!(listed[2], fired[0]);
    for log in [LogSource::Arweave, LogSource::Scheduler] {
        let (_folder, mut replay) = abroad.replay(log).await;
        let report = replay.advance(Some(Nonce(2))).await.unwrap();
        assert_eq!(json!(report.state_root), root, "{log:?}");
        replay.close().await;
    }
    // The unit that asked joins them when it forgets what it evaluated.
    std::fs::remove_dir_all(folders[0].path().join("cu")).unwrap();
    let unit = abroad.unit(&folders[0], |_| {}).await;
    assert_eq!(unit.result(&late).await["Output"], "4");
    assert_eq!((unit.listed().await, unit.root("?slot=2").await), (listed, root));
    for unit in [unit, other] {
        unit.running.stop().await.unwrap();
    }
    abroad.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_another_epoch_than_the_first_is_read_like_any_other() {
    let mut abroad = Abroad::start(7, &[]).await;
    for offset in 1..=5 {
        abroad.send("Add", offset * 1000, 7).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let unit = abroad.unit(&folder, |options| options.page_size = 2).await;
    let last = abroad.messages.last().unwrap().to_string();
    assert_eq!(unit.result(&last).await["Output"], "6");
    for log in [LogSource::Arweave, LogSource::Scheduler] {
        let (_folder, mut replay) = abroad.replay(log).await;
        let report = replay.advance(Some(Nonce(5))).await.unwrap();
        assert_eq!(json!(report.state_root), unit.root("?slot=5").await, "{log:?}");
        replay.close().await;
    }
    unit.running.stop().await.unwrap();
    abroad.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_stays_in_its_epoch() {
    let mut abroad = Abroad::start(0, &[]).await;
    let good = abroad.send("Add", 1000, 0).await.to_string();
    let folder = tempfile::tempdir().unwrap();
    let unit = abroad.unit(&folder, |_| {}).await;
    assert_eq!(unit.result(&good).await["Output"], "2");
    unit.running.stop().await.unwrap();
    abroad.send("Add", 2000, 1).await;
    abroad.send("Add", 3000, 1).await;
    let last = abroad.send("Add", 4000, 1).await.to_string();
    let unit = abroad.unit(&folder, |_| {}).await;
    assert_eq!(unit.result(&good).await["Output"], "2");
    let (status, body) = unit.get(&format!("/result/{last}?process-id={}", abroad.process)).await;
    let error = body["error"].as_str().unwrap();
    assert!(status == 422 && error.contains("epoch 1") && error.contains("nonce 2"), "{status} {body}");
    assert_eq!(unit.listed().await.as_array().unwrap().len(), 2);
    // The slots that the next epoch gives again do not stand in the way of those that the log has.
    for log in [LogSource::Arweave, LogSource::Scheduler] {
        let (_folder, mut replay) = abroad.replay(log).await;
        for slot in [0, 1] {
            let report = replay.advance(Some(Nonce(slot))).await.unwrap();
            assert_eq!(json!(report.state_root), unit.root(&format!("?slot={slot}")).await, "slot {slot} from {log:?}");
        }
        let error = replay.advance(Some(Nonce(2))).await.unwrap_err().to_string();
        assert!(error.contains("epoch 1") && error.contains("nonce 2"), "{log:?}: {error}");
        replay.close().await;
    }
    unit.running.stop().await.unwrap();
    abroad.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_compared_with_how_its_log_begins_once_and_again_when_its_scheduler_says_otherwise() {
    let mut abroad = Abroad::start(0, &[]).await;
    abroad.send("Add", 1000, 0).await;
    let folder = tempfile::tempdir().unwrap();
    let process = abroad.process;
    let beginning = format!("/{process}?process-id={process}&to-nonce=0&");
    let compared = |seen: Vec<String>| seen.iter().filter(|path| path.starts_with(&beginning)).count();
    for (restart, expected) in [(0, 1), (1, 0), (2, 0)] {
        let last = abroad.send("Add", 2000 + restart, 0).await.to_string();
        let unit = abroad.unit(&folder, |_| {}).await;
        assert_eq!(unit.result(&last).await["Output"], (3 + restart).to_string());
        unit.running.stop().await.unwrap();
        let seen = abroad.scheduler.seen();
        assert_eq!(compared(seen.clone()), expected, "start {restart}: {seen:?}");
        // Where the scheduler is, where the message stands, what the process is, and the entries up to the message.
        assert_eq!(seen.len() - expected, 4, "start {restart}: {seen:?}");
    }
    // What was found rests on what was said.
    abroad.scheduler.claim_height(1_500_001);
    let last = abroad.send("Add", 3000, 0).await.to_string();
    let unit = abroad.unit(&folder, |_| {}).await;
    let (status, body) = unit.get(&format!("/result/{last}?process-id={process}")).await;
    assert!(status == 422 && body["error"].as_str().unwrap().contains("height"), "{status} {body}");
    assert_eq!(compared(abroad.scheduler.seen()), 1);
    unit.running.stop().await.unwrap();
    abroad.network.stop().await;
}
