//! Regions and images with every way of finding dirty pages.

use std::{fs::File, sync::Arc};

use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

use wasmtime::{Config, Engine, Instance, Memory, MemoryType, Module, Store};

use super::{Creator, Image, PAGE_BYTES, Region, dirty::Scanner};
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
    let text = format!(r#"(module (memory (export "memory") {pages} 100))"#);
    let module = Module::from_binary(store.engine(), &wat::parse_str(text).unwrap()).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let region = Region::created(&mut store, &memory).unwrap();
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
        let (mut store, memory, region, mut image) = shown(40);
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
    let (mut store, memory, region, mut image) = shown(4);
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
        let (mut store, memory, region, mut image) = shown(2);
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
fn a_shared_image_is_left_alone() {
    let (mut store, memory, region, mut image) = shown(2);
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
    let (mut store, _, region, image) = shown(1);
    let other = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    assert!(region.show(&mut store, &other, &image).is_err());
    assert!(region.discard(&mut store, &other).is_err());
}

#[test]
fn a_commit_that_cannot_write_leaves_memory_and_forks_as_they_were() {
    let (mut store, memory, region, mut image) = shown(2);
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

/// Runs `steps` on a region, and on vectors that are copied.
fn run(engine: &Engine, scanner: &Scanner, base: &Arc<Image>, steps: &[Step]) {
    let mut image = Arc::clone(base);
    let mut committed = contents(&image);
    let mut now = committed.clone();
    let mut kept: Vec<(Arc<Image>, Vec<u8>)> = vec![(Arc::clone(base), committed.clone())];
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
