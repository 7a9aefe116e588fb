//! Processes of several types that send each other messages, in memory.

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    Answer, Sent, Spawned,
    resident::Resident,
    schedule::{Every, Schedule, schedules},
};
use crate::{Environment, Message, Process, Tag, message::first, outbox::Text};

/// Time between two blocks, in milliseconds.
pub const BLOCK_MS: u64 = 120_000;
/// Most messages that one message may lead to: processes that answer each other for ever are found, not waited for.
pub const DELIVERY_LIMIT: usize = 10_000;
/// The wallet of the messenger that pushes what processes send. Every process spawned here has it as its authority.
const MESSENGER: &str = "messenger";
/// When a network begins, in milliseconds since 1970, and at which height.
const GENESIS_MS: u64 = 1_700_000_000_000;
const GENESIS_HEIGHT: u64 = 1_500_000;
/// Characters of an id.
const ID_CHARS: usize = 43;

/// A network in memory.
///
/// ```
/// # use holon_process::{Context, Error, Handlers, Outgoing, Process, testing::Network};
/// struct Echo;
/// impl Process for Echo {
///     fn boot(_: &mut Context<'_>) -> Result<Self, Error> { Ok(Self) }
///     fn handlers(handlers: &mut Handlers<Self>) {
///         handlers.on("Say", |_, ctx| ctx.reply(Outgoing::new().action("Said").data(ctx.message().data_str().unwrap_or("nothing"))).map(drop));
///     }
/// }
///
/// let mut network = Network::new();
/// let echo = network.spawn::<Echo>("alice").tag("Name", "echo").boot();
/// network.send("bob", &echo).action("Say").data("hello").deliver();
/// assert_eq!(network.letters("bob")[0].message.data, "hello");
/// ```
pub struct Network {
    processes: BTreeMap<String, Member>,
    modules: BTreeMap<String, Make>,
    /// What was sent to somebody who is no process here.
    letters: Vec<Letter>,
    /// Items by id, for assignments.
    items: BTreeMap<String, Message<'static>>,
    deliveries: Vec<Delivery>,
    now_ms: u64,
    height: u64,
    ids: u64,
}

struct Member {
    process: Box<dyn Anyone>,
    schedules: Vec<Schedule>,
    since_ms: u64,
    since_height: u64,
    nonce: u64,
}

/// Makes a process of a module.
type Make = fn(Environment) -> Box<dyn Anyone>;

/// A process of any type.
trait Anyone {
    fn apply(&mut self, message: &Message<'_>) -> Answer;
    fn environment(&self) -> &Environment;
    fn state(&self) -> Option<&dyn Any>;
}

impl<P: Process> Anyone for Resident<P> {
    fn apply(&mut self, message: &Message<'_>) -> Answer {
        Resident::apply(self, message)
    }

    fn environment(&self) -> &Environment {
        &self.environment
    }

    fn state(&self) -> Option<&dyn Any> {
        Resident::state(self).map(|state| state as &dyn Any)
    }
}

/// A message that a process sent to a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The process.
    pub from: String,
    /// What it sent.
    pub message: Sent,
}

