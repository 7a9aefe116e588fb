//! The sequencer in a world where writes lag, signatures fail, clocks jump and the program dies at any moment.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const PROCESS: ProcessId = ProcessId::from_bytes([7; 32]);

#[derive(Debug, Clone)]
enum Happening {
    Submit(Subject),
    /// The pool does the piece of work that is due, if any. A look-up is two: asking the store, and telling what it knew.
    Work,
    /// The signature that is due fails.
    SignatureFails,
    /// Everything signed is appended: readers of the store find it, a crash may lose it.
    Append,
    /// Everything appended is synced.
    Sync,
    /// The clock jumps to here.
    Clock(u64),
    /// The program dies; this share of what was appended but not synced survives, in 1/256.
    Crash(u8),
}

#[derive(Debug, Clone)]
struct Entry {
    ticket: Ticket,
    subject: Subject,
    assignment: Assignment,
    id: AssignmentId,
}

/// What a pool thread is about to do.
#[derive(Debug)]
enum Work {
    LookUp(Subject),
    /// The store was asked; by the time it is told, the store may know more.
    LookedUp(Option<Known>),
    Sign(Assignment),
}

struct World {
    sequencer: Sequencer,
    work: Option<Work>,
    signed: Vec<Entry>,
    appended: Vec<Entry>,
    durable: usize,
    open: HashSet<Ticket>,
    acknowledged: HashMap<Nonce, AssignmentId>,
    last_signed: Option<(Assignment, AssignmentId)>,
    subjects: HashMap<Ticket, Subject>,
    clock: u64,
    counter: u64,
}

impl World {
    fn new() -> Self {
        Self {
            sequencer: Sequencer::resume(PROCESS, None),
            work: None,
            signed: Vec::new(),
            appended: Vec::new(),
            durable: 0,
            open: HashSet::new(),
            acknowledged: HashMap::new(),
            last_signed: None,
            subjects: HashMap::new(),
            clock: 1_000,
            counter: 0,
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Submit(subject) => {
                self.counter += 1;
                let ticket = Ticket(self.counter);
                self.open.insert(ticket);
                self.subjects.insert(ticket, subject.clone());
                self.feed(Input::Submit(ticket, subject));
            }
            Happening::Work => self.work(false),
            Happening::SignatureFails => self.work(true),
            Happening::Append => self.appended.append(&mut self.signed),
            Happening::Sync => {
                self.durable = self.appended.len();
                if let Some(last) = self.appended.last() {
                    self.feed(Input::Durable(last.assignment.nonce));
                }
            }
            Happening::Clock(now) => self.clock = now,
            Happening::Crash(share) => self.crash(share),
        }
    }

    fn work(&mut self, fails: bool) {
        match self.work.take() {
            Some(Work::LookUp(subject)) => self.work = Some(Work::LookedUp(self.look_up(&subject))),
            Some(Work::LookedUp(known)) => {
                self.feed(Input::LookedUp { known, now: Timestamp(self.clock), height: BlockHeight(1) });
            }
            Some(Work::Sign(_)) if fails => self.feed(Input::NotSigned("no".into())),
            Some(Work::Sign(assignment)) => {
                self.counter += 1;
                let mut id = [0; 32];
                id[..8].copy_from_slice(&self.counter.to_be_bytes());
                let id = AssignmentId::from_bytes(id);
                self.last_signed = Some((assignment, id));
                self.feed(Input::Signed(id));
            }
            None => {}
        }
    }

    fn look_up(&self, subject: &Subject) -> Option<Known> {
        if self.appended.iter().any(|entry| same_id(&entry.subject, subject)) {
            return Some(Known::Message);
        }
        self.appended.iter().any(|entry| same_content(&entry.subject, subject)).then_some(Known::Content)
    }

    fn feed(&mut self, input: Input) {
        for action in self.sequencer.step(input) {
            match action {
                Action::LookUp(_, subject) => self.begin(Work::LookUp(subject)),
                Action::Sign(_, assignment) => self.begin(Work::Sign(assignment)),
                Action::Store(ticket, nonce) => {
                    let (assignment, id) = self.last_signed.take().unwrap();
                    assert_eq!(assignment.nonce, nonce);
                    let subject = self.subjects[&ticket].clone();
                    self.signed.push(Entry { ticket, subject, assignment, id });
                }
                Action::Answer(ticket, answer) => {
                    assert!(self.open.remove(&ticket), "answered twice or never asked");
                    self.check_answer(ticket, &answer);
                }
            }
        }
    }

