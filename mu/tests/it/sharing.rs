//! Messengers with one outbox, on a real PostgreSQL: who has what, and what becomes of it when one ends, dies, or is
//! believed dead; and a database that goes away for a while.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use holon_mu::crank::descent::Descent;
use holon_mu::crank::task::{Forwarded, ForwardedKind, ProcessRecord, Task, TaskId, Work};
use holon_mu::outbox::{
    Changes, Charge, Durability, Expected, Monitor, Monitoring, Outbox, OutboxError, PostgresOptions, PostgresOutbox,
    SHARES, Share, Shared, Shift,
};
use holon_peers::postgres::{Postgres, schema, shared};
use holon_protocol::{Address, ItemId, ProcessId};

const LEASE: Duration = Duration::from_millis(800);
const DEADLINE: Duration = Duration::from_secs(30);

fn options(url: String) -> PostgresOptions {
    PostgresOptions { schema: schema(), lease: LEASE, connections: 4, ..PostgresOptions::new(url) }
}

/// A process of a share, and as many others of the same one as there are numbers.
fn process(share: Share, number: u8) -> ProcessId {
    let mut bytes = [number; 32];
    bytes[0] = share.0;
    ProcessId::from_bytes(bytes)
}

fn pull(share: Share, number: u8) -> Task {
    let message = ItemId::from_bytes([number; 32]).into();
    let descent = Descent::of_origin(ItemId::from_bytes([share.0; 32]));
    Task { root: None, descent, work: Work::Pull { message, process: process(share, 1), nonce: None } }
}

fn number(task: &Task) -> u8 {
    match &task.work {
        Work::Pull { message, .. } => message.as_bytes()[0],
        other => panic!("{other:?}"),
    }
}

/// A messenger without a crank: it does what it is told of at once, and keeps what is left to do.
struct Messenger {
    outbox: PostgresOutbox,
    shares: BTreeSet<Share>,
    tasks: Vec<(TaskId, Task)>,
    accounts: Vec<(ItemId, u64)>,
    monitored: Vec<ProcessId>,
}

impl Messenger {
    async fn start(options: &PostgresOptions) -> Self {
        let outbox = PostgresOutbox::open(options.clone()).await.unwrap();
        Self { outbox, shares: BTreeSet::new(), tasks: Vec::new(), accounts: Vec::new(), monitored: Vec::new() }
    }

    fn sharing(&self) -> &dyn Shared {
        self.outbox.shared().unwrap()
    }

    async fn follow(&mut self) {
        let shift = match self.outbox.shared().unwrap().shift().await {
            Ok(shift) => shift,
            Err(error) => {
                println!("{error}");
                return;
            }
        };
        match &shift {
            Shift::Gained { shares, load } => {
                self.shares.extend(shares);
                self.take(load.tasks.clone());
                self.accounts.extend(load.accounts.clone());
            }
            Shift::Arrived(load) => {
                self.take(load.tasks.clone());
                self.accounts.extend(load.accounts.clone());
            }
            Shift::Monitors(monitored) => self.monitored = monitored.clone(),
            Shift::Lost(shares) | Shift::Surplus(shares) => {
                self.shares.retain(|share| !shares.contains(share));
                self.tasks.retain(|(_, task)| !shares.contains(&task.share()));
            }
        }
        self.sharing().applied(shift).await.unwrap();
    }

    fn take(&mut self, tasks: Vec<(TaskId, Task)>) {
        for task in tasks {
            if !self.tasks.iter().any(|(id, _)| *id == task.0) {
                self.tasks.push(task);
            }
        }
    }

    async fn add(&mut self, tasks: Vec<Task>) {
        let changes = Changes { new: tasks, ..Changes::default() };
        let committed = self.outbox.commit(changes, Durability::Synced).await.unwrap();
        self.take(committed.new);
    }

    async fn remove(&self, id: TaskId) -> Result<(), OutboxError> {
        self.outbox.commit(Changes { remove: vec![id], ..Changes::default() }, Durability::Buffered).await.map(drop)
    }