/// A message that a process was given, and what it did.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The process.
    pub to: String,
    /// The message.
    pub message: Message<'static>,
    /// What it led to.
    pub answer: Answer,
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Network {
    /// A network without processes.
    pub fn new() -> Self {
        Self {
            processes: BTreeMap::new(),
            modules: BTreeMap::new(),
            letters: Vec::new(),
            items: BTreeMap::new(),
            deliveries: Vec::new(),
            now_ms: GENESIS_MS,
            height: GENESIS_HEIGHT,
            ids: 0,
        }
    }

    /// Makes a type known under the id of a module, so that processes can spawn it.
    pub fn module<P: Process>(&mut self, id: &str) {
        self.modules.insert(id.to_owned(), |environment| Box::new(Resident::<P>::new(environment)));
    }

    /// Begins a process that `owner`, a wallet, creates; [`boot`](Spawning::boot) finishes it.
    pub fn spawn<P: Process>(&mut self, owner: &str) -> Spawning<'_> {
        let module = std::any::type_name::<P>().to_owned();
        self.module::<P>(&module);
        Spawning { network: self, module, owner: owner.to_owned(), tags: Vec::new(), data: String::new() }
    }

    /// Begins a message that `from`, a wallet, signs for a process; [`deliver`](Sending::deliver) sends it.
    pub fn send(&mut self, from: &str, to: &str) -> Sending<'_> {
        let message = Message {
            owner: from.to_owned().into(),
            from: from.to_owned().into(),
            target: to.to_owned().into(),
            data: Some("".into()),
            ..Message::default()
        };
        Sending { network: self, message }
    }

    /// A process's state.
    ///
    /// # Panics
    /// When there is no such process, it has not begun, or it is of another type: a mistake in the test.
    pub fn state<P: Process>(&self, process: &str) -> &P {
        let state = self.processes.get(process).and_then(|member| member.process.state());
        match state.and_then(|state| state.downcast_ref()) {
            Some(state) => state,
            None => panic!("{process} is no process with a state of the type {}", std::any::type_name::<P>()),
        }
    }

    /// Processes, in the order of their creation.
    pub fn processes(&self) -> impl Iterator<Item = &str> {
        self.processes.keys().map(String::as_str)
    }

    /// What processes sent to a wallet, in order.
    pub fn letters(&self, wallet: &str) -> Vec<&Letter> {
        self.letters.iter().filter(|letter| letter.message.target == wallet).collect()
    }

    /// Every message that was delivered to a process, in order.
    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// Messages that a process refused, in order.
    pub fn refused(&self) -> impl Iterator<Item = &Delivery> {
        self.deliveries.iter().filter(|delivery| delivery.answer.error.is_some())
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Arweave's height.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Lets time pass, second by second: blocks come, schedules fire, and what they lead to is delivered.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now_ms + by.as_millis() as u64;
        while self.now_ms < end {
            let until = end.min(self.now_ms - self.now_ms % 1000 + 1000);
            self.now_ms = until;
            if !until.is_multiple_of(1000) {
                break;
            }
            let block = GENESIS_HEIGHT + (until - GENESIS_MS) / BLOCK_MS;
            let new_block = block > self.height;
            self.height = block;
            self.fire(new_block);
        }
    }

    fn fire(&mut self, new_block: bool) {
        let (now, height) = (self.now_ms, self.height);
        let mut due = VecDeque::new();
        for (id, member) in &self.processes {
            let seconds = now / 1000 - member.since_ms / 1000;
            let blocks = height - member.since_height;
            for schedule in &member.schedules {
                let fires = match schedule.every {
                    Every::Seconds(every) => seconds > 0 && seconds.is_multiple_of(every),
                    Every::Blocks(every) => new_block && blocks > 0 && blocks.is_multiple_of(every),
                };
                if fires {
                    let owner = member.process.environment().process.owner.clone();
                    due.push_back(Message {
                        owner: owner.clone().into(),
                        from: owner.into(),
                        target: id.clone().into(),
                        tags: schedule.tags.clone(),
                        timestamp: Some(now),
                        block_height: Some(height),
                        cron: true,
                        ..Message::default()
                    });
                }
            }
        }
        self.settle(due);
    }

    fn next_id(&mut self, kind: &str) -> String {
        self.ids += 1;
        let digits = ID_CHARS - kind.len() - 1;
        format!("{kind}_{:0digits$}", self.ids)
    }

    /// Delivers these messages, and what they lead to, until nothing is left. Returns the first one's answer.
    fn settle(&mut self, mut queue: VecDeque<Message<'static>>) -> Answer {
        let mut first = None;
        let mut delivered = 0;
        while let Some(message) = queue.pop_front() {
            assert!(
                delivered < DELIVERY_LIMIT,
                "one message led to more than {DELIVERY_LIMIT}: do processes answer each other?"
            );
            delivered += 1;
            let answer = self.deliver(message, &mut queue);
            first.get_or_insert(answer);
        }
        first.unwrap_or_default()
    }

    fn deliver(&mut self, mut message: Message<'static>, queue: &mut VecDeque<Message<'static>>) -> Answer {
        self.deliver_to(message.target.clone().into_owned(), &mut message, queue)
    }

    fn deliver_to(
        &mut self,
        to: String,
        message: &mut Message<'static>,
        queue: &mut VecDeque<Message<'static>>,
    ) -> Answer {
        if !message.cron && message.id.is_none() {
            message.id = Some(self.next_id("message").into());
        }
        let Some(member) = self.processes.get_mut(&to) else {
            panic!("{to} is no process of this network");
        };
        if !message.cron {
            message.epoch = Some(0);
            message.nonce = Some(member.nonce);
            message.timestamp = Some(self.now_ms);
            message.block_height = Some(self.height);
            message.hash_chain = Some(format!("chain-{}", member.nonce).into());
        }
        let answer = member.process.apply(message);
        let environment = member.process.environment().clone();
        if !message.read_only {
            if !message.cron {
                member.nonce += 1;
            }
            if let Some(id) = &message.id {
                self.items.insert(id.clone().into_owned(), message.clone());
            }
            self.push(&environment, &answer, queue);
        }
        self.deliveries.push(Delivery { to, message: message.clone(), answer: answer.clone() });
        answer
    }

    /// What a messenger does with a result.
    fn push(&mut self, environment: &Environment, answer: &Answer, queue: &mut VecDeque<Message<'static>>) {
        let from = &environment.process.id;
        for sent in &answer.messages {
            if self.processes.contains_key(&sent.target) {
                queue.push_back(pushed(from, &sent.target, &sent.data, &sent.anchor, sent.tags.clone()));
            } else {
                self.letters.push(Letter { from: from.clone(), message: sent.clone() });
            }
        }
        for spawned in &answer.spawns {
            let child = self.bring_up(spawned, queue);
            let tags = spawned.tags.iter().filter(|tag| !["Variant", "Type"].contains(&&*tag.name));
            let notice = [("Type", "Message"), ("Process", child.as_str()), ("Action", "Spawned")];
            let tags = tags.cloned().chain(notice.map(|(name, value)| Tag::new(name, value.to_owned()))).collect();
            queue.push_back(pushed(from, from, " ", "", tags));
        }
        for assigned in &answer.assignments {
            let Some(item) = self.items.get(&assigned.message).cloned() else {
                panic!("{from} assigned {}, which is no message of this network", assigned.message);
            };
            for process in &assigned.processes {
                // The item keeps whom it was for; only its place is the process's.
                self.deliver_to(process.clone(), &mut item.clone(), queue);
            }
        }
    }

    fn bring_up(&mut self, spawned: &Spawned, queue: &mut VecDeque<Message<'static>>) -> String {
        let module = spawned.tag("Module").unwrap_or_default().to_owned();
        let Some(make) = self.modules.get(&module).copied() else {
            panic!("\"{module}\" was spawned, but no module of this network has this id: tell it with Network::module");
        };
        let data = if spawned.data.is_empty() { " " } else { &spawned.data };
        self.begin(make, &module, MESSENGER, spawned.tags.clone(), data, queue).0
    }

    fn begin(
        &mut self,
        make: Make,
        module: &str,
        owner: &str,
        tags: Vec<Tag<'static>>,
        data: &str,
        queue: &mut VecDeque<Message<'static>>,
    ) -> (String, Answer) {
        let id = self.next_id("process");
        let mut environment = Environment::default();
        environment.process.id.clone_from(&id);
        environment.process.owner = owner.to_owned();
        environment.process.tags.clone_from(&tags);
        environment.module.id = module.to_owned();
        let member = Member {
            schedules: schedules(&tags),
            process: make(environment),
            since_ms: self.now_ms,
            since_height: self.height,
            nonce: 0,
        };
        self.processes.insert(id.clone(), member);
        let mut boot = Message {
            id: Some(id.clone().into()),
            owner: owner.to_owned().into(),
            from: first(&tags, "From-Process").unwrap_or(owner).to_owned().into(),
            target: id.clone().into(),
            data: Some(data.to_owned().into()),
            tags,
            ..Message::default()
        };
        let answer = self.deliver_to(id.clone(), &mut boot, queue);
        (id, answer)
    }
}

