//! RSASSA-PSS with SHA-256 over 4096-bit keys, any salt length (spec 01 §4), and RSA keys as JWK.
//!
//! Signers differ in the salt: 32 bytes (browsers, ours), 478 (Node clients, schedulers), 0 (some services). aws-lc
//! verifies the first kind only, and gives no access to the bare power, so the others are verified here: the message
//! and the key are public, hence nothing has to be constant-time.

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents};
use num_bigint::BigUint;
use sha2::{Digest, Sha256};

use crate::signature::InvalidSignature;

/// Bytes of a modulus and of a signature.
pub(crate) const MODULUS_BYTES: usize = 512;
/// The public exponent every wallet has, big-endian.
pub(crate) const EXPONENT: [u8; 3] = [1, 0, 1];
/// Bytes of a SHA-256 hash.
const HASH_BYTES: usize = 32;

/// Verifies a signature over `message` (not yet hashed).
pub(crate) fn verify_pss(modulus: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    if modulus.len() != MODULUS_BYTES || signature.len() != MODULUS_BYTES {
        return Err(InvalidSignature);
    }
    // The top bit makes it a 4096-bit key, an even number is no product of odd primes, and a signature not below the
    // modulus would be a second spelling of a smaller one.
    if modulus[0] & 0x80 == 0 || modulus[MODULUS_BYTES - 1] & 1 == 0 || signature >= modulus {
        return Err(InvalidSignature);
    }
    let key = RsaPublicKeyComponents { n: modulus, e: EXPONENT.as_slice() };
    if key.verify(&RSA_PSS_2048_8192_SHA256, message, signature).is_ok() {
        return Ok(());
    }
    verify_encoded(power(modulus, signature), message)
}

/// `signature` to the 65537th modulo `modulus`, as 512 big-endian bytes.
fn power(modulus: &[u8], signature: &[u8]) -> [u8; MODULUS_BYTES] {
    let modulus = BigUint::from_bytes_be(modulus);
    let base = BigUint::from_bytes_be(signature);
    let mut value = base.clone();
    for _ in 0..16 {
        value = &value * &value % &modulus;
    }
    let bytes = (value * base % modulus).to_bytes_be();
    let mut out = [0; MODULUS_BYTES];
    out[MODULUS_BYTES - bytes.len()..].copy_from_slice(&bytes);
    out
}

/// EMSA-PSS-VERIFY (RFC 8017 §9.1.2) with emBits 4095, the salt being whatever follows the separator.
fn verify_encoded(mut encoded: [u8; MODULUS_BYTES], message: &[u8]) -> Result<(), InvalidSignature> {
    let (masked, trailer) = encoded.split_at_mut(MODULUS_BYTES - HASH_BYTES - 1);
    let (hash, trailer) = trailer.split_at(HASH_BYTES);
    if trailer != [0xbc] || masked[0] & 0x80 != 0 {
        return Err(InvalidSignature);
    }
    for (counter, chunk) in masked.chunks_mut(HASH_BYTES).enumerate() {
        let mask = Sha256::new().chain_update(hash).chain_update((counter as u32).to_be_bytes()).finalize();
        chunk.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
    masked[0] &= 0x7f;
    let separator = masked.iter().position(|&byte| byte != 0).ok_or(InvalidSignature)?;
    if masked[separator] != 1 {
        return Err(InvalidSignature);
    }
    let expected = Sha256::new()
        .chain_update([0; 8])
        .chain_update(Sha256::digest(message))
        .chain_update(&masked[separator + 1..])
        .finalize();
    if expected[..] == *hash { Ok(()) } else { Err(InvalidSignature) }
}
