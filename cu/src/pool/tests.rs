//! Jobs that are long, large, many, or wait.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;
use crate::machine::{Stopped, leave, pace, stopped};

const DEADLINE: Duration = Duration::from_secs(30);

/// What a guest in an endless loop does, until it is told to end.
fn endless(ended: &AtomicBool) -> Result<(), Stopped> {
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(2));
        pace(&Progress { memory_bytes: 1 })?;
    }
    Ok(())
}

async fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_panicking_job_harms_no_other() {
    let pool = Pool::new("test", 1, 10).unwrap();
    assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(PoolError::Panicked));
    assert_eq!(pool.run(|| 7).await, Ok(7));
    pool.close();
    assert_eq!(pool.run(|| 7).await, Err(PoolError::Closed));
}

#[tokio::test]
async fn endless_jobs_many_times_as_many_as_threads_hold_up_no_short_one() {
    let pool = Arc::new(Pool::new("test", 2, 100).unwrap());
    let ended = Arc::new(AtomicBool::new(false));
    let mut long = Vec::new();
    for number in 1..=10 {
        let (pool, ended) = (pool.clone(), ended.clone());
        let watched = pool.clone();
        long.push(tokio::spawn(async move { pool.run(move || endless(&ended)).await }));
        until(|| watched.long() == number).await;
    }
    let mut slowest = Duration::ZERO;
    for number in 0..50 {
        let asked = Instant::now();
        assert_eq!(pool.run(move || number).await, Ok(number));
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    ended.store(true, Ordering::Relaxed);
    for job in long {
        assert_eq!(job.await.unwrap(), Ok(Ok(())));
    }
    until(|| pool.long() == 0).await;
}

#[tokio::test]
async fn long_jobs_take_turns_and_the_one_that_had_least_goes_first() {
    let pool = Arc::new(Pool::new("test", 1, 100).unwrap());
    let ended = Arc::new(AtomicBool::new(false));
    let spin = |pool: &Arc<Pool>| {
        let (pool, ended) = (pool.clone(), ended.clone());
        tokio::spawn(async move { pool.run(move || endless(&ended)).await })
    };
    let first = spin(&pool);
    until(|| pool.long() == 1).await;
    // Longer than short, much shorter than endless: it needs the only place, and gets it.
    let ticks = Arc::new(AtomicUsize::new(0));
    let counted = ticks.clone();
    let honest = pool.run(move || {
        let mut paused = Duration::ZERO;
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(5));
            paused += pace(&Progress { memory_bytes: 1 })?;
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<_, Stopped>(paused)
    });
    let paused = tokio::time::timeout(DEADLINE, honest).await.unwrap().unwrap().unwrap();
    assert_eq!(ticks.load(Ordering::Relaxed), 100);
    assert!(paused < Duration::from_secs(10), "{paused:?}");
    ended.store(true, Ordering::Relaxed);
    assert_eq!(first.await.unwrap(), Ok(Ok(())));
}

#[tokio::test]
async fn of_too_many_long_jobs_the_one_that_ran_longest_is_ended() {
    let pool = Arc::new(Pool::new("test", 2, 1000).unwrap());
    let ended = Arc::new(AtomicBool::new(false));
    let mut long = Vec::new();
    for _ in 0..MAX_LONG + 3 {
        let (pool, ended) = (pool.clone(), ended.clone());
        long.push(tokio::spawn(async move { pool.run(move || endless(&ended)).await }));
    }
    let crowded = || long.iter().filter(|job| job.is_finished()).count();
    until(|| crowded() >= 3 && pool.waiting() == 0).await;
    ended.store(true, Ordering::Relaxed);
    let mut stopped = 0;
    for job in long {
        match job.await.unwrap() {
            Ok(Err(Stopped::Crowded { limit: MAX_LONG })) => stopped += 1,
            other => assert_eq!(other, Ok(Ok(()))),
        }
    }
    assert!((3..10).contains(&stopped), "{stopped}");
}

