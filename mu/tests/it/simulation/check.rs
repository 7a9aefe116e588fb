//! What must hold when everything is over.

use std::collections::{BTreeMap, BTreeSet};

use holon_mu::crank::task::{Forwarded, ForwardedKind, Task, TaskId};
use holon_protocol::{ItemId, ProcessId};

use super::messenger::Simulation;
use super::network::{CRON_RESULTS, Entry, Network, process};

impl Simulation {
    /// Every emission of everything scheduled is there exactly once, and nothing else is.
    pub fn check(&self) {
        let end = End {
            network: &self.network,
            left: self.outbox.contents().tasks,
            acknowledged: &self.acknowledged,
            assigned: &self.assigned,
            asked: &self.asked,
            // What was given up and taken up again comes late.
            ordered: self.retried == 0,
            // Doubled requests arrive late, when nobody waits for them any more.
            as_logged: false,
        };
        end.check();
    }
}

/// What there is when everything is over.
pub struct End<'a> {
    pub network: &'a Network,
    /// What is left in the outbox.
    pub left: BTreeMap<TaskId, Task>,
    /// What clients were told of.
    pub acknowledged: &'a [Forwarded],
    pub assigned: &'a [(ProcessId, ItemId)],
    /// What they asked for.
    pub asked: &'a [(ProcessId, ItemId)],
    /// Whether order must have been kept.
    pub ordered: bool,
    /// Whether that holds over all senders: in the order of the log, whoever wrote into it.
    pub as_logged: bool,
}