/// A process's message as a messenger makes it (spec 04 §10.2).
fn pushed(from: &str, to: &str, data: &str, anchor: &str, mut tags: Vec<Tag<'static>>) -> Message<'static> {
    tags.retain(|tag| tag.name != "From-Process");
    tags.push(Tag::new("From-Process", from.to_owned()));
    Message {
        owner: MESSENGER.into(),
        forwarded_by: Some(MESSENGER.into()),
        from: from.to_owned().into(),
        target: to.to_owned().into(),
        data: Some(if data.is_empty() { " ".into() } else { data.to_owned().into() }),
        anchor: Some(anchor.to_owned().into()),
        tags,
        ..Message::default()
    }
}

/// A process that is about to be created.
#[must_use = "a process begins with boot()"]
pub struct Spawning<'n> {
    network: &'n mut Network,
    module: String,
    owner: String,
    tags: Vec<Tag<'static>>,
    data: String,
}

impl Spawning<'_> {
    /// Adds a tag. Without a tag `Authority` the process believes this network's messenger.
    pub fn tag<'t>(mut self, name: impl Text<'t>, value: impl Text<'t>) -> Self {
        self.tags.push(Tag::new(name.text().into_owned(), value.text().into_owned()));
        self
    }

    /// Sets the data.
    pub fn data<'t>(mut self, data: impl Text<'t>) -> Self {
        self.data = data.text().into_owned();
        self
    }

    /// Creates the process and returns its id.
    ///
    /// # Panics
    /// When the process refuses to begin; [`try_boot`](Self::try_boot) returns why instead.
    #[track_caller]
    pub fn boot(self) -> String {
        let (id, answer) = self.try_boot();
        if let Some(error) = answer.error {
            panic!("the process did not begin: {error}");
        }
        id
    }

    /// Creates the process, and returns its id and what its boot led to.
    pub fn try_boot(self) -> (String, Answer) {
        let Self { network, module, owner, tags: own, data } = self;
        let mut tags =
            vec![Tag::new("Data-Protocol", "ao"), Tag::new("Variant", "ao.TN.1"), Tag::new("Type", "Process")];
        tags.push(Tag::new("Module", module.clone()));
        if first(&own, "Authority").is_none() {
            tags.push(Tag::new("Authority", MESSENGER));
        }
        tags.extend(own);
        let Some(make) = network.modules.get(&module).copied() else {
            panic!("{module} is no module of this network");
        };
        let mut queue = VecDeque::new();
        let begun = network.begin(make, &module, &owner, tags, &data, &mut queue);
        network.settle(queue);
        begun
    }
}

