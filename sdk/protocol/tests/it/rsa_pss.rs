//! RSA-PSS with every salt length, and the malformed encodings that must not pass.

use holon_protocol::signature::{InvalidSignature, verify_rsa_pss};
use num_bigint::BigUint;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::vectors::{VECTORS, bytes, rsa};

/// The vectors' RSA key, able to raise anything to its private power.
struct Key {
    n: BigUint,
    p: BigUint,
    q: BigUint,
    dp: BigUint,
    dq: BigUint,
    qi: BigUint,
}

impl Key {
    fn new() -> Self {
        let jwk = &VECTORS["keys"]["arweave_rsa4096"]["jwk"];
        let part = |name| BigUint::from_bytes_be(&bytes(jwk, name));
        Self { n: part("n"), p: part("p"), q: part("q"), dp: part("dp"), dq: part("dq"), qi: part("qi") }
    }

    fn modulus(&self) -> Vec<u8> {
        self.n.to_bytes_be()
    }

    fn sign(&self, encoded: &[u8]) -> Vec<u8> {
        let value = BigUint::from_bytes_be(encoded);
        assert!(value < self.n);
        let (a, b) = (value.modpow(&self.dp, &self.p), value.modpow(&self.dq, &self.q));
        let h = (&self.qi * (a + &self.p - &b % &self.p)) % &self.p;
        padded(&(b + h * &self.q))
    }
}

fn padded(value: &BigUint) -> Vec<u8> {
    let bytes = value.to_bytes_be();
    [vec![0; 512 - bytes.len()], bytes].concat()
}

/// EMSA-PSS over `message`, with `spoil` applied to the data block before it is masked.
fn encode(message: &[u8], salt: &[u8], spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let hash = Sha256::new().chain_update([0; 8]).chain_update(Sha256::digest(message)).chain_update(salt).finalize();
    let mut block = vec![0; 512 - 32 - 2 - salt.len()];
    block.push(1);
    block.extend_from_slice(salt);
    spoil(&mut block);
    for (counter, chunk) in block.chunks_mut(32).enumerate() {
        let mask = Sha256::new().chain_update(hash).chain_update((counter as u32).to_be_bytes()).finalize();
        chunk.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
    block[0] &= 0x7f;
    [&block[..], &hash, &[0xbc]].concat()
}

#[test]
fn malformed_encodings_are_refused() {
    let key = Key::new();
    let refused = |encoded: &[u8], why: &str| {
        assert_eq!(verify_rsa_pss(&key.modulus(), b"message", &key.sign(encoded)), Err(InvalidSignature), "{why}");
    };
    for salt in [0, 32, 478] {
        let salt = vec![0x55; salt];
        let good = encode(b"message", &salt, |_| ());
        verify_rsa_pss(&key.modulus(), b"message", &key.sign(&good)).unwrap();

        let mut spoiled = good.clone();
        spoiled[511] = 0xcc;
        refused(&spoiled, "trailer");
        let mut spoiled = good.clone();
        spoiled[0] |= 0x80;
        if BigUint::from_bytes_be(&spoiled) < key.n {
            refused(&spoiled, "bit above emBits");
        }
        let mut spoiled = good.clone();
        spoiled[490] ^= 1;
        refused(&spoiled, "hash");
        let separator = 478 - salt.len();
        refused(&encode(b"message", &salt, |block| block[separator] = 2), "separator 2");
        refused(&encode(b"message", &salt, |block| block.fill(0)), "no separator");
        refused(&encode(b"another message", &salt, |_| ()), "another message");
        if !salt.is_empty() {
            refused(&encode(b"message", &salt, |block| block[separator + 1] ^= 1), "another salt");
        }
        if separator > 0 {
            refused(&encode(b"message", &salt, |block| block[0] = 2), "padding that is not zero");
        }
    }
    refused(&[0; 512], "zero");
}

#[test]
fn a_signature_plus_the_modulus_is_refused() {
    let key = Key::new();
    let limit = BigUint::from(1u8) << 4096;
    let mut salts = 0u32..;
    let (small, spelled_again) = loop {
        let signature = key.sign(&encode(b"message", &salts.next().unwrap().to_be_bytes(), |_| ()));
        let sum = BigUint::from_bytes_be(&signature) + &key.n;
        if sum < limit {
            break (signature, padded(&sum));
        }
    };
    verify_rsa_pss(&key.modulus(), b"message", &small).unwrap();
    assert!(verify_rsa_pss(&key.modulus(), b"message", &spelled_again).is_err());
    assert!(verify_rsa_pss(&key.modulus(), b"message", &key.modulus()).is_err());
    assert!(verify_rsa_pss(&key.modulus(), b"message", &[0xff; 512]).is_err());
}

#[test]
fn a_modulus_that_is_no_4096_bit_key_is_refused() {
    let signature = rsa().sign_rsa_pss(b"message").unwrap();
    let modulus = rsa().owner().to_vec();
    verify_rsa_pss(&modulus, b"message", &signature).unwrap();
    for (at, bits) in [(0, 0x80), (511, 1)] {
        let mut other = modulus.clone();
        other[at] ^= bits;
        assert!(verify_rsa_pss(&other, b"message", &signature).is_err());
    }
    // One, zero, and keys of other lengths.
    assert!(verify_rsa_pss(&[0; 512], b"message", &[0; 512]).is_err());
    assert!(verify_rsa_pss(&[&[0; 511][..], &[1]].concat(), b"message", &[0; 512]).is_err());
    assert!(verify_rsa_pss(&modulus[..256], b"message", &signature[..256]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_salt_length_is_verified(
        message in prop::collection::vec(any::<u8>(), 0..100),
        salt in prop::collection::vec(any::<u8>(), 0..=478),
        at: prop::sample::Index,
        bit in 0u32..8,
    ) {
        let key = Key::new();
        let mut signature = key.sign(&encode(&message, &salt, |_| ()));
        prop_assert!(verify_rsa_pss(&key.modulus(), &message, &signature).is_ok());
        signature[at.index(512)] ^= 1 << bit;
        prop_assert!(verify_rsa_pss(&key.modulus(), &message, &signature).is_err());
    }
}