impl End<'_> {
    pub fn check(&self) {
        assert_eq!(self.left, BTreeMap::new(), "tasks are left in the outbox");
        for Forwarded { item, kind, .. } in self.acknowledged {
            let log = match kind {
                ForwardedKind::Message { process } => *process,
                ForwardedKind::Process { .. } => (*item).into(),
            };
            assert!(self.network.has(*item, log), "an acknowledged item is not scheduled");
        }
        let ordered = self.ordered;
        let mut crons = BTreeMap::new();
        let mut wanted = BTreeMap::<(ProcessId, ItemId), usize>::new();
        let mut pushed = BTreeMap::<(ProcessId, String, String), Vec<(ProcessId, usize)>>::new();
        let mut assigned = BTreeMap::<(ProcessId, ItemId), usize>::new();
        let mut spawned = BTreeMap::<(String, String), Vec<ProcessId>>::new();
        for (log, entries) in &self.network.logs {
            for (index, entry) in entries.iter().enumerate() {
                let item = match entry {
                    Entry::Item(item) => &self.network.items[item],
                    Entry::Assigned(assignment, message) => {
                        let pulled = self.network.pulled.contains(&(*assignment).into());
                        assert!(pulled, "the result of an assignment was never pulled: an older one was taken for it");
                        *assigned.entry((*log, *message)).or_insert(0_usize) += 1;
                        continue;
                    }
                };
                let Some(from) = item.tags.get("From-Process") else { continue };
                let reference = item.tags.get("Reference").unwrap().to_owned();
                if index == 0 {
                    spawned.entry((from.to_owned(), reference)).or_default().push(*log);
                    continue;
                }
                assert_eq!(item.tags.get("From-Module"), Some("module").filter(|_| !item.anchor.is_empty()));
                let key = (from.parse().unwrap(), reference, item.tags.get("Action").unwrap_or_default().to_owned());
                pushed.entry(key).or_default().push((*log, index));
            }
        }
        let mut uploads = BTreeMap::<(String, String), BTreeSet<ItemId>>::new();
        for upload in &self.network.uploads {
            let item = &self.network.items[upload];
            let from = item.tags.get("From-Process").unwrap().to_owned();
            uploads.entry((from, item.anchor.clone())).or_default().insert(*upload);
        }
        for (emitter, entries) in &self.network.logs {
            let mut last = BTreeMap::new();
            for (index, entry) in entries.iter().enumerate() {
                let result = self.network.result(*emitter, index);
                // What one process sent to this one came in the order of its outbox, and what follows from it keeps that order
                // towards each target, over all results. Clients send side by side.
                let sender = match entry {
                    Entry::Item(item) => self.network.items[item].tags.get("From-Process"),
                    Entry::Assigned(..) => None,
                };
                let sender = if self.as_logged { Some("all") } else { sender };
                let sender = sender.map_or_else(|| format!("entry {index}"), str::to_owned);
                for message in result["Messages"].as_array().unwrap() {
                    let Some(anchor) = message["Anchor"].as_str() else { continue };
                    let target: ItemId = message["Target"].as_str().unwrap().parse().unwrap();
                    if !self.network.logs.contains_key(&target.into()) {
                        let items = uploads.remove(&(emitter.to_string(), format!("{anchor:0>32}")));
                        assert_eq!(items.map(|items| items.len()), Some(1), "one item per message to a wallet");
                        continue;
                    }
                    let places = pushed.remove(&(*emitter, anchor.to_owned(), String::new())).unwrap_or_default();
                    let [(log, place)] = places[..] else { panic!("{emitter} {anchor} is at {places:?}") };
                    assert_eq!(log, target.into());
                    let last = last.insert((sender.clone(), target), place);
                    assert!(!ordered || last.is_none_or(|last| last < place), "out of order");
                }
                for spawn in result["Spawns"].as_array().unwrap() {
                    let reference = spawn["Tags"][1]["value"].to_string();
                    let made = spawned.remove(&(emitter.to_string(), reference.clone())).unwrap_or_default();
                    let [child] = made[..] else { panic!("{emitter} {reference} spawned {made:?}") };
                    let notices = pushed.remove(&(*emitter, reference, "Spawned".into())).unwrap_or_default();
                    let [(log, place)] = notices[..] else { panic!("notices: {notices:?}") };
                    let Entry::Item(notice) = &self.network.logs[&log][place] else { panic!("not an item") };
                    let notice = &self.network.items[notice];
                    assert_eq!((log, notice.tags.get("Process")), (*emitter, Some(&*child.to_string())));
                }
                for assignment in result["Assignments"].as_array().unwrap() {
                    let to = assignment["Processes"][0].as_str().unwrap().parse().unwrap();
                    let message = assignment["Message"].as_str().unwrap().parse().unwrap();
                    *wanted.entry((to, message)).or_insert(0_usize) += 1;
                }
                // A client's process with a target is assigned to it.
                if let (0, Entry::Item(item)) = (index, entry)
                    && let Some(target) = self.network.items[item].target
                {
                    *wanted.entry((target.into(), *item)).or_insert(0) += 1;
                }
            }
        }
        for (wanted, times) in wanted {
            let made = assigned.remove(&wanted).unwrap_or_default();
            // Two that ask for the same at once may both be content with one.
            let most = if self.network.refuses_repeated_assignments { 1 } else { times };
            assert!((1..=most).contains(&made), "{made} assignments for {times} that asked for it");
        }
        for number in 0..CRON_RESULTS {
            let result = self.network.cron_result(number);
            for message in result["Messages"].as_array().unwrap() {
                let (target, anchor) = (message["Target"].as_str().unwrap(), message["Anchor"].as_str().unwrap());
                let places = pushed.remove(&(process(0), anchor.to_owned(), String::new())).unwrap_or_default();
                let [(log, place)] = places[..] else { panic!("cron message {anchor} is at {places:?}") };
                assert_eq!(log.to_string(), target);
                let last = crons.insert(target.to_owned(), place);
                assert!(!ordered || last.is_none_or(|last| last < place), "cron messages out of order");
            }
        }
        for asked in self.asked.iter().collect::<BTreeSet<_>>() {
            let count = |list: &[(ProcessId, ItemId)]| list.iter().filter(|other| *other == asked).count();
            let made = assigned.remove(asked).unwrap_or_default();
            assert!(made >= count(self.assigned), "a client was told of an assignment that is not there");
            let most = if self.network.refuses_repeated_assignments { 1 } else { count(self.asked) };
            assert!(made <= most, "{made} assignments, asked for {} times", count(self.asked));
        }
        assert_eq!(pushed, BTreeMap::new(), "nobody emitted these");
        assert_eq!(assigned, BTreeMap::new(), "nobody asked for these");
        assert_eq!(spawned, BTreeMap::new(), "nobody spawned these");
        assert_eq!(uploads, BTreeMap::new(), "nobody sent these");
    }
}
