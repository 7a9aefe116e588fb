//! Tests of the store on disk.

use holon_protocol::{BlockHeight, Timestamp};
use serde_json::json;

use super::super::layout::record_key;
use super::*;
use crate::machine::{Evaluation, Outcome, Response};

const PROCESS: ProcessId = ProcessId::from_bytes([255; 32]);

fn record(output: &str, failed: bool) -> Record {
    let outcome = match failed {
        true => Outcome::Thrown(json!(output)),
        false => Outcome::Ok(Response { output: Some(json!(output)), ..Response::default() }),
    };
    Record::new(&Evaluation { outcome, gas_used: 0, returned: None }, BlockHeight(1), None)
}

fn key(timestamp: u64, ordinate: u64, cron: Option<&str>) -> Key {
    Key { timestamp: Timestamp(timestamp), ordinate, cron: cron.map(str::to_owned) }
}

fn evaluated(id: MessageId, assignment: Option<AssignmentId>, identity: &Identity, epoch: u64) -> Evaluated<'_> {
    Evaluated { id, assignment, identity, epoch }
}

fn filled(path: &Path) -> Results {
    let results = Results::open(path).unwrap();
    let mut batch = Batch::default();
    for nonce in 0..12u64 {
        batch.record(PROCESS, &key(100 + nonce, nonce, None), &record(&nonce.to_string(), nonce == 3));
    }
    batch.record(PROCESS, &key(105, 4, Some("0-1-second")), &record("cron", false));
    let other = ProcessId::from_bytes([254; 32]);
    batch.record(other, &key(105, 1, None), &record("other", false));
    results.commit(&mut batch).unwrap();
    results
}

fn outputs(page: &Page) -> String {
    let outputs: Vec<String> = page
        .edges
        .iter()
        .map(|(_, record)| {
            let json: serde_json::Value = serde_json::from_str(&record.result_json()).unwrap();
            json["Output"].as_str().unwrap().to_owned()
        })
        .collect();
    format!("{}{}", outputs.join(" "), if page.has_next_page { " …" } else { "" })
}

#[test]
fn pages_are_in_the_order_of_the_log_without_failed_results() {
    let dir = tempfile::tempdir().unwrap();
    let results = filled(&dir.path().join("results"));
    let page = |from: Option<&Bound>, to: Option<&Bound>, sort, limit| {
        outputs(&results.page(PROCESS, Listing::All, from, to, sort, limit).unwrap())
    };
    let time = |timestamp| Bound::Time(Timestamp(timestamp));
    let cursor = |key| Bound::Evaluation(Cursor { key, sort: None });
    use Sort::{Ascending, Descending};
    assert_eq!(page(None, None, Ascending, 4), "0 1 2 4 …");
    assert_eq!(page(None, None, Descending, 4), "11 10 9 8 …");
    assert_eq!(page(Some(&time(108)), None, Ascending, 25), "8 9 10 11");
    assert_eq!(page(Some(&cursor(key(108, 8, None))), None, Ascending, 25), "9 10 11");
    assert_eq!(page(None, Some(&time(102)), Ascending, 3), "0 1 2");
    assert_eq!(page(None, Some(&cursor(key(102, 2, None))), Ascending, 2), "0 1 …");
    assert_eq!(page(Some(&time(105)), Some(&time(105)), Ascending, 25), "cron 5");
    assert_eq!(page(Some(&cursor(key(105, 4, Some("0-1-second")))), Some(&time(105)), Ascending, 25), "5");
    assert_eq!(page(Some(&time(109)), Some(&time(102)), Ascending, 25), "");
    let crons = results.page(PROCESS, Listing::Cron, None, None, Ascending, 25).unwrap();
    assert_eq!(outputs(&crons), "cron");
    assert_eq!(results.last(PROCESS).unwrap(), Some(key(111, 11, None)));
}

#[test]
fn messages_are_found_by_their_ids_and_recognised_when_they_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let results = filled(&dir.path().join("results"));
    let id = |byte| MessageId::from_bytes([byte; 32]);
    let content = Identity::Content(vec![9; 48]);
    let mut batch = Batch::default();
    let message = evaluated(id(1), Some(AssignmentId::from_bytes([2; 32])), &content, 0);
    results.message(&mut batch, PROCESS, &message, &key(105, 5, None)).unwrap();
    batch.skipped(PROCESS, id(4), 0, Some(&key(106, 6, None)));
    batch.skipped(PROCESS, id(5), 0, None);
    for committed in [false, true] {
        let seen =
            |identity: &Identity, epoch, nonce| results.seen_before(&batch, PROCESS, identity, epoch, nonce).unwrap();
        assert!(seen(&content, 0, 6), "committed: {committed}");
        assert!(!seen(&content, 0, 5) && !seen(&content, 1, 6), "committed: {committed}");
        assert!(!seen(&Identity::Id(ItemId::from_bytes([4; 32])), 0, 100));
        // What is recognised by its content is found by its id, and not recognised by it, committed or not.
        assert!(!seen(&Identity::Id(ItemId::from_bytes([1; 32])), 0, 100), "committed: {committed}");
        results.commit(&mut batch).unwrap();
    }
    let stored = |id| results.by_message(PROCESS, id).unwrap();
    assert_eq!(stored(id(1)), Some(record("5", false)));
    assert_eq!(stored(id(2)), stored(id(1)));
    assert_eq!(stored(id(4)), Some(record("6", false)));
    assert_eq!(stored(id(5)).map(|record| record.result_json()), Some(Record::empty().result_json()));
    assert_eq!(stored(id(6)), None);
    assert_eq!(results.by_message(ProcessId::from_bytes([254; 32]), id(1)).unwrap(), None);
}