#[tokio::test]
async fn however_many_wait_for_something_outside_none_that_runs_is_ended() {
    let pool = Arc::new(Pool::new("test", 2, 1000).unwrap());
    let ended = Arc::new(AtomicBool::new(false));
    let (running, honest) = (pool.clone(), ended.clone());
    // Older than all that wait, and running for longer.
    let honest = tokio::spawn(async move { running.run(move || endless(&honest)).await });
    until(|| pool.long() == 1).await;
    let answered = Arc::new(AtomicBool::new(false));
    let mut waiting = Vec::new();
    for _ in 0..MAX_WAITING + 3 {
        let (pool, answered) = (pool.clone(), answered.clone());
        let job = move || {
            leave(&Progress { memory_bytes: 1 });
            while !answered.load(Ordering::Relaxed) && stopped().is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
            pace(&Progress { memory_bytes: 1 }).map(|_| ())
        };
        waiting.push(tokio::spawn(async move { pool.run(job).await }));
    }
    let crowded = || waiting.iter().filter(|job| job.is_finished()).count();
    until(|| crowded() >= 3 && pool.long() == MAX_WAITING + 1).await;
    // Those that come back have not run long, so they are not too many either.
    answered.store(true, Ordering::Relaxed);
    let mut stopped = 0;
    for job in waiting {
        match job.await.unwrap() {
            Ok(Err(Stopped::Crowded { limit: MAX_WAITING })) => stopped += 1,
            other => assert_eq!(other, Ok(Ok(()))),
        }
    }
    assert_eq!(stopped, 3);
    assert!(!honest.is_finished());
    ended.store(true, Ordering::Relaxed);
    assert_eq!(honest.await.unwrap(), Ok(Ok(())));
}

#[tokio::test]
async fn closing_ends_long_jobs_too() {
    let pool = Arc::new(Pool::new("test", 1, 10).unwrap());
    let running = pool.clone();
    let job = tokio::spawn(async move { running.run(move || endless(&AtomicBool::new(false))).await });
    until(|| pool.long() == 1).await;
    pool.close();
    let ended = tokio::time::timeout(DEADLINE, job).await.unwrap().unwrap();
    assert_eq!(ended, Ok(Err(Stopped::Closing)));
}

#[test]
fn the_largest_is_ended_when_memory_runs_short_and_none_twice() {
    let long = |memory_bytes| Running { long: Some(Long { memory_bytes, ..Long::default() }), ..Running::starting() };
    let running = [(1, long(10)), (2, long(30)), (3, long(20)), (4, Running::starting())];
    let mut state =
        State { jobs: VecDeque::new(), open: true, running: HashMap::from(running), next: 5, resting: false };
    let mut ended = Vec::new();
    for _ in 0..4 {
        state.stop_largest();
        ended.push(state.long().filter(|(_, _, long)| long.stopped.is_some()).map(|(id, _, _)| id).sum::<u64>());
    }
    assert_eq!(ended, [2, 5, 6, 6]);
}

#[tokio::test]
async fn while_memory_runs_short_jobs_are_ended_one_after_the_other() {
    let short = Arc::new(AtomicBool::new(false));
    let asked = short.clone();
    let pool = Pool::with("test", 1, 10, 0, Duration::ZERO, move || asked.load(Ordering::Relaxed)).unwrap();
    let pool = Arc::new(pool);
    let ending = Arc::new(AtomicUsize::new(0));
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let (running, short, ending) = (pool.clone(), short.clone(), ending.clone());
        let job = move || {
            let never = AtomicBool::new(false);
            let stopped = endless(&never);
            // It takes a while to let go of its memory; then there is enough.
            ending.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(4 * MEMORY_EVERY);
            short.store(false, Ordering::Relaxed);
            stopped
        };
        jobs.push(tokio::spawn(async move { running.run(job).await }));
    }
    until(|| pool.long() == 3).await;
    short.store(true, Ordering::Relaxed);
    until(|| ending.load(Ordering::Relaxed) > 0 && !short.load(Ordering::Relaxed)).await;
    assert_eq!(ending.load(Ordering::Relaxed), 1);
    until(|| pool.long() == 2).await;
    pool.close();
    let mut ended = Vec::new();
    for job in jobs {
        ended.push(job.await.unwrap().unwrap().unwrap_err());
    }
    let for_memory = ended.iter().filter(|stopped| **stopped == Stopped::Memory).count();
    assert_eq!((for_memory, ended.len()), (1, 3), "{ended:?}");
}

