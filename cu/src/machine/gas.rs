//! The reference's gas, as the host sees it (spec 06 §6): counted by code that was added to the module (`metering`), or by a
//! module that calls `metering.usegas` itself.

use wasmtime::{Caller, ExternType, Global, Instance, Linker, Module, Store, Trap, Val};

use super::{
    format::Profile,
    host::Host,
    metering::{LIMIT_EXPORT, USED_EXPORT},
};

const MODULE: &str = "metering";
const NAME: &str = "usegas";

/// Who counts a message's gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meter {
    /// The engine, in instructions, if anybody needs them counted.
    Fuel,
    /// The module, in the reference's unit.
    Gas,
}

impl Meter {
    pub fn of(profile: Profile, module: &Module) -> Self {
        if profile.instrumented || imported(module).is_some() { Meter::Gas } else { Meter::Fuel }
    }
}

/// The type under which a module imports the counting function.
fn imported(module: &Module) -> Option<ExternType> {
    module.imports().find(|import| import.module() == MODULE && import.name() == NAME).map(|import| import.ty())
}

/// Gas of the message being evaluated.
#[derive(Default)]
pub(super) struct Counter {
    /// Counter and limit inside the instance, where code was added to count.
    globals: Option<(Global, Global)>,
    used: i64,
    limit: i64,
}

impl Counter {
    pub fn of(store: &mut Store<Host>, instance: &Instance) -> Self {
        let mut global = |name| instance.get_global(&mut *store, name);
        let globals = global(USED_EXPORT).zip(global(LIMIT_EXPORT));
        Self { globals, used: 0, limit: 0 }
    }
}

/// Starts a message that may use `limit`.
pub(super) fn begin(store: &mut Store<Host>, limit: u64) -> wasmtime::Result<()> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let counter = &mut store.data_mut().gas;
    (counter.used, counter.limit) = (0, limit);
    if let Some((used, most)) = counter.globals {
        used.set(&mut *store, Val::I64(0))?;
        most.set(&mut *store, Val::I64(limit))?;
    }
    Ok(())
}

/// Gas used since the message began.
pub(super) fn used(store: &mut Store<Host>) -> u64 {
    let counter = &store.data().gas;
    let used = match counter.globals {
        Some((used, _)) => used.get(&mut *store).i64().unwrap_or_default(),
        None => counter.used,
    };
    u64::try_from(used).unwrap_or_default()
}

/// The import of modules that count for themselves, in the width they ask for, and the one that tells a module its gas.
pub(super) fn link(linker: &mut Linker<Host>, module: &Module) -> wasmtime::Result<()> {
    let wide = match imported(module) {
        Some(ExternType::Func(ty)) => ty.params().next().is_some_and(|parameter| parameter.is_i64()),
        _ => false,
    };
    if wide {
        linker.func_wrap(MODULE, NAME, |mut caller: Caller<'_, Host>, gas: i64| count(&mut caller, gas))?;
    } else {
        linker.func_wrap(MODULE, NAME, |mut caller: Caller<'_, Host>, gas: i32| count(&mut caller, i64::from(gas)))?;
    }
    linker.func_wrap("env", "metering_gasUsed", |mut caller: Caller<'_, Host>| -> i32 {
        let counter = &caller.data().gas;
        let used = match counter.globals {
            Some((used, _)) => used.get(&mut caller).i64().unwrap_or_default(),
            None => counter.used,
        };
        // As JavaScript makes an i32 of it.
        used as i32
    })?;
    Ok(())
}

fn count(caller: &mut Caller<'_, Host>, gas: i64) -> wasmtime::Result<()> {
    let counter = &mut caller.data_mut().gas;
    let (total, limit) = match counter.globals {
        None => {
            counter.used = counter.used.saturating_add(gas);
            (counter.used, counter.limit)
        }
        Some((used, limit)) => {
            let total = used.get(&mut *caller).i64().unwrap_or_default().saturating_add(gas);
            used.set(&mut *caller, Val::I64(total))?;
            (total, limit.get(&mut *caller).i64().unwrap_or(i64::MAX))
        }
    };
    if total > limit { Err(Trap::OutOfFuel.into()) } else { Ok(()) }
}
