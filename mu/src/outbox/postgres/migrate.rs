//! Brings the tables to the format of this program when it starts.

use tokio_postgres::Client;

use super::connections::text;
use crate::outbox::{OutboxError, SHARES};

/// What makes each format out of the one before. What has landed is not changed any more: databases have run it.
const FORMATS: [&str; 7] = [
    include_str!("schema.sql"),
    include_str!("format-2.sql"),
    include_str!("format-3.sql"),
    include_str!("format-4.sql"),
    include_str!("format-5.sql"),
    include_str!("format-6.sql"),
    include_str!("format-7.sql"),
];
/// The newest of them.
const SUPPORTED: &str = "7";

fn failed(error: tokio_postgres::Error) -> OutboxError {
    match error.as_db_error() {
        Some(_) => OutboxError::Setup(text(&error)),
        None => OutboxError::Away(text(&error)),
    }
}

/// Makes the schema and its tables, or brings them to the format of this program. Messengers that start at the same time
/// do it one after the other.
///
/// # Errors
/// When a later program has brought them to a format that this one does not know, or the user may not make tables.
pub async fn migrate(client: &mut Client, schema: &str) -> Result<(), OutboxError> {
    let transaction = client.transaction().await.map_err(failed)?;
    let alone = format!(
        "SELECT pg_advisory_xact_lock(hashtext('holon messenger migration'), hashtext('{schema}'));
         CREATE SCHEMA IF NOT EXISTS \"{schema}\";
         SET LOCAL search_path TO \"{schema}\";
         CREATE TABLE IF NOT EXISTS format (number integer NOT NULL)"
    );
    transaction.batch_execute(&alone).await.map_err(failed)?;
    let found = transaction.query_typed("SELECT max(number) FROM format", &[]).await.map_err(failed)?;
    let found: Option<i32> = found.first().and_then(|row| row.get(0));
    let done = usize::try_from(found.unwrap_or(0)).unwrap_or(usize::MAX);
    if done > FORMATS.len() {
        return Err(OutboxError::Format { found: done.to_string(), supported: SUPPORTED });
    }
    if (1..FORMATS.len()).contains(&done) {
        // Messengers may be at work on them. In the order in which they change them, so that none waits for us while we wait
        // for it; shares are also read by who has changed tasks.
        let lock = "LOCK TABLE share IN EXCLUSIVE MODE;
            LOCK TABLE task, process, boot, monitor IN ACCESS EXCLUSIVE MODE";
        transaction.batch_execute(lock).await.map_err(failed)?;
    }
    for (step, sql) in FORMATS.iter().enumerate().skip(done) {
        let number = step + 1;
        tracing::info!(schema, format = number, "bringing the outbox database to this format");
        transaction.batch_execute(sql).await.map_err(failed)?;
        let shares = format!(
            "INSERT INTO share (id) SELECT generate_series(0, {SHARES} - 1) ON CONFLICT DO NOTHING;
             INSERT INTO format (number) VALUES ({number})"
        );
        transaction.batch_execute(&shares).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}