/// A message that is about to be sent.
#[must_use = "a message is sent with deliver()"]
pub struct Sending<'n> {
    network: &'n mut Network,
    message: Message<'static>,
}

impl Sending<'_> {
    /// Sets the data.
    pub fn data<'t>(mut self, data: impl Text<'t>) -> Self {
        self.message.data = Some(data.text().into_owned().into());
        self
    }

    /// Adds the tag `Action`.
    pub fn action<'t>(self, action: impl Text<'t>) -> Self {
        self.tag("Action", action)
    }

    /// Adds a tag.
    pub fn tag<'t>(mut self, name: impl Text<'t>, value: impl Text<'t>) -> Self {
        self.message.tags.push(Tag::new(name.text().into_owned(), value.text().into_owned()));
        self
    }

    /// Says that the message is from this process, as only an authority may: what a forger would try.
    pub fn claiming<'t>(mut self, process: impl Text<'t>) -> Self {
        let process = process.text().into_owned();
        self.message.from = process.clone().into();
        self.message.forwarded_by = Some(self.message.owner.clone());
        self.tag("From-Process", process)
    }

    /// Delivers it, and everything it leads to. Returns what the message itself led to.
    pub fn deliver(self) -> Answer {
        self.network.settle(VecDeque::from([self.message]))
    }

    /// Asks without leaving a trace.
    pub fn dry_run(mut self) -> Answer {
        self.message.read_only = true;
        self.network.settle(VecDeque::from([self.message]))
    }
}
