//! Threads that the units of all networks of this program share, apart from those of the tests: a test may use any runtime,
//! block its thread, or end while units still finish what they do.

use std::sync::OnceLock;
use std::thread;

use tokio::runtime::{Builder, Runtime};

use crate::error::Error;

/// Fewest threads: one unit may wait for another.
const MIN_THREADS: usize = 2;

/// The runtime, started with the first network.
pub fn shared() -> Result<&'static Runtime, Error> {
    static SHARED: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        // Every network has a few dozen files and sockets open.
        holon_cu::raise_open_files();
        let threads = thread::available_parallelism().map_or(MIN_THREADS, |threads| threads.get().max(MIN_THREADS));
        Builder::new_multi_thread()
            .thread_name("holon-devnet")
            .worker_threads(threads)
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    shared.as_ref().map_err(|error| Error::Environment(format!("threads cannot be started: {error}")))
}