    fn begin(&mut self, work: Work) {
        assert!(self.work.is_none(), "two pieces of work at a time");
        self.work = Some(work);
    }

    fn check_answer(&mut self, ticket: Ticket, answer: &Answer) {
        let durable = &self.appended[..self.durable];
        let subject = &self.subjects[&ticket];
        match answer {
            Answer::Scheduled { nonce, assignment } => {
                let entry = &durable[usize::try_from(nonce.0).unwrap()];
                assert_eq!((entry.ticket, entry.id), (ticket, *assignment), "acknowledged before it is durable");
                self.acknowledged.insert(*nonce, *assignment);
            }
            Answer::Refused(Refusal::Exists) if *subject == Subject::Process => assert!(!durable.is_empty()),
            Answer::Refused(Refusal::Exists) => {
                assert!(
                    durable.iter().any(|entry| same_id(&entry.subject, subject)),
                    "exists, but a crash may lose it"
                );
            }
            Answer::Refused(Refusal::ContentExists) => {
                assert!(durable.iter().any(|entry| same_content(&entry.subject, subject)));
            }
            Answer::Refused(Refusal::UnknownProcess) => assert!(self.appended.is_empty() && self.signed.is_empty()),
            Answer::Refused(Refusal::NotSigned(_)) => {}
            Answer::Refused(refusal) => panic!("{refusal}"),
        }
    }

    fn crash(&mut self, share: u8) {
        let unsynced = self.appended.len() - self.durable;
        self.appended.truncate(self.durable + unsynced * usize::from(share) / 256);
        self.durable = self.appended.len();
        self.signed.clear();
        self.open.clear();
        self.work = None;
        let head = self.appended.last().map(|entry| Head {
            nonce: entry.assignment.nonce,
            timestamp: entry.assignment.timestamp,
            assignment: entry.id,
            hash_chain: entry.assignment.hash_chain,
        });
        self.sequencer = Sequencer::resume(PROCESS, head);
    }

    fn finish(&mut self) {
        while self.work.is_some() {
            self.work(false);
        }
        self.happen(Happening::Append);
        self.happen(Happening::Sync);
        assert!(self.open.is_empty(), "never answered: {:?}", self.open);
        assert!(self.sequencer.is_idle());
    }

    fn check_log(&self) {
        let mut previous: Option<&Entry> = None;
        for (index, entry) in self.appended.iter().enumerate() {
            let assignment = &entry.assignment;
            assert_eq!(assignment.nonce, Nonce(index as u64));
            assert_eq!(entry.subject == Subject::Process, index == 0);
            let (chain, later) = match previous {
                None => (HashChain::first(PROCESS), true),
                Some(previous) => (
                    previous.assignment.hash_chain.next(previous.id),
                    assignment.timestamp > previous.assignment.timestamp,
                ),
            };
            assert_eq!(assignment.hash_chain, chain);
            assert!(later, "timestamps must strictly increase");
            let earlier = &self.appended[..index];
            assert!(!earlier.iter().any(|earlier| same_id(&earlier.subject, &entry.subject)));
            assert!(!earlier.iter().any(|earlier| same_content(&earlier.subject, &entry.subject)));
            previous = Some(entry);
        }
        for (nonce, id) in &self.acknowledged {
            assert_eq!(self.appended[usize::try_from(nonce.0).unwrap()].id, *id, "an acknowledged entry is gone");
        }
    }
}

fn same_id(a: &Subject, b: &Subject) -> bool {
    a.unique_id().is_some() && a.unique_id() == b.unique_id()
}

fn same_content(stored: &Subject, new: &Subject) -> bool {
    match (stored.content(), new.content()) {
        (Some(stored), Some(new)) => stored.ordered == new.ordered || stored.ordered == new.unordered,
        _ => false,
    }
}