#[tokio::test]
async fn a_job_that_waits_for_something_outside_gives_its_place_to_others() {
    let pool = Arc::new(Pool::with("test", 1, 10, 0, DEADLINE, || false).unwrap());
    let progress = Progress { memory_bytes: 1 };
    let (answer, answered) = mpsc::channel::<()>();
    let running = pool.clone();
    let waits = tokio::spawn(async move {
        let job = move || {
            leave(&progress);
            answered.recv().unwrap();
            let back = pace(&progress);
            (back, stopped())
        };
        running.run(job).await
    });
    until(|| pool.long() == 1).await;
    // One that is as long takes the only place of long jobs, and short ones have their thread.
    let (begun, runs) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let running = pool.clone();
    let other = tokio::spawn(async move {
        let job = move || {
            leave(&progress);
            let paused = pace(&progress).unwrap();
            begun.send(paused).unwrap();
            ended.recv().unwrap();
            pace(&progress)
        };
        running.run(job).await
    });
    let paused = tokio::task::spawn_blocking(move || runs.recv_timeout(DEADLINE)).await.unwrap().unwrap();
    assert!(paused < DEADLINE / 2, "{paused:?}");
    assert_eq!(pool.run(|| 7).await, Ok(7));
    end.send(()).unwrap();
    assert_eq!(other.await.unwrap().unwrap().map(|_| ()), Ok(()));
    answer.send(()).unwrap();
    let (back, ended) = waits.await.unwrap().unwrap();
    assert_eq!((back.map(|_| ()), ended), (Ok(()), None));
}

#[tokio::test]
async fn a_job_that_waits_is_told_when_it_is_to_end() {
    let pool = Arc::new(Pool::with("test", 1, 10, 0, DEADLINE, || false).unwrap());
    let running = pool.clone();
    let waits = tokio::spawn(async move {
        let job = || {
            leave(&Progress { memory_bytes: 1 });
            while stopped().is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
            pace(&Progress { memory_bytes: 1 })
        };
        running.run(job).await
    });
    until(|| pool.long() == 1).await;
    pool.close();
    let ended = tokio::time::timeout(DEADLINE, waits).await.unwrap().unwrap();
    assert_eq!(ended, Ok(Err(Stopped::Closing)));
}

#[tokio::test]
async fn a_job_that_nobody_waits_for_is_not_run() {
    let pool = Arc::new(Pool::with("test", 1, 10, 0, DEADLINE, || false).unwrap());
    let (busy, release) = occupied(&pool).await;
    let (ran, runs) = mpsc::channel::<()>();
    // Polled once, so that it waits, and dropped before a thread is free.
    {
        let abandoned = pool.run(move || ran.send(()).unwrap());
        tokio::pin!(abandoned);
        assert!(futures_util::poll!(&mut abandoned).is_pending());
    }
    release.send(()).unwrap();
    busy.await.unwrap();
    assert_eq!(pool.run(|| 3).await, Ok(3));
    assert!(runs.try_recv().is_err());
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let pool = Arc::new(Pool::with("test", 1, 1, 0, DEADLINE, || false).unwrap());
    let (busy, release) = occupied(&pool).await;
    let waiting = pool.run(|| 1);
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert_eq!(pool.run(|| 2).await, Err(PoolError::Full));
    release.send(()).unwrap();
    busy.await.unwrap();
    assert_eq!(waiting.await, Ok(1));
}

/// Keeps the only thread of a pool busy until something is sent.
async fn occupied(pool: &Arc<Pool>) -> (tokio::task::JoinHandle<()>, mpsc::Sender<()>) {
    let (started, begun) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let inner = pool.clone();
    let busy = tokio::spawn(async move {
        let job = move || {
            started.send(()).unwrap();
            gate.recv().unwrap();
        };
        inner.run(job).await.unwrap();
    });
    tokio::task::spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
    (busy, release)
}

#[tokio::test]
async fn threads_that_yield_have_a_lower_priority_than_others() {
    let nice = || rustix::process::getpriority_process(None).unwrap();
    let usual = Pool::new("test", 1, 10).unwrap().run(nice).await.unwrap();
    let yielding = Pool::yielding("test", 1, 10).unwrap().run(nice).await.unwrap();
    assert!(yielding > usual, "{yielding} and {usual}");
}
