//! Strictness of Ed25519 and Ethereum signatures: one message, one id.

use holon_protocol::DataItem;
use holon_protocol::signature::{InvalidSignature, SignatureType, verify};

use crate::vectors::{bytes, ed25519, ethereum, hex, list, rsa, text};

/// Order of the Ed25519 group, little-endian.
const L: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
/// Encodings of the identity, of a point of order 2 and of points of order 4, and spellings that are not canonical.
const SMALL_ORDER: [&str; 7] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000080",
];

#[test]
fn an_s_above_the_group_order_is_refused() {
    let signer = ed25519(false);
    let mut signature = signer.sign(&[7; 48]).unwrap();
    verify(SignatureType::Ed25519, signer.owner(), &[7; 48], &signature).unwrap();
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(hex(L)) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(verify(SignatureType::Ed25519, signer.owner(), &[7; 48], &signature), Err(InvalidSignature));
}

#[test]
fn keys_of_small_order_sign_nothing() {
    // With the identity as key, (a·B, a) satisfies the equation of every message.
    let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
    let forged = [key.verifying_key().to_bytes(), key.to_scalar().to_bytes()].concat();
    let trivial = |r: &str| [hex(r), vec![0; 32]].concat();
    for owner in SMALL_ORDER {
        for kind in [SignatureType::Ed25519, SignatureType::Solana] {
            for payload in [[0; 48], [1; 48], [2; 48], [3; 48]] {
                assert!(verify(kind, &hex(owner), &payload, &forged).is_err(), "{owner}");
                for r in SMALL_ORDER {
                    assert!(verify(kind, &hex(owner), &payload, &trivial(r)).is_err(), "{owner} {r}");
                }
            }
        }
    }
}

#[test]
fn types_2_and_4_do_not_stand_for_each_other() {
    for solana in [false, true] {
        let (signer, other) = (ed25519(solana), ed25519(!solana));
        let signature = signer.sign(&[1; 48]).unwrap();
        assert!(verify(signer.signature_type(), signer.owner(), &[1; 48], &signature).is_ok());
        assert!(verify(other.signature_type(), signer.owner(), &[1; 48], &signature).is_err());
    }
}

#[test]
fn ed25519_vectors_are_signed_to_the_same_bytes() {
    let mut compared = 0;
    for vector in list("items", 15) {
        let signer = match vector["signature_type"].as_u64() {
            Some(2) => ed25519(false),
            Some(4) => ed25519(true),
            _ => continue,
        };
        let item = DataItem::parse(bytes(vector, "raw")).unwrap();
        assert_eq!(signer.sign(&item.signing_payload()).unwrap(), item.signature(), "{}", text(vector, "name"));
        compared += 1;
    }
    assert_eq!(compared, 5);
}

#[test]
fn an_ethereum_owner_must_be_an_uncompressed_key() {
    let signer = ethereum();
    let signature = signer.sign(&[1; 48]).unwrap();
    verify(SignatureType::Ethereum, signer.owner(), &[1; 48], &signature).unwrap();
    for first in [0, 2, 3, 5, 6, 7] {
        let mut owner = signer.owner().to_vec();
        owner[0] = first;
        assert!(verify(SignatureType::Ethereum, &owner, &[1; 48], &signature).is_err(), "{first}");
    }
    for v in (0..=255).filter(|v| *v != signature[64]) {
        let mut signature = signature.clone();
        signature[64] = v;
        assert!(verify(SignatureType::Ethereum, signer.owner(), &[1; 48], &signature).is_err(), "{v}");
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    for signer in [rsa(), ed25519(false), ed25519(true), ethereum()] {
        let (kind, owner) = (signer.signature_type(), signer.owner());
        let signature = signer.sign(&[1; 48]).unwrap();
        assert_eq!((signature.len(), owner.len()), (kind.signature_len(), kind.owner_len()));
        verify(kind, owner, &[1; 48], &signature).unwrap();
        for cut in [0, 1, signature.len() - 1] {
            assert!(verify(kind, owner, &[1; 48], &signature[..cut]).is_err());
        }
        assert!(verify(kind, &owner[1..], &[1; 48], &signature).is_err());
        assert!(verify(kind, &[owner, &[0]].concat(), &[1; 48], &signature).is_err());
        assert!(verify(kind, &[], &[1; 48], &[]).is_err());
        assert!(verify(kind, owner, &[2; 48], &signature).is_err());
    }
}
