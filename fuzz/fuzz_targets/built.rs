//! Any fields, signed: read back as they were, and no changed byte passes.
#![no_main]

use arbitrary::Arbitrary;
use holon_protocol::wire::{Entry, Process};
use holon_protocol::{Bundle, DataItem, Signer, Tag};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    wallet: Wallet,
    target: Option<[u8; 32]>,
    anchor: Option<[u8; 32]>,
    tags: Vec<(String, String)>,
    data: Vec<u8>,
    flip: (u16, u8),
}

#[derive(Arbitrary, Debug)]
enum Wallet {
    Ed25519 { seed: [u8; 32], solana: bool },
    Secp256k1([u8; 32]),
}

fuzz_target!(|input: Input| {
    let signer = match input.wallet {
        Wallet::Ed25519 { seed, solana } => Signer::from_ed25519_seed(&seed, solana),
        Wallet::Secp256k1(scalar) => match Signer::from_secp256k1(&scalar) {
            Ok(signer) => signer,
            Err(_) => return,
        },
    };
    let tags: Vec<Tag> = input.tags.into_iter().map(|(name, value)| Tag::new(name, value)).collect();
    let mut builder = DataItem::builder().tags(tags.clone()).data(input.data.clone());
    if let Some(target) = input.target {
        builder = builder.target_bytes(target);
    }
    if let Some(anchor) = input.anchor {
        builder = builder.anchor(anchor);
    }
    let Ok(built) = builder.sign(&signer) else { return };

    let item = DataItem::parse_verified(built.raw().clone()).expect("what we sign is valid");
    assert_eq!((item.owner(), item.target(), item.anchor()), (signer.owner(), input.target, input.anchor));
    assert_eq!((&item.tags().0, &item.data()[..], item.id()), (&tags, &input.data[..], built.id()));

    let bundle = Bundle::parse(Bundle::encode(&[item.clone(), built])).expect("what we bundle is a bundle");
    assert_eq!(bundle.items().expect("of valid items").len(), 2);

    let entry = Entry::new(&item, Some(&item), true);
    let text = serde_json::to_string(&entry).expect("an entry is JSON");
    assert_eq!(serde_json::from_str::<Entry>(&text).expect("and read back"), entry);
    let _ = Process::new(&item, &item);

    let (at, bits) = input.flip;
    if bits != 0 {
        let mut raw = item.raw().to_vec();
        let at = usize::from(at) % raw.len();
        raw[at] ^= bits;
        assert!(DataItem::parse_verified(raw).is_err(), "byte {at} is not protected");
    }
});
