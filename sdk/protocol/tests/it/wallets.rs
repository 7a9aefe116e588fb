//! Wallets: JWK in and out, and what they refuse.

use holon_protocol::signature::{SignatureType, verify};
use holon_protocol::{DataItem, Signer};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::generated;
use crate::vectors::{VECTORS, ed25519, ethereum, rsa};

#[test]
fn a_generated_rsa_wallet_signs_and_survives_its_jwk() {
    let signer = Signer::generate_rsa().unwrap();
    assert_eq!(signer.signature_type(), SignatureType::Arweave);
    let again = Signer::from_jwk(&signer.to_jwk()).unwrap();
    assert_eq!(again.address(), signer.address());
    let item = DataItem::builder().data("x").sign(&again).unwrap();
    assert_eq!(item.owner(), signer.owner());
    item.verify().unwrap();
}

#[test]
fn a_generated_ed25519_wallet_is_a_new_one_each_time() {
    let (a, b) = (Signer::generate_ed25519().unwrap(), Signer::generate_ed25519().unwrap());
    assert_eq!(a.signature_type(), SignatureType::Ed25519);
    assert_ne!(a.address(), b.address());
}

#[test]
fn the_rsa_jwk_of_the_vectors_is_written_back_as_it_was_read() {
    let jwk = &VECTORS["keys"]["arweave_rsa4096"]["jwk"];
    assert_eq!(&serde_json::from_str::<Value>(&rsa().to_jwk()).unwrap(), jwk);
}

#[test]
fn wallets_that_are_incomplete_or_contradict_themselves_are_refused() {
    let whole = |signer: &Signer| serde_json::from_str::<Value>(&signer.to_jwk()).unwrap();
    let refused = |jwk: &Value| Signer::from_jwk(&jwk.to_string()).unwrap_err().to_string();
    let rsa = whole(&rsa());
    for member in ["kty", "n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        let mut jwk = rsa.clone();
        jwk.as_object_mut().unwrap().remove(member);
        refused(&jwk);
        jwk[member] = json!("not base64url!");
        refused(&jwk);
        jwk[member] = json!("AQAC");
        refused(&jwk);
        jwk[member] = json!("");
        refused(&jwk);
        jwk[member] = json!("A".repeat(10_000));
        refused(&jwk);
    }
    for (signer, members) in [(ed25519(false), &["x"][..]), (ethereum(), &["x", "y"])] {
        let jwk = whole(&signer);
        for &member in members {
            let mut other = jwk.clone();
            other[member] = json!("AAAA");
            assert_eq!(refused(&other), format!("not a usable wallet: {member} does not belong to d"));
            other.as_object_mut().unwrap().remove(member);
            assert_eq!(Signer::from_jwk(&other.to_string()).unwrap().address(), signer.address());
        }
        let mut short = jwk.clone();
        short["d"] = json!("AAAA");
        assert_eq!(refused(&short), "not a usable wallet: d has 3 bytes; 32 are needed");
        let mut curve = jwk.clone();
        curve["crv"] = json!("P-256");
        refused(&curve);
    }
    let mut zero = whole(&ethereum());
    zero["d"] = json!("A".repeat(43));
    refused(&zero);
    let mut odd = whole(&ed25519(false));
    odd["holon_type"] = json!("dogecoin");
    refused(&odd);
    for text in ["", "[]", "null", "{", "{}", "\"x\"", r#"{"kty":"oct","k":"AAAA"}"#] {
        assert!(Signer::from_jwk(text).is_err(), "{text}");
    }
}

#[test]
fn a_wallet_never_shows_its_secret() {
    for signer in [rsa(), ed25519(false), ed25519(true), ethereum()] {
        assert_eq!(format!("{signer:?}"), format!("Signer({})", signer.address()));
        assert_eq!(format!("{signer:#?}"), format!("Signer({})", signer.address()));
    }
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0!!";
    for jwk in [
        format!(r#"{{"kty":"OKP","crv":"Ed25519","d":"{secret}"}}"#),
        format!(r#"{{"kty":"OKP","crv":"Ed25519","d":"{secret}" oops"#),
        format!(r#"{{"kty":"OKP","crv":"Ed25519","d":["{secret}"]}}"#),
    ] {
        let error = Signer::from_jwk(&jwk).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("c2Vj"), "{error}");
    }
}

#[test]
fn only_rsa_wallets_sign_transactions() {
    let signature = rsa().sign_rsa_pss(b"transaction").unwrap();
    holon_protocol::signature::verify_rsa_pss(rsa().owner(), b"transaction", &signature).unwrap();
    for signer in [ed25519(false), ethereum()] {
        assert!(signer.sign_rsa_pss(b"transaction").is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn wallets_survive_their_jwk(signer in generated::signer(), payload in prop::collection::vec(any::<u8>(), 48)) {
        let again = Signer::from_jwk(&signer.to_jwk()).unwrap();
        prop_assert_eq!(again.signature_type(), signer.signature_type());
        prop_assert_eq!(again.owner(), signer.owner());
        prop_assert_eq!(again.to_jwk(), signer.to_jwk());
        let payload: [u8; 48] = payload.try_into().unwrap();
        let signature = again.sign(&payload).unwrap();
        prop_assert!(verify(signer.signature_type(), signer.owner(), &payload, &signature).is_ok());
    }
}
