//! Guests that wait for a gateway, and what is kept of its answers.

use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use holon_arweave::GatewayOptions;

use super::*;
use crate::machine::{Call, Engine, EngineOptions, Evaluation, Format, Limits, Machine, Outcome};
use crate::pool::Pool;

/// Opens a block and answers 7.
const GUEST: &str = r#"(module
    (import "env" "__asyncjs__weavedrive_open" (func $open (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 2048) "{\"ok\":true,\"response\":{\"Output\":7}}\00/block/5\00")
    (func (export "emscripten_stack_init")) (func (export "__wasm_call_ctors"))
    (func (export "emscripten_stack_get_end") (result i32) (i32.const 1024))
    (func (export "emscripten_stack_get_current") (result i32) (i32.const 8192))
    (func (export "_emscripten_stack_restore") (param i32))
    (func (export "_emscripten_stack_alloc") (param i32) (result i32) (i32.const 4096))
    (func (export "setThrew") (param i32 i32))
    (func (export "handle") (param i32 i32) (result i32)
      (if (i32.eqz (call $open (i32.const 2084) (i32.const 0))) (then (unreachable)))
      (i32.const 2048)))"#;

/// A drive over a gateway that accepts connections and says nothing.
fn silent(stopping: CancellationToken) -> Arc<GatewayDrive> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    std::thread::spawn(move || listener.incoming().take(100).collect::<Vec<_>>());
    let gateway = Gateway::new(GatewayOptions::new(url)).unwrap();
    Arc::new(GatewayDrive::new(vec![gateway], Handle::current(), stopping, Duration::from_secs(10)))
}

