//! Regions and images with every way of finding dirty pages.

use std::{fs::File, sync::Arc};

use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

use wasmtime::{Config, Engine, Instance, Memory, MemoryType, Module, Store};

use super::{
    Creator, Image, NotCommitted, PAGE_BYTES, Region,
    dirty::Scanner,
    fault::{self, Ask},
};
use crate::machine::{PageHash, PageTree};

const WASM_PAGE: usize = 1 << 16;

fn engine() -> Engine {
    let mut config = Config::new();
    config.with_host_memory(Arc::new(Creator)).memory_may_move(false);
    Engine::new(&config).unwrap()
}

/// A memory of `pages` that shows an image of zeros.
fn shown(pages: u32) -> (Store<()>, Memory, Region, Arc<Image>) {
    let image = Arc::new(Image::zeroed(pages as usize * WASM_PAGE).unwrap());
    let (store, memory, region) = showing(&engine(), &image);
    (store, memory, region, image)
}

fn showing(engine: &Engine, image: &Image) -> (Store<()>, Memory, Region) {
    let mut store = Store::new(engine, ());
    let pages = image.len() / WASM_PAGE;
    let most = pages.max(96) + 4;
    let text = format!(r#"(module (memory (export "memory") {pages} {most}))"#);
    let module = Module::from_binary(store.engine(), &wat::parse_str(text).unwrap()).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let mut region = Region::created(&mut store, &memory).unwrap();
    region.show(&mut store, &memory, image).unwrap();
    (store, memory, region)
}

fn contents(image: &Image) -> Vec<u8> {
    let mut bytes = vec![0; image.len()];
    image.read(0, &mut bytes).unwrap();
    bytes
}

fn scanners() -> Vec<Scanner> {
    let pagemap = || File::open("/proc/self/pagemap").unwrap();
    let mut scanners =
        vec![Scanner::Compare, Scanner::Pagemap { file: pagemap(), page: super::dirty::kernel_page_bytes() }];
    if matches!(Scanner::best(), Scanner::Ioctl(_)) {
        scanners.push(Scanner::Ioctl(pagemap()));
    }
    scanners
}

#[test]
fn every_scanner_finds_what_was_written_and_little_else() {
    for scanner in scanners() {
        let (mut store, memory, mut region, mut image) = shown(40);
        let written = [0, 5 * PAGE_BYTES + 17, 6 * PAGE_BYTES, 40 * WASM_PAGE - 1, 17 * WASM_PAGE];
        // Reading makes pages present, but not private.
        assert_eq!(memory.data(&store).iter().map(|byte| u64::from(*byte)).sum::<u64>(), 0);
        for at in written {
            memory.data_mut(&mut store)[at] = 7;
        }
        let dirty = scanner.dirty(memory.data(&store), &image).unwrap();
        assert!(written.iter().all(|at| dirty.iter().any(|range| range.contains(at))), "{scanner:?}");
        assert_eq!(dirty.iter().map(ExactSizeIterator::len).sum::<usize>(), 5 * PAGE_BYTES, "{scanner:?}");
        assert!(region.commit_with(&scanner, &mut store, &memory, &mut image).unwrap());
        assert!(contents(&image) == memory.data(&store), "{scanner:?}");
    }
}

#[test]
fn discarding_goes_back_to_the_last_commit() {
    let (mut store, memory, mut region, mut image) = shown(4);
    memory.data_mut(&mut store)[100] = 1;
    assert!(region.commit(&mut store, &memory, &mut image).unwrap());
    memory.data_mut(&mut store)[100] = 2;
    memory.data_mut(&mut store)[3 * WASM_PAGE] = 2;
    assert!(region.discard(&mut store, &memory).unwrap());
    assert_eq!((memory.data(&store)[100], memory.data(&store)[3 * WASM_PAGE]), (1, 0));
}

#[test]
fn growth_is_part_of_the_next_commit_and_cannot_be_discarded_before() {
    for scanner in scanners() {
        let (mut store, memory, mut region, mut image) = shown(2);
        memory.grow(&mut store, 3).unwrap();
        memory.data_mut(&mut store)[4 * WASM_PAGE + 1] = 9;
        assert!(!region.discard(&mut store, &memory).unwrap());
        assert!(region.commit_with(&scanner, &mut store, &memory, &mut image).unwrap());
        assert_eq!(image.len(), 5 * WASM_PAGE);
        assert!(contents(&image) == memory.data(&store));
        memory.data_mut(&mut store)[4 * WASM_PAGE + 1] = 8;
        assert!(region.discard(&mut store, &memory).unwrap());
        assert_eq!(memory.data(&store)[4 * WASM_PAGE + 1], 9);
    }
}

#[test]
fn an_image_of_the_past_is_not_gone_back_to_by_dropping_pages() {
    let (mut store, memory, mut region, mut image) = shown(2);
    let base = Arc::clone(&image);
    for value in [1, 2] {
        memory.data_mut(&mut store)[5] = value;
        assert!(region.commit(&mut store, &memory, &mut image).unwrap());
    }
    let past = Arc::clone(&image);
    memory.data_mut(&mut store)[5] = 3;
    assert!(region.commit(&mut store, &memory, &mut image).unwrap());
    assert!(!Arc::ptr_eq(&past, &base));
    region.show(&mut store, &memory, &past).unwrap();
    assert_eq!(memory.data(&store)[5], 2);
    assert!(!region.discard(&mut store, &memory).unwrap());
    assert_eq!(memory.data(&store)[5], 2);
}

#[test]
fn a_shared_image_is_left_alone() {
    let (mut store, memory, mut region, mut image) = shown(2);
    memory.data_mut(&mut store)[5] = 1;
    assert!(region.commit(&mut store, &memory, &mut image).unwrap());
    let snapshot = Arc::clone(&image);
    memory.data_mut(&mut store)[5] = 2;
    assert!(region.commit(&mut store, &memory, &mut image).unwrap());
    assert_eq!((contents(&snapshot)[5], contents(&image)[5]), (1, 2));
    memory.data_mut(&mut store)[5] = 3;
    assert!(region.discard(&mut store, &memory).unwrap());
    assert_eq!(memory.data(&store)[5], 2);
}

#[test]
fn a_region_refuses_a_memory_that_is_not_its_own() {
    let (mut store, _, mut region, image) = shown(1);
    let other = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    assert!(region.show(&mut store, &other, &image).is_err());
    assert!(region.discard(&mut store, &other).is_err());
}

#[test]
fn a_commit_that_cannot_write_leaves_memory_and_forks_as_they_were() {
    let (mut store, memory, mut region, mut image) = shown(2);
    memory.data_mut(&mut store)[5] = 1;
    image.break_writes();
    assert!(region.commit(&mut store, &memory, &mut image).is_err());
    assert_eq!((memory.data(&store)[5], contents(&image)[5]), (1, 0));
    // A shared image is not written but copied.
    let snapshot = Arc::clone(&image);
    assert!(region.commit(&mut store, &memory, &mut image).unwrap());
    assert_eq!((contents(&snapshot)[5], contents(&image)[5]), (0, 1));
    memory.data_mut(&mut store)[5] = 2;
    assert!(region.discard(&mut store, &memory).unwrap());
    assert_eq!(memory.data(&store)[5], 1);
}

/// A memory of 64 MiB without zeros, committed to a file of its own.
fn large() -> (Store<()>, Memory, Region, Arc<Image>) {
    let base = Arc::new(Image::zeroed(1024 * WASM_PAGE).unwrap());
    let (mut store, memory, mut region) = showing(&engine(), &base);
    let mut image = Arc::clone(&base);
    memory.data_mut(&mut store).fill(1);
    assert!(region.commit(&mut store, &memory, &mut image).unwrap());
    (store, memory, region, image)
}

#[test]
fn a_commit_copies_what_it_changes_however_many_look_at_what_was() {
    let (mut store, memory, mut region, mut image) = large();
    let whole = image.resident_bytes();
    assert_eq!(whole, 1024 * WASM_PAGE as u64);
    let mut forks: Vec<Arc<Image>> = Vec::new();
    for round in 2..12_u8 {
        forks.push(Arc::clone(&image));
        for page in [3, 500, 501] {
            memory.data_mut(&mut store)[page * PAGE_BYTES + usize::from(round)] = round;
        }
        memory.data_mut(&mut store)[usize::from(round) * 100 * PAGE_BYTES] = round;
        assert!(region.commit(&mut store, &memory, &mut image).unwrap());
    }
    // Pages that stay private are written again by the next commit, until there are too many of them.
    let kept = image.resident_bytes() - whole;
    assert!(kept <= 10 * 13 * PAGE_BYTES as u64, "{kept} bytes");
    for (fork, round) in forks.iter().zip(2..) {
        let bytes = contents(fork);
        let expected = |last: u8| if last < round { last } else { 1 };
        for last in 2..12_u8 {
            assert_eq!(bytes[500 * PAGE_BYTES + usize::from(last)], expected(last));
            assert_eq!(bytes[usize::from(last) * 100 * PAGE_BYTES], expected(last));
        }
    }
    // In any order: what is kept for one that goes is still there for those before it.
    let mut left: Vec<_> = forks.into_iter().map(|fork| (contents(&fork), fork)).collect();
    while !left.is_empty() {
        left.remove(left.len() * 7 / 11);
        assert!(left.iter().all(|(bytes, fork)| contents(fork) == *bytes));
    }
    assert_eq!(image.resident_bytes(), whole, "nobody looks any more");
}

#[test]
fn a_fork_that_became_too_different_is_mapped_from_a_file_of_its_own() {
    let (mut store, memory, mut region, mut image) = large();
    let fork = Arc::clone(&image);
    memory.data_mut(&mut store)[..2000 * PAGE_BYTES].fill(2);
    assert!(region.commit(&mut store, &memory, &mut image).unwrap());
    assert_eq!(fork.kept_pages(), 0);
    let (store, memory, _region) = showing(&engine(), &fork);
    assert!(memory.data(&store).iter().all(|byte| *byte == 1));
    assert!(contents(&fork).iter().all(|byte| *byte == 1));
}

/// A commit in which the operating system refuses something, with a fork and a mapping of it; `expected` says whether the commit
/// succeeds and whether its instance can go on.
fn refused(ask: Ask, granted: u32, expected: Option<bool>) {
    let (mut store, memory, mut region, mut image) = large();
    let fork = Arc::clone(&image);
    let (fork_store, fork_memory, _fork_region) = showing(&engine(), &fork);
    memory.grow(&mut store, 1).unwrap();
    for page in [0, 9, 10, 700, 1024 * 16 + 3] {
        memory.data_mut(&mut store)[page * PAGE_BYTES] = 2;
    }
    let now = memory.data(&store).to_vec();
    fault::refuse(ask, granted);
    let committed = region.commit(&mut store, &memory, &mut image);
    assert!(fault::grant() > 0, "{ask:?} was not asked {granted} times");
    match expected {
        Some(goes_on) => {
            assert_eq!(committed.unwrap(), goes_on, "{ask:?} after {granted}");
            assert!(contents(&image) == now, "{ask:?} after {granted}");
        }
        None => {
            assert!(matches!(committed, Err(NotCommitted::Intact(_))), "{ask:?} after {granted}");
            assert!(contents(&image) == contents(&fork), "{ask:?} after {granted}");
            // What the instance shows can no longer be dropped if its file is torn, and nothing else is lost.
            if region.discard(&mut store, &memory).unwrap() {
                assert!(contents(&image) == memory.data(&store));
            } else {
                assert!(memory.data(&store) == now);
                assert!(region.commit(&mut store, &memory, &mut image).unwrap());
                assert!(contents(&image) == now);
            }
        }
    }
    assert!(fork_memory.data(&fork_store).iter().all(|byte| *byte == 1), "{ask:?} after {granted}");
    assert!(contents(&fork).iter().all(|byte| *byte == 1), "{ask:?} after {granted}");
}

#[test]
fn whatever_the_operating_system_refuses_a_commit_succeeds_or_changes_nothing() {
    // It cannot give the fork's mapping its pages, or not write what is new: then the memory is copied.
    refused(Ask::Keep, 0, Some(true));
    refused(Ask::Keep, 2, Some(true));
    // Neither can the copy be written.
    for granted in 0..4 {
        refused(Ask::Write, granted, None);
    }
    // What was committed cannot be shown.
    refused(Ask::Map, 0, Some(false));
}

/// What happens to a memory. Places are fractions of it.
#[derive(Debug, Clone)]
enum Step {
    Write {
        at: Index,
        len: usize,
        value: u8,
    },
    Grow(u64),
    Discard,
    Commit,
    /// Keep the committed image for the rest of the run.
    Share,
    Forget(Index),
    /// Go on from an image that was kept.
    BackTo(Index),
    /// Map a kept image for some time, as a dry run does, and write to pages of the mapping.
    Look(Index, Index),
    /// Let go of it; the next look may be at another image.
    LookAway(Index),
    /// What an idle machine does: only the image stays.
    Rest,
    /// Put the image together again from the pages that differ from the first one.
    Rebuild,
    Hash(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![4 => 1..64_usize, 3 => 1..3 * PAGE_BYTES, 1 => 1..9 * WASM_PAGE];
    prop_oneof![
        12 => (any::<Index>(), len, 0..3_u8).prop_map(|(at, len, value)| Step::Write { at, len, value }),
        1 => (0..4_u64).prop_map(Step::Grow),
        4 => Just(Step::Discard),
        6 => Just(Step::Commit),
        3 => Just(Step::Share),
        2 => any::<Index>().prop_map(Step::Forget),
        1 => any::<Index>().prop_map(Step::BackTo),
        3 => any::<(Index, Index)>().prop_map(|(which, at)| Step::Look(which, at)),
        3 => any::<Index>().prop_map(Step::LookAway),
        1 => Just(Step::Rest),
        1 => Just(Step::Rebuild),
        4 => any::<Index>().prop_map(Step::Hash),
    ]
}

/// The tree of a memory that nobody knows anything about.
fn whole_tree(bytes: &[u8]) -> PageTree {
    let pages: Vec<(u32, PageHash)> = (0..).zip(bytes.as_chunks().0.iter().map(PageHash::of)).collect();
    PageTree::zeroed(bytes.len() as u64).updated(bytes.len() as u64, &pages)
}

fn base() -> Arc<Image> {
    let mut image = Image::zeroed(4 * WASM_PAGE).unwrap();
    image.write(3 * PAGE_BYTES + 9, &[1; 2 * PAGE_BYTES]).unwrap();
    image.write(2 * WASM_PAGE, &[2; WASM_PAGE]).unwrap();
    Arc::new(image)
}

/// A region that shows an image.
type Showing = (Store<()>, Memory, Region);

/// Runs `steps` on a region, and on vectors that are copied.
fn run(engine: &Engine, scanner: &Scanner, base: &Arc<Image>, steps: &[Step]) {
    let mut image = Arc::clone(base);
    let mut committed = contents(&image);
    let mut now = committed.clone();
    let mut kept: Vec<(Arc<Image>, Vec<u8>)> = vec![(Arc::clone(base), committed.clone())];
    let mut looking: Vec<(Arc<Image>, Showing, Vec<u8>)> = Vec::new();
    let mut idle: Vec<Showing> = Vec::new();
    let (mut store, mut memory, mut region) = showing(engine, &image);
    for step in steps {
        let mut fresh = false;
        match step {
            Step::Write { at, len, value } => {
                let start = at.index(now.len());
                let end = (start + len).min(now.len());
                now[start..end].fill(*value);
                memory.data_mut(&mut store)[start..end].fill(*value);
            }
            Step::Grow(pages) => {
                if memory.grow(&mut store, *pages).is_ok() {
                    now.resize(now.len() + *pages as usize * WASM_PAGE, 0);
                }
            }
            Step::Discard => {
                now.clone_from(&committed);
                fresh = !region.discard(&mut store, &memory).unwrap();
            }
            Step::Commit => {
                assert!(region.commit_with(scanner, &mut store, &memory, &mut image).unwrap());
                committed.clone_from(&now);
            }
            Step::Share => kept.push((Arc::clone(&image), committed.clone())),
            Step::Forget(which) => {
                // The base stays: every image of a module knows it.
                if kept.len() > 1 {
                    kept.remove(1 + which.index(kept.len() - 1));
                }
            }
            Step::BackTo(which) => {
                let (back, bytes) = &kept[which.index(kept.len())];
                image = Arc::clone(back);
                committed.clone_from(bytes);
                now.clone_from(bytes);
                fresh = true;
            }
            Step::Look(which, at) => {
                let (image, bytes) = &kept[which.index(kept.len())];
                let again = idle.pop().and_then(|(mut store, memory, mut region)| {
                    let missing = image.len().checked_sub(memory.data_size(&store))? / WASM_PAGE;
                    memory.grow(&mut store, missing as u64).ok()?;
                    region.show(&mut store, &memory, image).unwrap();
                    assert!(memory.data(&store) == bytes, "what is shown once more differs");
                    Some((store, memory, region))
                });
                let (mut store, memory, region) = again.unwrap_or_else(|| showing(engine, image));
                let mut bytes = bytes.clone();
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + 3 * PAGE_BYTES);
                bytes[at..end].fill(0x80);
                memory.data_mut(&mut store)[at..end].fill(0x80);
                looking.push((Arc::clone(image), (store, memory, region), bytes));
                if looking.len() > 4 {
                    looking.remove(0);
                }
            }
            Step::LookAway(which) => {
                if !looking.is_empty() {
                    let (_, (mut store, memory, mut region), _) = looking.remove(which.index(looking.len()));
                    region.let_go(&mut store, &memory).unwrap();
                    idle.push((store, memory, region));
                }
            }
            Step::Rest => {
                now.clone_from(&committed);
                if let Some(rested) = image.rested().unwrap() {
                    image = Arc::new(rested);
                }
                assert!(contents(&image) == committed, "what rests differs");
                fresh = true;
            }
            Step::Rebuild => {
                let mut rebuilt = Image::upon(base, image.len());
                let pages = image.tree().unwrap().changed_since(&base.tree().unwrap());
                for (index, hash) in pages {
                    let mut page = Box::new([0; PAGE_BYTES]);
                    image.read(index as usize * PAGE_BYTES, &mut page[..]).unwrap();
                    assert_eq!(PageHash::of(&page), hash);
                    rebuilt.put(index, page).unwrap();
                }
                let mut filled = Image::upon(base, image.len());
                filled.fill(&committed).unwrap();
                assert_eq!(filled.tree().unwrap(), rebuilt.tree().unwrap());
                now.clone_from(&committed);
                image = Arc::new(rebuilt);
                fresh = true;
            }
            Step::Hash(which) => {
                assert_eq!(image.tree().unwrap(), whole_tree(&committed));
                let (image, bytes) = &kept[which.index(kept.len())];
                assert_eq!(image.tree().unwrap(), whole_tree(bytes));
            }
        }
        if fresh {
            if let Some(image) = Arc::get_mut(&mut image) {
                image.wake().unwrap();
            }
            (store, memory, region) = showing(engine, &image);
        }
        assert!(memory.data(&store) == now, "memory differs after {step:?}");
        for (_, (store, memory, _), bytes) in &looking {
            assert!(memory.data(store) == bytes, "a mapping of a kept image changed after {step:?}");
        }
    }
    assert!(contents(&image) == committed, "the image differs");
    for (image, bytes) in &kept {
        assert!(contents(image) == *bytes, "a kept image changed");
        assert_eq!(image.tree().unwrap(), whole_tree(bytes));
    }
}

#[test]
fn every_scanner_keeps_a_memory_like_an_engine_that_copies() {
    let (engine, base) = (engine(), base());
    for scanner in scanners() {
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() });
        runner
            .run(&proptest::collection::vec(step(), 1..60), |steps| {
                run(&engine, &scanner, &base, &steps);
                Ok(())
            })
            .unwrap_or_else(|failure| panic!("{scanner:?}: {failure}"));
    }
}
