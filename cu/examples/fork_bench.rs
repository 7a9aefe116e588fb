//! What the first commit after a fork costs, by the size of the memory: it should follow the pages that were written.
//!
//! ```text
//! cargo run --release -p holon-cu --example fork_bench
//! ```

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use holon_cu::machine::{
    Call, CommitPolicy, EVALUATION_STACK_BYTES, Engine, EngineOptions, Format, Limits, Machine, NoDrive, Outcome,
};
use holon_protocol::Tags;

/// Sizes of memory, in MiB.
const SIZES: [u64; 3] = [16, 64, 256];
/// Pages that a message writes.
const WRITTEN: u64 = 64;
const ROUNDS: u32 = 50;

/// Fills all of memory with the first message, writes a byte to each of `WRITTEN` pages with every other.
fn module(mebibytes: u64) -> String {
    let (pages, bytes) = (mebibytes * 16, mebibytes << 20);
    let step = bytes / WRITTEN;
    format!(
        r#"(module
          (memory (export "memory") {pages})
          (data (i32.const 16) "{{\"ok\":true,\"response\":{{\"Output\":1}}}}")
          (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
          (func (export "holon_handle") (param i32 i32 i32 i32) (result i64) (local $at i32)
            (if (i32.eqz (i32.load (i32.const 512)))
              (then
                (memory.fill (i32.const 4096) (i32.const 7) (i32.const {rest}))
                (i32.store (i32.const 512) (i32.const 1)))
              (else
                (local.set $at (i32.const 8192))
                (loop $next
                  (i32.store8 (local.get $at) (i32.add (i32.load8_u (local.get $at)) (i32.const 1)))
                  (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const {step})))
                                         (i32.const {bytes}))))))
            (i64.const 0x1000000023)))"#,
        rest = bytes - 4096,
    )
}

fn apply(machine: &mut Machine) -> Result<Duration, Box<dyn Error>> {
    let tags = Tags::default();
    let call = Call { message: "{}", environment: "{}", block_height: 0, process_tags: &tags, module_tags: &tags };
    let begun = Instant::now();
    let evaluation = machine.apply(&call)?;
    let took = begun.elapsed();
    match evaluation.outcome {
        Outcome::Ok(_) => Ok(took),
        other => Err(format!("{other:?}").into()),
    }
}

fn measure(engine: &Engine, mebibytes: u64) -> Result<(), Box<dyn Error>> {
    let module = engine.compile(&wat::parse_str(module(mebibytes))?, Format::Native)?;
    let limits = Limits { memory_bytes: 1 << 30, compute: 1 << 40 };
    let mut machine = Machine::new(&module, limits, Arc::new(NoDrive))?;
    machine.set_commit_policy(CommitPolicy::EAGER);
    apply(&mut machine)?;
    let (mut alone, mut forked, mut held) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        alone += apply(&mut machine)?;
    }
    for _ in 0..ROUNDS {
        let _fork = machine.fork()?;
        forked += apply(&mut machine)?;
    }
    let mut forks = Vec::new();
    for _ in 0..ROUNDS {
        forks.push(machine.fork()?);
        held += apply(&mut machine)?;
        if forks.len() > 3 {
            forks.remove(0);
        }
    }
    let [alone, forked, held] = [alone, forked, held].map(|total| total / ROUNDS);
    println!("{mebibytes:>4} MiB: commit {alone:.1?}, after a fork {forked:.1?}, with forks always there {held:.1?}");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::new(EngineOptions::default())?;
    println!("a message that writes {WRITTEN} pages, and its commit:");
    let all = move || SIZES.iter().try_for_each(|size| measure(&engine, *size)).map_err(|error| error.to_string());
    let measured = std::thread::Builder::new().stack_size(EVALUATION_STACK_BYTES).spawn(all)?;
    Ok(measured.join().map_err(|_| "the evaluation thread panicked")??)
}
