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

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ApiError;

/// File of the token in the data folder.
pub const FILE: &str = "operator-token";
/// Random bytes of a token that is made here.
const TOKEN_BYTES: usize = 32;
/// Fewest characters of a token in the file: less was cut off.
const LEAST_CHARACTERS: usize = 20;

/// A token as it is configured. It is not shown where configuration is, and wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// The token itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl std::str::FromStr for Token {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Knows the token.
#[derive(Debug)]
pub struct Operator {
    digest: [u8; 32],
    /// Where it can be read, if it was not configured.
    file: Option<PathBuf>,
}

impl Operator {
    /// The operator who has the token `configured`, else the one in the data folder `folder`.
    ///
    /// # Errors
    /// The file cannot be read or made; with its path.
    pub fn new(configured: Option<&str>, folder: &Path) -> Result<Self, (PathBuf, io::Error)> {
        if let Some(token) = configured {
            return Ok(Self { digest: Sha256::digest(token).into(), file: None });
        }
        let path = folder.join(FILE);
        let token = kept(&path).map_err(|error| (path.clone(), error))?;
        Ok(Self { digest: Sha256::digest(token.as_bytes()).into(), file: Some(path) })
    }

    /// Lets a request pass that shows the token: `Authorization: Bearer <token>`.
    ///
    /// # Errors
    /// 401 for every other, which says where the token is found.
    pub fn authorize(&self, request: &HttpRequest) -> Result<(), ApiError> {
        let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = shown.and_then(|value| value.split_once(' ')).unwrap_or_default();
        // Names of schemes are the same in capitals and small letters (RFC 9110 §11.1).
        if scheme.eq_ignore_ascii_case("bearer") && self.knows(token.trim()) {
            return Ok(());
        }
        Err(ApiError::new(StatusCode::UNAUTHORIZED, format!("the operator's token is needed: {self}")))
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
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let token = Zeroizing::new(token);
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
        assert_eq!(token.trim().len(), 2 * TOKEN_BYTES);
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

    #[test]
    fn only_requests_that_show_the_token_pass() {
        use actix_web::test::TestRequest;

        let folder = tempfile::tempdir().unwrap();
        let operator = Operator::new(Some("secret"), folder.path()).unwrap();
        let shows = |header: &str| {
            let request = TestRequest::default().insert_header((AUTHORIZATION, header)).to_http_request();
            operator.authorize(&request)
        };
        for header in ["Bearer secret", "bearer secret", "BEARER  secret"] {
            assert!(shows(header).is_ok(), "{header:?}");
        }
        for header in ["Bearer wrong", "secret", "Bearer", "", "Basic secret"] {
            assert_eq!(shows(header).unwrap_err().status(), StatusCode::UNAUTHORIZED, "{header:?}");
        }
        assert!(operator.authorize(&TestRequest::default().to_http_request()).is_err());
    }
}
