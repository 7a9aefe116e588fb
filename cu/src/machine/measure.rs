//! The guest without the machine around it, for benchmarks: what does everything else cost?

use std::sync::Arc;

use super::{
    Call, HostFailure, MachineError, Module, NoDrive,
    host::{Entry, Growth},
    instance::Live,
};

/// An instance whose state moves on with every call, whatever the outcome. Nothing is parsed, committed or rolled back.
pub struct BareGuest {
    live: Live,
    last: Option<Entry>,
}

impl BareGuest {
    /// An instance in the state after the module's set-up.
    pub fn new(module: &Module) -> Result<Self, MachineError> {
        let growth = Growth::new(None, u64::MAX);
        let live = Live::new(module, growth, Arc::new(NoDrive), &module.initial()?.image)?;
        Ok(Self { live, last: None })
    }

    /// Places the texts and calls the guest; gives the length of what it returned, if it did.
    pub fn call(&mut self, call: &Call<'_>) -> Result<Option<usize>, HostFailure> {
        let entry = Entry::new(call, self.last.as_ref());
        let returned = self.live.run(&entry, u64::MAX);
        self.last = Some(entry);
        Ok(returned?.text.ok().map(|text| text.len()))
    }
}
