//! Foreign bytes as a data item: refused, or read without losing a byte.
#![no_main]

use holon_protocol::{DataItem, Tags, signature};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &[u8]| {
    let Ok(item) = DataItem::parse(raw.to_vec()) else { return };
    assert_eq!(item.raw(), raw);

    // The fields, written one after the other, are the item.
    let mut again = (item.signature_type() as u16).to_le_bytes().to_vec();
    again.extend_from_slice(item.signature());
    again.extend_from_slice(item.owner());
    for field in [item.target(), item.anchor()] {
        again.push(u8::from(field.is_some()));
        again.extend(field.into_iter().flatten());
    }
    again.extend_from_slice(&(item.tags().len() as u64).to_le_bytes());
    again.extend_from_slice(&(item.tag_bytes().len() as u64).to_le_bytes());
    again.extend_from_slice(item.tag_bytes());
    again.extend_from_slice(&item.data());
    assert_eq!(again, raw);

    let count = item.tags().len() as u64;
    assert_eq!(Tags::decode(item.tag_bytes(), count).as_ref(), Ok(item.tags()));
    assert_eq!(Tags::decode(&item.tags().encode(), count).as_ref(), Ok(item.tags()));

    let direct = signature::verify(item.signature_type(), item.owner(), &item.signing_payload(), item.signature());
    assert_eq!(item.verify(), direct);
    assert_eq!(DataItem::parse_verified(raw.to_vec()).is_ok(), direct.is_ok());
    let _ = (item.ao_address(), item.owner_address(), item.id());
});
