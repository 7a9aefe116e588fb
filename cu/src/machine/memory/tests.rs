//! Regions and images with every way of finding dirty pages.

use std::{fs::File, sync::Arc};

use wasmtime::{Config, Engine, Instance, Memory, MemoryType, Module, Store};

use super::{Creator, Image, PAGE_BYTES, Region, dirty::Scanner};

const WASM_PAGE: usize = 1 << 16;

fn engine() -> Engine {
    let mut config = Config::new();
    config.with_host_memory(Arc::new(Creator)).memory_may_move(false);
    Engine::new(&config).unwrap()
}

/// A memory of `pages` that shows an image of zeros.
fn shown(pages: u32) -> (Store<()>, Memory, Region, Arc<Image>) {
    let mut store = Store::new(&engine(), ());
    let text = format!(r#"(module (memory (export "memory") {pages} 100))"#);
    let module = Module::from_binary(store.engine(), &wat::parse_str(text).unwrap()).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let region = Region::created(&mut store, &memory).unwrap();
    let image = Arc::new(Image::zeroed(pages as usize * WASM_PAGE).unwrap());
    region.show(&mut store, &memory, &image).unwrap();
    (store, memory, region, image)
}

fn contents(image: &Image) -> Vec<u8> {
    let mut bytes = vec![0; image.len()];
    image.read(0, &mut bytes).unwrap();
    bytes
}

fn scanners() -> Vec<Scanner> {
    let pagemap = || File::open("/proc/self/pagemap").unwrap();
    let mut scanners = vec![Scanner::Compare, Scanner::Pagemap(pagemap())];
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
        region.commit_with(&scanner, &mut store, &memory, &mut image).unwrap();
        assert!(contents(&image) == memory.data(&store), "{scanner:?}");
    }
}

#[test]
fn discarding_goes_back_to_the_last_commit() {
    let (mut store, memory, region, mut image) = shown(4);
    memory.data_mut(&mut store)[100] = 1;
    region.commit(&mut store, &memory, &mut image).unwrap();
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
        region.commit_with(&scanner, &mut store, &memory, &mut image).unwrap();
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
    region.commit(&mut store, &memory, &mut image).unwrap();
    let snapshot = Arc::clone(&image);
    memory.data_mut(&mut store)[5] = 2;
    region.commit(&mut store, &memory, &mut image).unwrap();
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