#[test]
fn identities_that_were_imported_are_recognised_and_say_how_far_they_go() {
    let dir = tempfile::tempdir().unwrap();
    let results = Results::open(&dir.path().join("results")).unwrap();
    let known = |byte: u8, content| Known {
        identity: if content {
            Identity::Content(vec![byte; 48])
        } else {
            Identity::Id(ItemId::from_bytes([byte; 32]))
        },
        epoch: 0,
        nonce: Nonce(byte.into()),
        timestamp: Timestamp(100 + u64::from(byte)),
    };
    let all: Vec<Known> = (1..200).map(|byte| known(byte, byte % 2 == 0)).collect();
    assert_eq!(results.known_until(PROCESS).unwrap(), None);
    results.import(PROCESS, &all, (Timestamp(299), Nonce(299))).unwrap();
    assert_eq!(results.known_until(PROCESS).unwrap(), Some((Timestamp(299), Nonce(299))));
    let seen = |known: &Known, nonce| {
        results.seen_before(&Batch::default(), PROCESS, &known.identity, known.epoch, nonce).unwrap()
    };
    assert!(all.iter().all(|known| seen(known, 200) && !seen(known, known.nonce.0)));
    assert!(!seen(&known(200, true), 300));
    // They are not results.
    assert_eq!(results.by_message(PROCESS, MessageId::from_bytes([1; 32])).unwrap(), None);
    assert_eq!(results.last(PROCESS).unwrap(), None);
}

#[test]
fn a_record_that_cannot_be_read_throws_the_store_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results");
    let results = filled(&path);
    results.open.read().unwrap().tree.insert(record_key(RESULT, PROCESS, &key(1, 1, None)), b"rubbish").unwrap();
    assert_eq!(results.generation(), 0);
    assert_eq!(results.get(PROCESS, &key(1, 1, None)).unwrap(), None);
    assert_eq!(results.generation(), 1);
    assert_eq!(results.last(PROCESS).unwrap(), None);
    let mut batch = Batch::default();
    batch.record(PROCESS, &key(7, 0, None), &record("again", false));
    results.commit(&mut batch).unwrap();
    drop(results);
    assert_eq!(Results::open(&path).unwrap().last(PROCESS).unwrap(), Some(key(7, 0, None)));
}

#[test]
fn a_damaged_file_does_not_keep_the_store_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results");
    let results = filled(&path);
    results.flush().unwrap();
    drop(results);
    let file = path.join("db");
    let length = std::fs::metadata(&file).unwrap().len() as usize;
    std::fs::write(&file, vec![0xa5; length]).unwrap();
    let results = Results::open(&path).unwrap();
    assert_eq!(results.last(PROCESS).unwrap(), None);
    let mut batch = Batch::default();
    batch.record(PROCESS, &key(7, 0, None), &record("again", false));
    results.commit(&mut batch).unwrap();
    assert_eq!(results.last(PROCESS).unwrap(), Some(key(7, 0, None)));
}

#[test]
fn a_store_that_cannot_be_opened_now_is_not_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results");
    filled(&path).flush().unwrap();
    // A folder where the log should be: an error of the operating system, whoever runs this.
    let (file, aside) = (path.join("db"), path.join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(Results::open(&path).is_err());
    assert!(!path.with_extension("damaged").exists());
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    assert_eq!(Results::open(&path).unwrap().last(PROCESS).unwrap(), Some(key(111, 11, None)));
}

/// Ordinary messages are not checked for duplicates, so one identity may be evaluated several times; what a later one is compared with
/// must not depend on whether it is asked for the first time or in a replay, when all have been stored.
#[test]
fn an_identity_is_known_by_its_first_evaluation_in_each_epoch_whatever_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let results = Results::open(&dir.path().join("results")).unwrap();
    let id = MessageId::from_bytes([1; 32]);
    for (at, identity) in [Identity::Id(id.into()), Identity::Content(vec![9; 48])].iter().enumerate() {
        for commits in [false, true] {
            let process = ProcessId::from_bytes([at as u8 * 2 + u8::from(commits); 32]);
            let mut batch = Batch::default();
            for (epoch, nonce) in [(0, 5), (0, 9), (1, 12), (0, 3), (1, 20), (2, 30), (1, 11)] {
                let message = evaluated(id, None, identity, epoch);
                results.message(&mut batch, process, &message, &key(100 + nonce, nonce, None)).unwrap();
                if commits {
                    results.commit(&mut batch).unwrap();
                }
            }
            for committed in [commits, true] {
                let seen = |epoch, nonce| results.seen_before(&batch, process, identity, epoch, nonce).unwrap();
                for (epoch, first) in [(0, 3), (1, 11), (2, 30)] {
                    assert!(!seen(epoch, first), "{identity:?} in {epoch}, committed: {committed}");
                    assert!(seen(epoch, first + 1), "{identity:?} in {epoch}, committed: {committed}");
                }
                assert!(!seen(3, 100));
                results.commit(&mut batch).unwrap();
            }
            // What is imported changes nothing that is earlier.
            let known =
                |nonce| Known { identity: identity.clone(), epoch: 0, nonce: Nonce(nonce), timestamp: Timestamp(1) };
            results.import(process, &[known(8), known(7)], (Timestamp(200), Nonce(200))).unwrap();
            assert!(results.seen_before(&Batch::default(), process, identity, 0, 4).unwrap());
        }
    }
}