/// A job that evaluates the guest with at most this time.
fn guest(
    drive: &Arc<impl Drive + 'static>,
    wall_clock: Duration,
) -> impl FnOnce() -> Result<Evaluation, HostFailure> + Send + 'static {
    let drive: Arc<dyn Drive> = drive.clone();
    move || {
        let engine = Engine::new(EngineOptions { wall_clock, ..EngineOptions::default() }).unwrap();
        let module = engine.compile(&wat::parse_str(GUEST).unwrap(), Format::Emscripten4).unwrap();
        let limits = Limits { memory_bytes: 1 << 20, compute: 1 << 30 };
        let tags = Tags::default();
        let call = Call { message: "{}", environment: "{}", block_height: 9, process_tags: &tags, module_tags: &tags };
        Machine::new(&module, limits, drive).unwrap().apply(&call)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_that_wait_for_a_gateway_hold_up_nobody_and_end_with_their_time() {
    let drive = silent(CancellationToken::new());
    let pool = Arc::new(Pool::new("test", 1, 100).unwrap());
    let limit = Duration::from_secs(3);
    let started = Instant::now();
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let (pool, job) = (pool.clone(), guest(&drive, limit));
        waiting.push(tokio::spawn(async move { pool.run(job).await }));
    }
    while pool.long() < 5 {
        assert!(started.elapsed() < limit, "they wait one after the other");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // One that neither waits nor takes long has the only thread.
    assert_eq!(pool.run(|| 3).await, Ok(3));
    assert!(waiting.iter().all(|job| !job.is_finished()));
    for job in waiting {
        let ended = job.await.unwrap().unwrap();
        assert!(matches!(ended, Err(HostFailure::WallClock { .. })), "{ended:?}");
    }
    assert!(started.elapsed() < 3 * limit, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_waits_for_a_gateway_ends_with_its_threads_and_with_the_service() {
    let stopping = CancellationToken::new();
    let drive = silent(stopping.clone());
    let pool = Arc::new(Pool::new("test", 1, 100).unwrap());
    let run = |job: Box<dyn FnOnce() -> Result<Evaluation, HostFailure> + Send>| {
        let pool = pool.clone();
        tokio::spawn(async move { pool.run(job).await })
    };
    let waits = run(Box::new(guest(&drive, Duration::from_secs(60))));
    let started = Instant::now();
    while pool.long() < 1 {
        assert!(started.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    pool.close();
    let ended = waits.await.unwrap().unwrap();
    assert!(matches!(ended, Err(HostFailure::Stopped(_))), "{ended:?}");
    stopping.cancel();
    let ended = tokio::task::spawn_blocking(guest(&drive, Duration::from_secs(60))).await.unwrap();
    assert!(matches!(&ended, Err(HostFailure::Halt(halt)) if halt.reason.contains("stopping")), "{ended:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

/// The nice value of this thread.
fn nice() -> i32 {
    rustix::process::getpriority_process(None).unwrap()
}

/// A drive whose files say with which nice values they were asked for: that of the thread that asks, and that of a thread which the
/// request starts, to look a name up for instance.
struct Priorities(Wait, std::sync::mpsc::Sender<[i32; 2]>);

impl Drive for Priorities {
    fn open(&self, _: &str, _: &DriveContext<'_>, waiting: &mut Waiting<'_>) -> Opened {
        let asking = async { Ok([nice(), tokio::task::spawn_blocking(nice).await.unwrap()]) };
        self.1.send(self.0.answer(waiting, asking)?).unwrap();
        Ok(Some(Arc::new(Vec::new())))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_thread_with_low_priority_have_the_usual_one() {
    let (sender, told) = std::sync::mpsc::channel();
    let drive = Arc::new(Priorities(silent(CancellationToken::new()).wait.clone(), sender));
    let usual = nice();
    let evaluates = guest(&drive, Duration::from_secs(60));
    let thread = std::thread::spawn(move || {
        rustix::process::setpriority_process(None, usual + 5).unwrap();
        evaluates().unwrap();
        nice()
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(30)).unwrap(), [usual; 2]);
    assert_eq!(thread.join().unwrap(), usual + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_with_the_guest_that_waits_for_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    // Reads what each connection sends until it is closed.
    let (closed, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(100) {
            let (mut stream, closed) = (stream.unwrap(), closed.clone());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
                let _ = closed.send(());
            });
        }
    });
    let gateway = Gateway::new(GatewayOptions::new(url)).unwrap();
    let drive = GatewayDrive::new(vec![gateway], Handle::current(), CancellationToken::new(), Duration::from_secs(60));
    let waits = guest(&Arc::new(drive), Duration::from_millis(300));
    let ended = tokio::task::spawn_blocking(waits).await.unwrap();
    assert!(matches!(ended, Err(HostFailure::WallClock { .. })), "{ended:?}");
    // Well before the request itself would end.
    told.recv_timeout(PATIENCE / 2).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_opens_is_there_when_it_is_kept() {
    let drive = silent(CancellationToken::new());
    lock(&drive.cache).keep("/block/5".into(), Kept { file: Arc::new(b"block".to_vec()), bytes: 5 });
    let pool = Pool::new("test", 1, 100).unwrap();
    let evaluation = pool.run(guest(&drive, Duration::from_secs(60))).await.unwrap().unwrap();
    assert!(matches!(evaluation.outcome, Outcome::Ok(_)), "{evaluation:?}");
}

#[test]
fn what_is_kept_is_bounded_in_number_and_bytes() {
    let mut cache = Cache::default();
    let file = |bytes| Kept { file: Arc::new(Vec::new()), bytes };
    for number in 0..10 {
        cache.keep(format!("/tx/{number}"), file(FILE_CACHE_BYTES / 4));
    }
    assert_eq!((cache.files.len(), cache.order.len(), cache.file_bytes), (4, 4, FILE_CACHE_BYTES));
    assert!(cache.files.contains_key("/tx/9") && !cache.files.contains_key("/tx/5"));
    cache.keep("/tx/9".into(), file(1));
    assert_eq!((cache.order.len(), cache.file_bytes), (4, FILE_CACHE_BYTES / 4 * 3 + 1));
    for number in 0..CACHE_ENTRIES + 10 {
        cache.keep(format!("/data/{number}"), file(0));
    }
    assert_eq!((cache.files.len(), cache.order.len(), cache.file_bytes), (CACHE_ENTRIES, CACHE_ENTRIES, 0));
    // One that is larger than all that may be kept is not kept.
    cache.keep("/tx/large".into(), file(FILE_CACHE_BYTES + 1));
    assert_eq!((cache.files.len(), cache.file_bytes), (0, 0));
}

/// A gateway that answers as `answer` says for a path, or with 404; it counts what was asked.
fn answering(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> (Gateway, Arc<Mutex<Vec<String>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            lines.read_line(&mut line).unwrap();
            let mut rest = String::new();
            while lines.read_line(&mut rest).is_ok_and(|bytes| bytes > 2) {
                rest.clear();
            }
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let (status, body) = answer(&path).map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
            noted.lock().unwrap().push(path);
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            // Nobody may be there any more.
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    (Gateway::new(GatewayOptions::new(url)).unwrap(), asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_kept_once_no_other_can_replace_it() {
    let newest = Arc::new(AtomicU64::new(5 + CONFIRMATIONS - 1));
    let told = newest.clone();
    let (gateway, asked) = answering(move |path| match path {
        "/info" => Some(format!(r#"{{"height":{}}}"#, told.load(Ordering::Relaxed))),
        "/block/height/5" => Some(r#"{"height":5}"#.into()),
        _ => None,
    });
    let drive = Arc::new(GatewayDrive::new(
        vec![gateway],
        Handle::current(),
        CancellationToken::new(),
        Duration::from_secs(10),
    ));
    let pool = Pool::new("test", 1, 100).unwrap();
    let mut reads = Vec::new();
    for height in [5 + CONFIRMATIONS - 1, 5 + CONFIRMATIONS - 1, 5 + CONFIRMATIONS, 5 + CONFIRMATIONS] {
        newest.store(height, Ordering::Relaxed);
        let evaluation = pool.run(guest(&drive, Duration::from_secs(60))).await.unwrap().unwrap();
        assert!(matches!(evaluation.outcome, Outcome::Ok(_)), "{evaluation:?}");
        reads.push(asked.lock().unwrap().iter().filter(|path| path.starts_with("/block")).count());
    }
    assert_eq!(reads, [1, 2, 3, 3]);
}
