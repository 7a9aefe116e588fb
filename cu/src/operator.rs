//! The operator's token: who shows it may do what strangers may not.
//!
//! Where a request comes from proves nothing: behind a proxy on the same computer everybody's comes from there, and pages in the operator's
//! browser can send some as well. So there is always a token. One that is not configured is made at the first start, in a file
//! that only the unit's user can read.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use holon_protocol::base64url;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::ServiceError;

/// File of the token in the data folder.
const FILE: &str = "operator-token";
/// Random bytes of a token that is made here.
const TOKEN_BYTES: usize = 32;
/// Fewest characters of a token in the file: less was cut off.
const LEAST_CHARACTERS: usize = 20;

/// Knows the token.
pub struct Operator {
    digest: [u8; 32],
    /// Where it can be read, if it was not configured.
    file: Option<PathBuf>,
}

impl Operator {
    /// The operator who has the token `configured`, else the one in the data folder `folder`.
    pub fn new(configured: Option<&str>, folder: &Path) -> Result<Self, ServiceError> {
        if let Some(token) = configured {
            return Ok(Self { digest: Sha256::digest(token).into(), file: None });
        }
        let path = folder.join(FILE);
        let token = kept(&path).map_err(|source| ServiceError::DataDir { path: path.clone(), source })?;
        Ok(Self { digest: Sha256::digest(token.as_bytes()).into(), file: Some(path) })
    }

    /// Whether `token` is the operator's.
    pub fn knows(&self, token: &str) -> bool {
        // Comparing digests says nothing about the token, however long it takes.
        <[u8; 32]>::from(Sha256::digest(token)) == self.digest
    }
}

/// Where the operator finds the token. The folder is not named: strangers read this.
impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file {
            Some(_) => write!(f, "it is in the file {FILE} of the unit's data folder"),
            None => write!(f, "it is the one that the unit was configured with"),
        }
    }
}

/// The token in a file, which is made if it is not there.
fn kept(path: &Path) -> io::Result<Zeroizing<String>> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= LEAST_CHARACTERS => return Ok(Zeroizing::new(text.trim().to_owned())),
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
    fs::File::open("/dev/urandom")?.read_exact(&mut *bytes)?;
    let token = Zeroizing::new(base64url::encode(*bytes));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{}\n", *token).as_bytes())?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_its_user_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = Operator::new(None, folder.path()).unwrap();
        let path = folder.path().join(FILE);
        let token = fs::read_to_string(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(token.trim().len(), 43);
        let second = Operator::new(None, folder.path()).unwrap();
        for operator in [&first, &second] {
            assert!(operator.knows(token.trim()) && !operator.knows("") && !operator.knows(&token.trim()[1..]));
        }
        // Nobody is let in by a file that was cut off.
        fs::write(&path, "").unwrap();
        let third = Operator::new(None, folder.path()).unwrap();
        assert!(!third.knows("") && !third.knows(token.trim()));
    }

    #[test]
    fn a_configured_token_counts_alone() {
        let folder = tempfile::tempdir().unwrap();
        let operator = Operator::new(Some("secret"), folder.path()).unwrap();
        assert!(operator.knows("secret") && !operator.knows("secre") && !operator.knows("secret "));
        assert!(!folder.path().join(FILE).exists());
    }
}
