//! Where the database is and how it is spoken to.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use zeroize::Zeroizing;

use crate::outbox::OutboxError;

/// Schema of the tables when nothing else is said.
pub const DEFAULT_SCHEMA: &str = "holon_messenger";
/// Time after which a messenger that is not heard of is believed dead, when nothing else is said.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(10);
/// Shortest such time.
pub const MIN_LEASE: Duration = Duration::from_millis(500);
/// Connections for commits and reads when nothing else is said.
pub const DEFAULT_CONNECTIONS: usize = 12;
/// Longest name of a schema, in bytes.
const MAX_SCHEMA_BYTES: usize = 63;

/// Where the database is and how it is spoken to.
#[derive(Clone)]
pub struct PostgresOptions {
    /// Connection string: `postgresql://user:password@host/database?sslmode=require`, or `host=… user=…`. Without `sslmode`
    /// TLS is required, except to this machine.
    pub url: Zeroizing<String>,
    /// Schema of the tables: messengers with the same one share the work.
    pub schema: String,
    /// PEM file with the certificates that the server's must descend from; `None`: those this machine trusts.
    pub certificates: Option<PathBuf>,
    /// Time after which a messenger that is not heard of is believed dead.
    pub lease: Duration,
    /// Connections for commits and reads; one more listens.
    pub connections: usize,
}

impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("schema", &self.schema)
            .field("certificates", &self.certificates)
            .field("lease", &self.lease)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// The defaults for this connection string.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Zeroizing::new(url.into()),
            schema: DEFAULT_SCHEMA.into(),
            certificates: None,
            lease: DEFAULT_LEASE,
            connections: DEFAULT_CONNECTIONS,
        }
    }

    /// The parsed connection string.
    ///
    /// # Errors
    /// When it, or the schema's name, cannot be used. The text never shows the password.
    pub fn config(&self) -> Result<Config, OutboxError> {
        let mut config: Config = self.url.parse().map_err(|error: tokio_postgres::Error| {
            let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            OutboxError::Setup(format!("the connection string cannot be read: {reason}"))
        })?;
        let schema = &self.schema;
        let name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if schema.is_empty() || schema.len() > MAX_SCHEMA_BYTES || !schema.bytes().all(name) {
            return Err(OutboxError::Setup(format!(
                "{schema:?} is no name of a schema here: 1 to {MAX_SCHEMA_BYTES} of a to z, 0 to 9 and _ are needed"
            )));
        }
        let here = config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => {
                name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
            #[cfg(unix)]
            Host::Unix(_) => true,
        });
        if !self.names_ssl_mode() {
            config.ssl_mode(if here { SslMode::Disable } else { SslMode::Require });
        }
        if config.get_application_name().is_none() {
            config.application_name("holon-mu");
        }
        Ok(config)
    }

    fn names_ssl_mode(&self) -> bool {
        self.url.contains("sslmode=") || self.url.contains("sslmode =")
    }

    /// The database as it may stand in a log.
    pub fn shown(&self) -> String {
        let Ok(config) = self.config() else { return "a database".into() };
        let hosts: Vec<_> = config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                #[cfg(unix)]
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        format!("{}/{} ({})", hosts.join(","), config.get_dbname().unwrap_or_default(), self.schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> SslMode {
        PostgresOptions::new(url).config().unwrap().get_ssl_mode()
    }

    #[test]
    fn connections_leave_this_machine_encrypted_unless_the_string_says_otherwise() {
        assert_eq!(mode("postgresql://me:secret@db.example.org/mu"), SslMode::Require);
        assert_eq!(mode("host=10.0.0.3,127.0.0.1 user=me"), SslMode::Require);
        assert_eq!(mode("postgresql://me@db.example.org/mu?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgresql://me@127.0.0.1:6000/mu"), SslMode::Disable);
        assert_eq!(mode("host=/run/postgresql user=me"), SslMode::Disable);
        assert_eq!(mode("host=localhost sslmode=require user=me"), SslMode::Require);
    }

    #[test]
    fn no_text_shows_the_password() {
        let options = PostgresOptions::new("postgresql://me:sesame@db.example.org/mu");
        let broken = PostgresOptions::new("postgresql://me:sesame@db.example.org:port/mu?sesame=");
        for text in [
            format!("{options:?}"),
            options.shown(),
            broken.shown(),
            format!("{broken:?}"),
            broken.config().unwrap_err().to_string(),
        ] {
            assert!(!text.contains("sesame@") && !text.contains(":sesame"), "{text}");
        }
        assert_eq!(options.shown(), "db.example.org/mu (holon_messenger)");
    }

    #[test]
    fn a_schema_is_a_plain_name() {
        for bad in ["", "a b", "\"", "Upper", &"x".repeat(64)] {
            let options = PostgresOptions { schema: bad.to_owned(), ..PostgresOptions::new("host=/tmp user=me") };
            assert!(matches!(options.config(), Err(OutboxError::Setup(_))), "{bad:?}");
        }
    }
}
