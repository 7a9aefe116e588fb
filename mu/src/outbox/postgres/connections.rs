//! A few connections that all requests share: each request goes to the one with the fewest under way, which is made anew
//! when it has broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row};

use super::tls::Tls;
use crate::outbox::OutboxError;

/// Longest time a connection takes to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time the database takes to answer one request, after which it is as if it were gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// As long may the database work on a request at most, so that it is over when nobody waits any more.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(25);

/// A value of a request with its type.
pub type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The connections.
pub struct Connections {
    config: Config,
    tls: Tls,
    schema: String,
    slots: Vec<Slot>,
    /// For what must not wait behind anything else.
    apart: Slot,
}

#[derive(Default)]
struct Slot {
    client: Mutex<Option<Arc<Client>>>,
    under_way: AtomicUsize,
}

/// Counts a request while it is under way.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a request that was sent came to.
pub fn failure(error: &tokio_postgres::Error) -> OutboxError {
    use tokio_postgres::error::SqlState;
    let Some(database) = error.as_db_error() else { return OutboxError::Unsure(text(error)) };
    let code = database.code();
    match code.code() {
        "HM001" => return OutboxError::Lost,
        "HM002" => return OutboxError::Claimed,
        _ => {}
    }
    let away = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::QUERY_CANCELED,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::LOCK_NOT_AVAILABLE,
    ];
    // Classes of what passes: connections, resources.
    match away.contains(code) || ["08", "53"].iter().any(|class| code.code().starts_with(class)) {
        true => OutboxError::Away(text(error)),
        false => OutboxError::Store(text(error)),
    }
}

/// The error and what it comes from, without what was sent.
pub fn text(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(database), _) => format!("{} ({})", database.message(), database.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

impl Connections {
    /// None is made yet.
    pub fn new(config: Config, tls: Tls, schema: String, most: usize) -> Self {
        let slots = std::iter::repeat_with(Slot::default).take(most.max(1)).collect();
        Self { config, tls, schema, slots, apart: Slot::default() }
    }

    /// A connection of its own, and what drives it.
    ///
    /// # Errors
    /// [`OutboxError::Away`] when the database is not there, [`OutboxError::Setup`] when it refuses us.
    pub async fn connect(
        &self,
    ) -> Result<
        (Client, tokio_postgres::Connection<tokio_postgres::Socket, super::tls::Stream<tokio_postgres::Socket>>),
        OutboxError,
    > {
        let connecting = self.config.connect(self.tls.clone());
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => Err(match error.as_db_error() {
                // Password, user, database: nothing that passes.
                Some(refusal) if ["28", "3D", "42"].iter().any(|class| refusal.code().code().starts_with(class)) => {
                    OutboxError::Setup(text(&error))
                }
                _ => OutboxError::Away(text(&error)),
            }),
            Err(_) => Err(OutboxError::Away(format!("no connection within {CONNECT_TIMEOUT:?}"))),
        }
    }

    /// Makes a connection see the tables.
    pub async fn prepare(&self, client: &Client) -> Result<(), OutboxError> {
        let (schema, limit) = (&self.schema, STATEMENT_TIMEOUT.as_millis());
        let settings = format!("SET search_path TO \"{schema}\"; SET statement_timeout TO {limit}");
        client.batch_execute(&settings).await.map_err(|error| OutboxError::Away(text(&error)))
    }

    async fn client(&self, slot: &Slot) -> Result<Arc<Client>, OutboxError> {
        let mut held = slot.client.lock().await;
        if let Some(client) = held.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        *held = None;
        let (client, connection) = self.connect().await?;
        // Ends when the client is dropped, or the connection broken.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(error = text(&error), "a connection to the outbox database broke");
            }
        });
        self.prepare(&client).await?;
        let client = Arc::new(client);
        *held = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Rows of one statement, which is a transaction of its own.
    ///
    /// # Errors
    /// [`OutboxError::Unsure`] when it is not known whether the statement was carried out.
    pub async fn query(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, OutboxError> {
        let Some(slot) = self.slots.iter().min_by_key(|slot| slot.under_way.load(Ordering::Relaxed)) else {
            return Err(OutboxError::Setup("there are no connections".into()));
        };
        self.ask(slot, sql, parameters).await
    }

    /// The same on a connection of its own, behind nothing that takes long.
    ///
    /// # Errors
    /// As of [`Self::query`].
    pub async fn query_apart(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, OutboxError> {
        self.ask(&self.apart, sql, parameters).await
    }

    async fn ask(&self, slot: &Slot, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, OutboxError> {
        slot.under_way.fetch_add(1, Ordering::Relaxed);
        let _under_way = UnderWay(&slot.under_way);
        let client = self.client(slot).await?;
        match tokio::time::timeout(ANSWER_TIMEOUT, client.query_typed(sql, parameters)).await {
            Ok(rows) => rows.map_err(|error| failure(&error)),
            Err(_) => {
                // Nobody knows what became of what was sent on it.
                *slot.client.lock().await = None;
                Err(OutboxError::Unsure(format!("no answer within {ANSWER_TIMEOUT:?}")))
            }
        }
    }
}