fn subjects() -> impl Strategy<Value = Subject> {
    let content = || {
        proptest::option::of((0..5u8, 0..5u8).prop_map(|(ordered, unordered)| Content {
            ordered: ContentHash(ordered.to_string()),
            unordered: ContentHash(unordered.to_string()),
        }))
    };
    let id = || (0..12u8).prop_map(|id| MessageId::from_bytes([id; 32]));
    prop_oneof![
        1 => Just(Subject::Process),
        8 => (id(), content()).prop_map(|(id, content)| Subject::Message { id, content }),
        2 => (id(), content()).prop_map(|(id, content)| Subject::Assigned { id, content, exclude: vec!["Data".into()] }),
    ]
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let happening = prop_oneof![
        8 => subjects().prop_map(Happening::Submit),
        12 => Just(Happening::Work),
        1 => Just(Happening::SignatureFails),
        3 => Just(Happening::Append),
        3 => Just(Happening::Sync),
        1 => (0..2_000u64).prop_map(Happening::Clock),
        1 => any::<u8>().prop_map(Happening::Crash),
    ];
    proptest::collection::vec(happening, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_the_log_is_one_unbroken_order_that_keeps_what_was_acknowledged(happenings in happenings()) {
        let mut world = World::new();
        world.happen(Happening::Submit(Subject::Process));
        for happening in happenings {
            world.happen(happening);
            world.check_log();
        }
        world.finish();
        world.check_log();
    }
}

/// A sequencer whose process exists, and the world around it.
fn started() -> World {
    let mut world = World::new();
    world.happen(Happening::Submit(Subject::Process));
    world.finish();
    world
}

fn message(id: u8) -> Subject {
    Subject::Message { id: MessageId::from_bytes([id; 32]), content: None }
}

#[test]
fn the_next_message_is_signed_while_the_last_one_is_not_on_disk_yet() {
    let mut world = started();
    world.happen(Happening::Submit(message(1)));
    world.happen(Happening::Submit(message(2)));
    while world.work.is_some() {
        world.happen(Happening::Work);
    }
    assert_eq!(world.signed.len(), 2);
    assert_eq!(world.open.len(), 2, "neither is acknowledged before it is durable");
}

#[test]
fn a_duplicate_of_what_is_not_on_disk_yet_is_refused_only_once_it_is() {
    let mut world = started();
    world.happen(Happening::Submit(message(1)));
    world.happen(Happening::Submit(message(1)));
    while world.work.is_some() {
        world.happen(Happening::Work);
    }
    assert_eq!(world.open.len(), 2);
    world.finish();
    assert_eq!(world.appended.len(), 2);
}

/// The first copy is still in flight when the store is asked about the second, and on disk when the answer comes: the
/// store did not know it yet, and the sequencer must not have forgotten it already.
#[test]
fn a_copy_that_becomes_durable_while_the_store_is_asked_about_another_is_not_forgotten() {
    let content = Content { ordered: ContentHash("a".into()), unordered: ContentHash("b".into()) };
    let with_content = |id| Subject::Message { id: MessageId::from_bytes([id; 32]), content: Some(content.clone()) };
    for (first, second) in [(message(1), message(1)), (with_content(1), with_content(2))] {
        let mut world = started();
        world.happen(Happening::Submit(first));
        world.happen(Happening::Submit(second));
        while world.signed.is_empty() {
            world.happen(Happening::Work);
        }
        assert!(matches!(world.work, Some(Work::LookUp(_))), "the second has its turn");
        world.happen(Happening::Work);
        assert!(matches!(world.work, Some(Work::LookedUp(None))), "the store knows nothing of it");
        world.happen(Happening::Append);
        world.happen(Happening::Sync);
        world.finish();
        assert_eq!(world.appended.len(), 2, "the process and one copy");
        world.check_log();
    }
}

#[test]
fn a_clock_that_goes_back_does_not_take_timestamps_back() {
    let mut world = started();
    world.happen(Happening::Clock(5));
    world.happen(Happening::Submit(message(1)));
    world.finish();
    world.check_log();
}

#[test]
fn after_the_store_failed_nobody_waits_and_nothing_is_accepted() {
    let mut world = started();
    for id in 0..3 {
        world.happen(Happening::Submit(message(id)));
    }
    world.happen(Happening::Work);
    let answers = world.sequencer.step(Input::Failed);
    let halted = |action: &Action| matches!(action, Action::Answer(_, Answer::Refused(Refusal::Halted)));
    assert!(answers.len() == 3 && answers.iter().all(halted));
    assert!(world.sequencer.step(Input::Submit(Ticket(99), message(9))).iter().all(halted));
    assert!(world.sequencer.step(Input::Durable(Nonce(3))).is_empty());
    assert!(!world.sequencer.is_idle(), "a halted lane must not be resumed from the store");
}

#[test]
fn no_more_than_the_limit_wait() {
    let mut world = started();
    for id in 0..=MAX_WAITING as u64 {
        assert!(
            !world
                .sequencer
                .step(Input::Submit(Ticket(1_000 + id), message(1)))
                .iter()
                .any(|action| { matches!(action, Action::Answer(..)) })
        );
    }
    let answer = world.sequencer.step(Input::Submit(Ticket(1), message(1)));
    assert_eq!(answer, [Action::Answer(Ticket(1), Answer::Refused(Refusal::Busy))]);
}