    fn numbers(&self) -> Vec<u8> {
        self.tasks.iter().map(|(_, task)| number(task)).collect()
    }
}

/// Lets all of them follow what happens until it has come to this.
async fn until(messengers: &mut [&mut Messenger], what: &str, mut so: impl FnMut(&[&mut Messenger]) -> bool) {
    let begun = Instant::now();
    while !so(messengers) {
        assert!(begun.elapsed() < DEADLINE, "never: {what}");
        for messenger in messengers.iter_mut() {
            // Often there is nothing to follow.
            let _ = tokio::time::timeout(Duration::from_millis(100), messenger.follow()).await;
        }
    }
}

fn all(messengers: &[&mut Messenger]) -> usize {
    messengers.iter().map(|messenger| messenger.shares.len()).sum()
}

/// Two messengers that have half of the shares each.
async fn two(options: &PostgresOptions) -> (Messenger, Messenger) {
    let mut a = Messenger::start(options).await;
    until(&mut [&mut a], "the only one has everything", |all| all[0].shares.len() == usize::from(SHARES)).await;
    let mut b = Messenger::start(options).await;
    let half = usize::from(SHARES) / 2;
    until(&mut [&mut a, &mut b], "each has half", |m| m[0].shares.len() == half && m[1].shares.len() == half).await;
    assert!(a.shares.is_disjoint(&b.shares));
    (a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn messengers_divide_the_work_and_one_that_ends_leaves_its_part_to_the_others() {
    let options = options(shared().unwrap());
    let (mut a, mut b) = two(&options).await;
    let mut c = Messenger::start(&options).await;
    let part = usize::from(SHARES).div_ceil(3);
    let fair = |m: &[&mut Messenger]| all(m) == usize::from(SHARES) && m.iter().all(|one| one.shares.len() <= part);
    until(&mut [&mut a, &mut b, &mut c], "each has its part", fair).await;
    let begun = Instant::now();
    a.sharing().leave().await.unwrap();
    drop(a);
    let everything = |m: &[&mut Messenger]| all(m) == usize::from(SHARES);
    until(&mut [&mut b, &mut c], "the others have everything", everything).await;
    assert!(begun.elapsed() < DEADLINE / 2, "nobody has to wait for a lease to end");
    assert!(b.shares.is_disjoint(&c.shares));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_messenger_commits_for_anothers_process_gets_there_in_order_and_only_there() {
    let options = options(shared().unwrap());
    let (mut a, mut b) = two(&options).await;
    let (ours, theirs) = (*a.shares.first().unwrap(), *b.shares.first().unwrap());
    a.add(vec![pull(ours, 1), pull(theirs, 2), pull(theirs, 3)]).await;
    assert_eq!(a.numbers(), [1], "its own it has at once");
    // What came before is not overtaken by what its owner adds itself, though it has not heard of it yet.
    b.add(vec![pull(theirs, 4)]).await;
    until(&mut [&mut a, &mut b], "they arrive", |m| m[1].tasks.len() == 3).await;
    assert_eq!((a.numbers(), b.numbers()), (vec![1], vec![2, 3, 4]));
    assert!(b.tasks.is_sorted_by_key(|(id, _)| *id));
    b.add(vec![pull(theirs, 5)]).await;
    until(&mut [&mut a, &mut b], "it is there", |m| m[1].tasks.len() == 4).await;
    // Nobody can touch what is another's.
    let of_b = b.tasks[0].0;
    assert!(matches!(a.remove(of_b).await, Err(OutboxError::Lost)));
    b.remove(of_b).await.unwrap();
    assert!(matches!(b.remove(of_b).await, Err(OutboxError::Lost)), "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_messengers_work_and_intents_go_on_elsewhere_within_a_bounded_time() {
    let options = options(shared().unwrap());
    let (mut a, mut b) = two(&options).await;
    let share = *a.shares.first().unwrap();
    a.add(vec![pull(share, 1), pull(share, 2)]).await;
    let intents = Changes { intents: vec![pull(share, 3)], ..Changes::default() };
    a.outbox.commit(intents, Durability::Synced).await.unwrap();
    assert_eq!(a.numbers(), [1, 2], "an intent is nobody's to do");
    let begun = Instant::now();
    // Without a word, as a killed one.
    drop(a);
    until(&mut [&mut b], "it has everything", |m| all(m) == usize::from(SHARES) && m[0].tasks.len() == 3).await;
    let mut numbers = b.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(begun.elapsed() > LEASE / 2, "not before its lease was over");
    for (id, _) in b.tasks.clone() {
        b.remove(id).await.unwrap();
    }
    assert_eq!(b.outbox.tasks(None, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_messenger_that_was_believed_dead_can_change_nothing_any_more() {
    let options = options(shared().unwrap());
    let (mut a, mut b) = two(&options).await;
    let share = *a.shares.first().unwrap();
    let monitored = process(share, 1);
    let monitors = vec![(monitored, Monitoring::Put(Monitor::default()))];
    a.outbox.commit(Changes { monitors, ..Changes::default() }, Durability::Synced).await.unwrap();
    a.add(vec![pull(share, 1)]).await;
    let intents = Changes { intents: vec![pull(share, 2)], ..Changes::default() };
    let intent = a.outbox.commit(intents, Durability::Synced).await.unwrap().intents[0];
    until(&mut [&mut a, &mut b], "one of them monitors", |m| m[0].monitored == [monitored]).await;
    assert!(b.monitored.is_empty(), "a process is monitored once");
    // To the others it is dead; itself it does not know.
    a.sharing().leave().await.unwrap();
    until(&mut [&mut b], "the other goes on", |m| m[0].tasks.len() == 2 && m[0].monitored == [monitored]).await;
    let task = a.tasks[0].0;
    let to = Monitor { cursor: Some("x".into()), ..Monitor::default() };
    let moved = Monitoring::Move { from: Monitor::default(), to: to.clone() };
    for change in [
        Changes { remove: vec![task], ..Changes::default() },
        Changes { put: vec![(task, pull(share, 9))], ..Changes::default() },
        Changes { remove: vec![intent], ..Changes::default() },
        Changes { monitors: vec![(monitored, moved.clone())], ..Changes::default() },
    ] {
        let change = Changes { new: vec![pull(share, 8)], ..change };
        let result = a.outbox.commit(change, Durability::Synced).await;
        assert!(matches!(result, Err(OutboxError::Lost)), "{result:?}");
    }
    assert_eq!(b.outbox.tasks(None, 10).await.unwrap().len(), 2);
    let moved = Changes { monitors: vec![(monitored, moved)], ..Changes::default() };
    b.outbox.commit(moved, Durability::Synced).await.unwrap();
    assert_eq!(b.outbox.monitor(monitored).await.unwrap(), Some(to));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_push_has_had_is_counted_over_all_messengers() {
    let options = options(shared().unwrap());
    let (mut a, mut b) = two(&options).await;
    let (ours, theirs) = (*a.shares.first().unwrap(), *b.shares.first().unwrap());
    let origin = ItemId::from_bytes([theirs.0; 32]);
    for (messenger, share, more) in [(&mut a, ours, 5), (&mut b, theirs, 7)] {
        let accounts = vec![(origin, Charge::More { more, total: more })];
        let changes = Changes { accounts, new: vec![pull(share, 1)], ..Changes::default() };
        let committed = messenger.outbox.commit(changes, Durability::Buffered).await.unwrap();
        messenger.take(committed.new);
    }
    a.add(vec![pull(theirs, 2)]).await;
    until(&mut [&mut a, &mut b], "it arrives with its account", |m| m[1].accounts.contains(&(origin, 12))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_loses_nothing_and_is_used_again_when_it_is_back() {
    let mut database = Postgres::start().unwrap();
    let options = options(database.url());
    let mut a = Messenger::start(&options).await;
    until(&mut [&mut a], "it has everything", |m| all(m) == usize::from(SHARES)).await;
    a.add(vec![pull(Share(1), 1)]).await;
    database.stop().unwrap();
    let begun = Instant::now();
    let away = Changes { new: vec![pull(Share(1), 2)], ..Changes::default() };
    let error = a.outbox.commit(away, Durability::Synced).await.unwrap_err();
    assert!(error.is_away(), "{error}");
    assert!(begun.elapsed() < DEADLINE, "whoever asked is told in time");
    let begun = Instant::now();
    while a.sharing().holds() {
        assert!(begun.elapsed() < DEADLINE, "a messenger that nobody hears may start nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    database.begin().unwrap();
    let begun = Instant::now();
    while !a.sharing().holds() {
        assert!(begun.elapsed() < DEADLINE, "it is heard again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until(&mut [&mut a], "it has everything still", |m| all(m) == usize::from(SHARES)).await;
    a.add(vec![pull(Share(1), 3)]).await;
    until(&mut [&mut a], "it is there", |m| m[0].numbers() == [1, 3]).await;
    assert_eq!(a.outbox.tasks(None, 10).await.unwrap(), a.tasks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_later_format_are_told_without_the_password() {
    let good = options(shared().unwrap());
    let bad = PostgresOptions { url: good.url.replace("%20of%20", "%20or%20").into(), ..good.clone() };
    let error = PostgresOutbox::open(bad).await.err().unwrap();
    assert!(matches!(error, OutboxError::Setup(_)), "{error}");
    assert!(error.to_string().contains("28P01") && !error.to_string().contains("tests"), "{error}");

    drop(PostgresOutbox::open(good.clone()).await.unwrap());
    let (client, connection) = tokio_postgres::connect(&good.url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let later = format!("INSERT INTO {}.format (number) VALUES (99)", good.schema);
    client.batch_execute(&later).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    let error = PostgresOutbox::open(good).await.err().unwrap();
    assert!(matches!(error, OutboxError::Format { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_every_format_are_brought_to_this_one_and_keep_what_they_hold() {
    let formats = [
        include_str!("../../src/outbox/postgres/schema.sql"),
        include_str!("../../src/outbox/postgres/format-2.sql"),
        include_str!("../../src/outbox/postgres/format-3.sql"),
        include_str!("../../src/outbox/postgres/format-4.sql"),
        include_str!("../../src/outbox/postgres/format-5.sql"),
        include_str!("../../src/outbox/postgres/format-6.sql"),
        include_str!("../../src/outbox/postgres/format-7.sql"),
    ];
    // For an hour format 3 was what is now format 4.
    let hybrid = format!("{}{}", formats[2], formats[3]);
    let mut early: Vec<_> = (1..formats.len()).map(|format| formats[..format].to_vec()).collect();
    early.push(vec![formats[0], formats[1], hybrid.as_str()]);
    let new = options(shared().unwrap());
    let (client, connection) = tokio_postgres::connect(&new.url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let known = ProcessId::from_bytes([7; 32]);
    let record = ProcessRecord { module: "m".into(), scheduler: Address::from_bytes([8; 32]), cron: true };
    let mut schemas = vec![new.clone()];
    for early in early {
        let old = PostgresOptions { schema: schema(), ..new.clone() };
        let made = format!(
            "CREATE SCHEMA {0}; SET search_path TO {0};
             CREATE TABLE format (number integer NOT NULL); INSERT INTO format (number) VALUES ({1});
             {2}
             INSERT INTO share (id) SELECT generate_series(0, {SHARES} - 1);
             INSERT INTO boot (process) VALUES ('\\x{3}');",
            old.schema,
            early.len(),
            early.concat(),
            "07".repeat(32),
        );
        client.batch_execute(&made).await.unwrap();
        let sql = "INSERT INTO process (id, record) VALUES ($1, $2)";
        client.execute(sql, &[&known.as_bytes().as_slice(), &serde_json::to_vec(&record).unwrap()]).await.unwrap();
        schemas.push(old);
    }
    let sql = "SELECT
        (SELECT string_agg(proname, ' ' ORDER BY proname) FROM pg_proc WHERE pronamespace = $1::text::regnamespace),
        (SELECT string_agg(tgname || ' of ' || relname || ': ' || regexp_replace(prosrc, '\\s+', ' ', 'g'), '; ' ORDER BY tgname)
            FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid JOIN pg_proc ON pg_proc.oid = tgfoid
            WHERE relnamespace = $1::text::regnamespace AND NOT tgisinternal),
        (SELECT string_agg(indexdef, '; ' ORDER BY indexdef) FROM pg_indexes WHERE schemaname = $1)";
    let mut seen = Vec::new();
    for options in &schemas {
        let outbox = PostgresOutbox::open(options.clone()).await.unwrap();
        let old = options.schema != new.schema;
        assert_eq!(outbox.process(known).await.unwrap().is_some(), old);
        for byte in [7, 9] {
            let claims = vec![ItemId::from_bytes([byte; 32])];
            let again = Changes { claims, ..Changes::default() };
            if byte == 9 || !old {
                outbox.commit(again.clone(), Durability::Synced).await.unwrap();
            }
            let claimed = outbox.commit(again, Durability::Synced).await;
            assert!(matches!(claimed, Err(OutboxError::Claimed)), "{claimed:?}");
        }
        drop(outbox);
        let row = client.query_one(sql, &[&options.schema]).await.unwrap();
        let [functions, triggers, indexes] = [0, 1, 2].map(|column| row.get::<_, String>(column));
        seen.push((functions, triggers, indexes.replace(&options.schema, "schema")));
    }
    assert_eq!(
        seen[0].0, "abandon beat change change claim descends lock_class release wake",
        "none is left that nobody calls, and that which messengers of earlier formats call is there"
    );
    assert!(seen[0].1.starts_with("claim of boot"), "{}", seen[0].1);
    for old in &seen[1..] {
        assert_eq!(*old, seen[0]);
    }
    drop(client);
    connection.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_messengers_claim_at_the_same_moment_one_of_them_gets() {
    let options = options(shared().unwrap());
    let [a, b] = [Messenger::start(&options).await, Messenger::start(&options).await];
    for number in 0..50 {
        let claim = |messenger: &Messenger| {
            let outbox = messenger.outbox.clone();
            let claims = vec![ItemId::from_bytes([number; 32])];
            let changes = Changes { claims, ..Changes::default() };
            tokio::spawn(async move { outbox.commit(changes, Durability::Synced).await })
        };
        let (one, other) = (claim(&a), claim(&b));
        let results = [one.await.unwrap(), other.await.unwrap()];
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        assert!(results.iter().any(|result| matches!(result, Err(OutboxError::Claimed))), "{results:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_messenger_lives_on_while_everything_else_waits_for_the_database() {
    let options = PostgresOptions { connections: 1, ..options(shared().unwrap()) };
    let mut a = Messenger::start(&options).await;
    until(&mut [&mut a], "it has everything", |m| all(m) == usize::from(SHARES)).await;
    let (mut client, connection) = tokio_postgres::connect(&options.url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let held = client.transaction().await.unwrap();
    held.batch_execute(&format!("LOCK TABLE {}.task IN ACCESS EXCLUSIVE MODE", options.schema)).await.unwrap();
    let outbox = a.outbox.clone();
    let waiting = tokio::spawn(async move {
        outbox.commit(Changes { new: vec![pull(Share(1), 1)], ..Changes::default() }, Durability::Synced).await
    });
    let begun = Instant::now();
    while begun.elapsed() < 3 * LEASE {
        assert!(a.sharing().holds(), "after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!waiting.is_finished());
    held.rollback().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().new.len(), 1);
    drop(client);
    connection.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_encrypted_and_only_to_servers_whose_certificate_is_good() {
    let [database, other] = [(); 2].map(|()| Postgres::start_encrypted().unwrap());
    let secure = |url: &str, authority: Option<std::path::PathBuf>| PostgresOptions {
        certificates: authority,
        ..options(format!("{url}?sslmode=require"))
    };
    let good = secure(&database.url(), Some(database.authority()));
    let outbox = PostgresOutbox::open(good.clone()).await.unwrap();
    outbox.commit(Changes::default(), Durability::Synced).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let sql = "SELECT count(*), bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'holon-mu'";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert!(row.get::<_, i64>(0) >= 2 && row.get::<_, bool>(1), "all of its connections are encrypted");
    drop(client);
    connection.await.unwrap().unwrap();

    let named = database.url().replace("127.0.0.1", "localhost");
    for (bad, why) in [
        (secure(&database.url(), None), "this machine does not know the authority"),
        (secure(&database.url(), Some(other.authority())), "it is another authority's"),
        (secure(&named, Some(database.authority())), "it is for another host"),
    ] {
        let error = PostgresOutbox::open(bad).await.err().expect(why);
        assert!(error.to_string().contains("certificate"), "{why}: {error}");
    }
    let plain = Postgres::start().unwrap();
    let error = PostgresOutbox::open(secure(&plain.url(), Some(database.authority()))).await.err().unwrap();
    assert!(error.to_string().contains("TLS"), "a server that does not encrypt is not spoken to: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_messenger_expects_what_another_one_posts_until_it_has_what_follows_from_it_or_it_takes_too_long() {
    let options = options(shared().unwrap());
    let (mut a, mut b) = two(&options).await;
    let share = *b.shares.first().unwrap();
    let process = process(share, 1);
    let post = |number| {
        let kind = ForwardedKind::Message { process };
        let work = Work::Confirm(Forwarded { item: ItemId::from_bytes([number; 32]), kind, toward: None, came: None });
        Task { root: None, descent: Descent::default(), work }
    };
    let intend = async |messenger: &Messenger, number| {
        let changes = Changes { intents: vec![post(number)], ..Changes::default() };
        messenger.outbox.commit(changes, Durability::Synced).await.unwrap().intents[0]
    };
    let expects = async |messenger: &Messenger, pull| {
        messenger.sharing().expects(process, pull, Duration::from_secs(60)).await.unwrap().elsewhere
    };
    let before = intend(&a, 1).await;
    let own = intend(&b, 2).await;
    b.add(vec![pull(share, 3)]).await;
    let pulled = b.tasks[0].0;
    let after = intend(&a, 4).await;
    assert!(expects(&b, pulled).await && !expects(&b, before).await && expects(&b, after).await);
    let of_a = a.sharing().expects(process, after, Duration::from_secs(60)).await.unwrap();
    assert_eq!(of_a, Expected { elsewhere: true, posted: true }, "what b posts");
    let of_b = b.sharing().expects(process, before, Duration::from_secs(60)).await.unwrap();
    assert_eq!(of_b, Expected::default(), "nothing is older");
    let own_follows = Changes { remove: vec![own], new: vec![pull(share, 2)], ..Changes::default() };
    b.outbox.commit(own_follows, Durability::Buffered).await.unwrap();

    // It is there: what follows from it has a greater number than what is waiting for it, and is on its way.
    let follows = Changes { remove: vec![before], new: vec![pull(share, 1)], ..Changes::default() };
    a.outbox.commit(follows, Durability::Buffered).await.unwrap();
    assert!(expects(&b, pulled).await);
    until(&mut [&mut a, &mut b], "it has come", |all| all[1].numbers().contains(&1)).await;
    assert!(!expects(&b, pulled).await, "what was posted later is not waited for");

    // Nor is what nobody says anything of, for longer than is said and the lease.
    assert!(expects(&b, TaskId(after.0 + 1)).await);
    let begun = Instant::now();
    while b.sharing().expects(process, TaskId(after.0 + 1), Duration::ZERO).await.unwrap().elsewhere {
        assert!(begun.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(expects(&b, TaskId(after.0 + 1)).await, "by a longer measure it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn messengers_of_earlier_formats_go_on_beside_one_of_now() {
    let options = options(shared().unwrap());
    let mut a = Messenger::start(&options).await;
    until(&mut [&mut a], "it has everything", |m| all(m) == usize::from(SHARES)).await;
    let (client, connection) = tokio_postgres::connect(&options.url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let path = format!("SET search_path TO {}", options.schema);
    client.batch_execute(&path).await.unwrap();
    let hex = |task: &Task| {
        let text = serde_json::to_vec(task).unwrap();
        text.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    // What a program of format 5 says: who it is, what it removes, what it stages, what is new.
    let change = async |me: i64, removed: &str, staged: Option<(i64, &Task)>, new: Option<&Task>| {
        let (put, put_task) = staged.map_or(("{}".into(), "{}".into()), |(id, task)| {
            (format!("{{{id}}}"), format!("{{\"\\\\x{}\"}}", hex(task)))
        });
        let (share, task, none, no) = new.map_or_else(
            || ["{}"; 4].map(String::from).into(),
            |task| {
                let share = format!("{{{}}}", task.share().0);
                (share, format!("{{\"\\\\x{}\"}}", hex(task)), "{NULL}".to_owned(), "{f}".to_owned())
            },
        );
        let put_body = if staged.is_some() { "{NULL}" } else { "{}" };
        let rest = ", '{}'".repeat(27);
        let sql = format!(
            "SELECT ids, ours FROM change({me}, true, '{removed}', '{put}', '{put_task}', '{put_body}', '{share}', '{none}', '{no}',
                '{task}', '{none}', '{share}'{rest})"
        );
        client.query_one(&sql, &[]).await
    };
    let share = Share(1);
    let made = change(1, "{}", None, Some(&pull(share, 1))).await.unwrap();
    assert_eq!(made.get::<_, Vec<bool>>(1), [false], "it is for whoever has its share");
    until(&mut [&mut a], "what the old one made", |m| m[0].numbers() == [1]).await;

    // One that has a share makes, stages and removes as it did.
    let me: i64 = client.query_one("SELECT owner FROM share WHERE id = 1", &[]).await.unwrap().get(0);
    let made = change(me, "{}", None, Some(&pull(share, 2))).await.unwrap();
    let id = made.get::<_, Vec<i64>>(0)[0];
    assert_eq!(made.get::<_, Vec<bool>>(1), [true]);
    change(me, "{}", Some((id, &pull(share, 3))), None).await.unwrap();
    let stored = a.outbox.tasks(None, 10).await.unwrap();
    assert_eq!(stored.iter().map(|(_, task)| number(task)).collect::<Vec<_>>(), [1, 3]);
    change(me, &format!("{{{id}}}"), None, None).await.unwrap();
    let lost = change(me, &format!("{{{id}}}"), None, None).await.unwrap_err();
    assert_eq!(lost.code().map(tokio_postgres::error::SqlState::code), Some("HM001"), "{lost}");
    assert_eq!(a.outbox.tasks(None, 10).await.unwrap(), a.tasks);
    drop(client);
    connection.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tried_again_is_expected_from_then_on_and_what_was_never_sent_is_not() {
    let options = options(shared().unwrap());
    let (a, b) = two(&options).await;
    let process = process(*b.shares.first().unwrap(), 1);
    let kind = ForwardedKind::Message { process };
    let work = Work::Confirm(Forwarded { item: ItemId::from_bytes([1; 32]), kind, toward: None, came: None });
    let intents = vec![Task { root: None, descent: Descent::default(), work }];
    let changes = Changes { intents, ..Changes::default() };
    let id = a.outbox.commit(changes, Durability::Synced).await.unwrap().intents[0];
    let expects = async || {
        let pull = TaskId(id.0 + 1);
        b.sharing().expects(process, pull, Duration::ZERO).await.unwrap().elsewhere
    };
    let begun = Instant::now();
    while expects().await {
        assert!(begun.elapsed() < DEADLINE, "nothing is expected for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    a.sharing().posting(id, true).await.unwrap();
    assert!(expects().await, "it is sent now");
    a.sharing().posting(id, false).await.unwrap();
    assert!(!expects().await, "it was not");
}
