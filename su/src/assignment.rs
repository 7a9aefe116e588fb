//! Building and signing what the scheduler says (spec 02 §5).

use holon_protocol::assignment::Assignment;
use holon_protocol::item::BuildError;
use holon_protocol::{Bundle, DataItem, Signer};

/// Signs the assignment item, with a fresh random anchor so that its id is unique. About 4 ms with an RSA wallet.
pub fn sign(assignment: &Assignment, wallet: &Signer) -> Result<DataItem, SignError> {
    Ok(assignment.item(random_anchor()?).sign(wallet)?)
}

/// Signs the container in which an assignment without a message body goes to Arweave: a bundle of that one item
/// (spec 02 §5.2, §5.3).
pub fn sign_container(assignment: &DataItem, wallet: &Signer) -> Result<DataItem, SignError> {
    let container = DataItem::builder()
        .anchor(random_anchor()?)
        .tag("Bundle-Format", "binary")
        .tag("Bundle-Version", "2.0.0")
        .data(Bundle::encode(std::slice::from_ref(assignment)));
    Ok(container.sign(wallet)?)
}

/// An item could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The item breaks a limit of the format, or the key did not sign.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The system gives no randomness.
    #[error("no randomness: {0}")]
    Random(String),
}

fn random_anchor() -> Result<[u8; 32], SignError> {
    let mut anchor = [0; 32];
    getrandom::fill(&mut anchor).map_err(|error| SignError::Random(error.to_string()))?;
    Ok(anchor)
}
