//! What is asked of a network: described step by step, carried out when awaited.

use std::future::IntoFuture;
use std::pin::Pin;

use bytes::Bytes;
use holon_client::{CronInterval, dry_run, message, spawn};
use holon_protocol::{MessageId, ModuleId, ProcessId, Signer, Tag};

use crate::answer::Answer;
use crate::error::Error;
use crate::network::Network;

/// What awaiting a request runs.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + std::marker::Send + 'a>>;

/// A process to be spawned; see [`Network::spawn`] and [`Network::deploy`]. Awaiting it spawns and gives its id.
#[derive(Debug, Clone)]
#[must_use = "a process is only spawned when this is awaited"]
pub struct Spawn<'a> {
    network: &'a Network,
    module: Module,
    tags: Vec<Tag>,
    cron: Option<(CronInterval, Vec<Tag>)>,
    data: Bytes,
    signer: &'a Signer,
}

#[derive(Debug, Clone)]
enum Module {
    Published(ModuleId),
    Wasm { wasm: Bytes, format: Option<String> },
}

impl<'a> Spawn<'a> {
    pub(crate) fn of_module(network: &'a Network, module: ModuleId) -> Self {
        Self::new(network, Module::Published(module))
    }

    pub(crate) fn of_wasm(network: &'a Network, wasm: Bytes) -> Self {
        Self::new(network, Module::Wasm { wasm, format: None })
    }

    fn new(network: &'a Network, module: Module) -> Self {
        let signer = network.wallet();
        Self { network, module, tags: Vec::new(), cron: None, data: Bytes::new(), signer }
    }

    /// The format of the module when it is not written with `holon-process`: `wasm64-unknown-emscripten-draft_2024_02_15`
    /// for `aos`. Counts for [`Network::deploy`] only; a published module says it itself.
    pub fn format(mut self, name: impl Into<String>) -> Self {
        if let Module::Wasm { format, .. } = &mut self.module {
            *format = Some(name.into());
        }
        self
    }

    /// Appends a tag.
    pub fn tag(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.tags.push(Tag::new(name.into(), value.to_string()));
        self
    }

    /// Wakes the process regularly, with these tags on the message it gets. It happens when time is
    /// [advanced](Network::advance) or blocks are [made](Network::mine).
    pub fn cron<'t>(mut self, every: CronInterval, tags: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        self.cron = Some((every, tags.into_iter().map(|(name, value)| Tag::new(name, value)).collect()));
        self
    }

    /// Sets the data.
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }

    /// Who owns the process: [`Network::wallet`] without it.
    pub fn signed_by(mut self, wallet: &'a Signer) -> Self {
        self.signer = wallet;
        self
    }
}

impl<'a> IntoFuture for Spawn<'a> {
    type Output = Result<ProcessId, Error>;
    type IntoFuture = Doing<'a, ProcessId>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let client = self.network.client();
            let module = match self.module {
                Module::Published(module) => module,
                Module::Wasm { wasm, format } => {
                    let mut publish = client.publish(wasm);
                    if let Some(format) = format {
                        publish = publish.format(format);
                    }
                    publish.send(self.signer).await?
                }
            };
            let mut spawn: spawn::Spawn = client.spawn(module, self.network.scheduler());
            spawn = spawn.authority(self.network.authority()).tags(self.tags).data(self.data);
            if let Some((every, tags)) = self.cron {
                spawn = spawn.cron(every, tags);
            }
            Ok(spawn.send(self.signer).await?)
        })
    }
}

/// A message to be sent; see [`Network::send`]. Awaiting it sends and gives its id.
#[derive(Debug, Clone)]
#[must_use = "a message is only sent when this is awaited"]
pub struct Send<'a> {
    network: &'a Network,
    process: ProcessId,
    message: message::SendMessage,
    signer: &'a Signer,
}

impl<'a> Send<'a> {
    pub(crate) fn new(network: &'a Network, process: ProcessId) -> Self {
        Self { network, process, message: network.client().message(process), signer: network.wallet() }
    }

    /// Sets the action, by which most processes choose their handler.
    pub fn action(mut self, action: impl Into<String>) -> Self {
        self.message = self.message.action(action);
        self
    }

    /// Appends a tag.
    pub fn tag(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.message = self.message.tag(name, value.to_string());
        self
    }

    /// Sets the data.
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.message = self.message.data(data);
        self
    }

    /// Who sends it: [`Network::wallet`] without it.
    pub fn signed_by(mut self, wallet: &'a Signer) -> Self {
        self.signer = wallet;
        self
    }

    /// Sends it and waits for the answer. What the process sends on is on its way then; [`Network::idle`] waits for all of it.
    ///
    /// # Errors
    /// As [`Network::result`].
    pub async fn result(self) -> Result<Answer, Error> {
        let (network, process) = (self.network, self.process);
        let message = self.await?;
        network.result(process, message).await
    }
}

impl<'a> IntoFuture for Send<'a> {
    type Output = Result<MessageId, Error>;
    type IntoFuture = Doing<'a, MessageId>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.message.send(self.signer).await?) })
    }
}

/// A dry run to be made; see [`Network::dry_run`]. Awaiting it asks and gives the answer.
#[derive(Debug, Clone)]
#[must_use = "a dry run only happens when this is awaited"]
pub struct DryRun<'a> {
    request: dry_run::DryRun,
    network: std::marker::PhantomData<&'a Network>,
}

impl<'a> DryRun<'a> {
    pub(crate) fn new(network: &'a Network, process: ProcessId) -> Self {
        let request = network.client().dry_run(process).owner(network.wallet().address());
        Self { request, network: std::marker::PhantomData }
    }

    /// Sets the action.
    pub fn action(mut self, action: impl Into<String>) -> Self {
        self.request = self.request.action(action);
        self
    }

    /// Appends a tag.
    pub fn tag(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.request = self.request.tag(name, value.to_string());
        self
    }

    /// Sets the data.
    pub fn data(mut self, data: impl Into<String>) -> Self {
        self.request = self.request.data(data);
        self
    }

    /// Who seems to ask: the address of [`Network::wallet`] without it.
    pub fn from(mut self, address: impl ToString) -> Self {
        self.request = self.request.owner(address);
        self
    }

    /// Asks the state right after this message instead of the newest one.
    pub fn at(mut self, message: MessageId) -> Self {
        self.request = self.request.at(message);
        self
    }
}

impl<'a> IntoFuture for DryRun<'a> {
    type Output = Result<Answer, Error>;
    type IntoFuture = Doing<'a, Answer>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.request.send().await?.into()) })
    }
}
