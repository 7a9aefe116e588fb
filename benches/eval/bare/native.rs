//! A module of our own format.

use wasmtime::{Engine, Instance, Memory, Module, Store, TypedFunc};

use super::{Answer, timed};

/// The module, running.
pub struct Guest {
    store: Store<()>,
    memory: Memory,
    alloc: TypedFunc<u32, u32>,
    handle: TypedFunc<(u32, u32, u32, u32), u64>,
}

impl Guest {
    pub fn new(wasm: &[u8]) -> wasmtime::Result<Self> {
        let engine = Engine::default();
        let module = Module::new(&engine, wasm)?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))?;
        let alloc = instance.get_typed_func(&mut store, "holon_alloc")?;
        let handle = instance.get_typed_func(&mut store, "holon_handle")?;
        Ok(Self { store, memory, alloc, handle })
    }

    pub fn call(&mut self, message: &str, environment: &str) -> wasmtime::Result<Answer> {
        let mut places = [(0, 0); 2];
        for (place, text) in places.iter_mut().zip([message, environment]) {
            let len = u32::try_from(text.len())?;
            let address = self.alloc.call(&mut self.store, len)?;
            self.memory.write(&mut self.store, address as usize, text.as_bytes())?;
            *place = (address, len);
        }
        let [(message, message_len), (environment, environment_len)] = places;
        let arguments = (message, message_len, environment, environment_len);
        let (time, packed) = timed(|| self.handle.call(&mut self.store, arguments))?;
        let (start, len) = ((packed >> 32) as usize, packed as u32 as usize);
        let text = self.memory.data(&self.store).get(start..start + len).unwrap_or_default();
        Ok((time, String::from_utf8_lossy(text).into_owned()))
    }
}
