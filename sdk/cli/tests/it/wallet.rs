//! Wallets: made once, never overwritten, never readable by others.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use holon_protocol::Signer;

use crate::program::User;

#[test]
fn a_new_wallet_is_the_default_one_and_is_shown_without_its_key() {
    let user = User::new();
    let made = user.run(["wallet", "new", "--type", "ed25519", "--json"]).ok().json();
    let shown = user.run(["wallet", "show", "--json"]).ok().json();
    assert_eq!(made, shown);
    assert_eq!(made["type"], "ed25519");
    let path = user.home().join(".config/holon/wallet.json");
    assert_eq!(made["path"].as_str(), path.to_str());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let key = Signer::from_jwk(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(made["address"].as_str(), Some(key.address().to_string().as_str()));
}

#[test]
fn wallets_are_rsa_unless_asked_otherwise() {
    let user = User::new();
    let made = user.run(["wallet", "new", "--out", "alice.json", "--json"]).ok().json();
    assert_eq!(made["type"], "rsa");
    let jwk: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(user.home().join("alice.json")).unwrap()).unwrap();
    assert_eq!(jwk["kty"], "RSA");
}

#[test]
fn a_wallet_is_never_overwritten() {
    let user = User::new();
    user.run(["wallet", "new", "--type", "ed25519", "--out", "a.json"]).ok();
    let before = fs::read(user.home().join("a.json")).unwrap();
    let again = user.run(["wallet", "new", "--type", "ed25519", "--out", "a.json"]);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("exists"), "{}", again.err);
    assert_eq!(fs::read(user.home().join("a.json")).unwrap(), before);
}

#[test]
fn a_wallet_that_others_can_read_is_pointed_out() {
    let user = User::new();
    user.run(["wallet", "new", "--type", "ed25519", "--out", "a.json"]).ok();
    fs::set_permissions(user.home().join("a.json"), fs::Permissions::from_mode(0o644)).unwrap();
    let shown = user.run(["wallet", "show", "--wallet", "a.json"]).ok();
    assert!(shown.err.contains("chmod 600"), "{}", shown.err);
}

#[test]
fn what_is_no_wallet_is_refused_with_a_reason() {
    let user = User::new();
    fs::write(user.home().join("bad.json"), r#"{"kty":"oct"}"#).unwrap();
    for (file, reason) in [("bad.json", "JWK"), ("missing.json", "holon wallet new --out missing.json")] {
        let shown = user.run(["wallet", "show", "--wallet", file]);
        assert_eq!(shown.code, 2, "{file}");
        assert!(shown.err.contains(reason), "{file}: {}", shown.err);
    }
}
