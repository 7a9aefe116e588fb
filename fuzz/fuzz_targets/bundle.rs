//! Foreign bytes as a bundle: refused, or a layout that covers every byte.
#![no_main]

use holon_protocol::Bundle;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &[u8]| {
    let Ok(bundle) = Bundle::parse(raw.to_vec()) else { return };
    let mut end = 32 + 64 * bundle.entries().len();
    for entry in bundle.entries() {
        assert_eq!(entry.offset, end);
        end += entry.length;
    }
    assert_eq!(end, raw.len());
    assert!(bundle.item(bundle.entries().len()).is_err());

    let mut opened = Vec::new();
    for (index, entry) in bundle.entries().iter().enumerate() {
        let Ok(item) = bundle.item_unverified(index) else {
            assert!(bundle.item(index).is_err());
            continue;
        };
        assert_eq!((item.id(), item.raw().len()), (entry.id, entry.length));
        assert_eq!(bundle.item(index).is_ok(), item.verify().is_ok());
        opened.push(item);
    }
    if opened.len() == bundle.entries().len() {
        assert_eq!(Bundle::encode(&opened), raw);
    }
});
