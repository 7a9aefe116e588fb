//! Foreign text as a wallet: refused, or a wallet that survives its JWK and signs what it can verify.
#![no_main]

use holon_protocol::{Signer, signature};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &str| {
    let Ok(signer) = Signer::from_jwk(json) else { return };
    let again = Signer::from_jwk(&signer.to_jwk()).expect("our own JWK is a wallet");
    assert_eq!((again.owner(), again.signature_type()), (signer.owner(), signer.signature_type()));
    let payload = [7; 48];
    let signed = again.sign(&payload).expect("a wallet signs");
    assert_eq!(signature::verify(signer.signature_type(), signer.owner(), &payload, &signed), Ok(()));
});
