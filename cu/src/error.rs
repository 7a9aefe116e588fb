//! What can go wrong between a request and its answer, and which HTTP status says so (spec 05 §10).
//!
//! An error *inside* an evaluation is none of these: it is a result with `Error`.

use actix_web::http::StatusCode;
use holon_protocol::{MessageId, ModuleId, Nonce, ProcessId};
use holon_unit::ApiError;

use crate::cron::CronError;
use crate::given_up::Parked;
use crate::log::{LogError, SlotError};

/// A request that cannot be answered. Clones go to all who wait for the same evaluation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Parameters or body are wrong; several reasons are joined with ` | `.
    #[error("{0}")]
    Parameters(String),
    /// The body is larger than allowed.
    #[error("request body is larger than {limit_bytes} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// The process is not served here.
    #[error("Access denied for process {0}")]
    ProcessDenied(ProcessId),
    /// Processes of this owner are not served here.
    #[error("Access denied for process owner {0}")]
    OwnerDenied(String),
    /// A tag that every process has is missing or different.
    #[error("Tag '{name}': {reason}")]
    ProcessTag {
        /// The tag.
        name: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// `Memory-Limit` is missing, zero or too large.
    #[error("Memory-Limit for process \"{0}\" exceeds supported limit")]
    MemoryLimit(ProcessId),
    /// `Compute-Limit` is missing, zero or too large.
    #[error("Compute-Limit for process \"{0}\" exceeds supported limit")]
    ComputeLimit(ProcessId),
    /// The module's tags ask for something this unit cannot do.
    #[error("{what} for module \"{module}\" {verb} not supported")]
    Unsupported {
        /// `Module-Format`, `Input-Encoding`, `Output-Encoding` or `Module Extensions`.
        what: &'static str,
        /// The module.
        module: ModuleId,
        /// `is` or `are`.
        verb: &'static str,
    },
    /// The module does not exist or its code cannot be used.
    #[error("module \"{module}\": {reason}")]
    Module {
        /// The module.
        module: ModuleId,
        /// What is wrong.
        reason: String,
    },
    /// The module is still being compiled.
    #[error(
        "module \"{module}\" has been compiled for more than {patience:?} and is not ready. Please try again later."
    )]
    Compiling {
        /// The module.
        module: ModuleId,
        /// How long was waited for it.
        patience: std::time::Duration,
    },
    /// The id of a message is that of another process.
    #[error("{asked} is a process, not a message of process {process}")]
    OtherProcess {
        /// The id that was asked for.
        asked: MessageId,
        /// The process that was named.
        process: ProcessId,
    },
    /// No scheduler can be found for the process.
    #[error("scheduler of process {process} cannot be found: {reason}")]
    Locate {
        /// The process.
        process: ProcessId,
        /// Why.
        reason: String,
    },
    /// The scheduler answered with an error.
    #[error("Error Encountered when loading {what} from Scheduler Unit: {status}: {body}")]
    Scheduler {
        /// What was asked for.
        what: &'static str,
        /// Its status.
        status: u16,
        /// Its body, cut.
        body: String,
    },
    /// The scheduler cannot be reached or says something unreadable.
    #[error("Error Encountered when loading {what} from Scheduler Unit: {reason}")]
    SchedulerUnreadable {
        /// What was asked for.
        what: &'static str,
        /// What happened.
        reason: String,
    },
    /// The log is not what a log must be.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A slot of the log cannot be used.
    #[error(transparent)]
    Slot(Box<SlotError>),
    /// The gateway cannot give something that is needed.
    #[error("gateway: {0}")]
    Gateway(String),
    /// The process's cron tags are malformed.
    #[error(transparent)]
    Cron(#[from] CronError),
    /// The evaluation could not be carried out, through no fault of the message; nothing was recorded.
    #[error("evaluation abandoned: {0}")]
    Host(String),
    /// The operator's limits, or data that cannot be had, keep the process from going on; nothing was recorded.
    #[error("{0}")]
    Parked(Box<Parked>),
    /// The result store failed.
    #[error("result store: {0}")]
    Store(String),
    /// The message is not in the log of this process.
    #[error("message {message} is not in the log of process {process}")]
    NotInLog {
        /// The id asked for.
        message: String,
        /// The process.
        process: ProcessId,
    },
    /// The log ends before this slot.
    #[error("slot {slot} of process {process} cannot be reached: {}", last_slot(*last))]
    NoSlot {
        /// The process.
        process: ProcessId,
        /// The slot asked for.
        slot: Nonce,
        /// The last slot there is.
        last: Option<Nonce>,
    },
    /// The process is still catching up (spec 05 §7.3).
    #[error(
        "Nonce limit exceeded: process {process} is currently hydrating with >{limit} nonces remaining ({remaining} \
         remaining). Please try again later."
    )]
    Hydrating {
        /// The process.
        process: ProcessId,
        /// The limit.
        limit: u64,
        /// Messages still to evaluate.
        remaining: u64,
    },
    /// Too many requests wait for this process.
    #[error("{limit} requests wait for process {process} already. Please try again later.")]
    Mailbox {
        /// The process.
        process: ProcessId,
        /// The limit.
        limit: usize,
    },
    /// The result store was found damaged during an evaluation, which begins again with the next request.
    #[error("the result store was replaced while process {0} was being evaluated. Please try again.")]
    Replaced(ProcessId),
    /// As much of this is going on as may.
    #[error("{what}: {limit} at the same time are allowed. Please try again later.")]
    Busy {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Too many dry runs wait.
    #[error("Dry-Run enqueue limit exceeded")]
    DryRunQueue,
    /// The client has made too many dry runs.
    #[error("Rate limit exceeded")]
    RateLimit,
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
}

impl Error {
    /// Whether the same request may succeed later without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Slot(error) => error.fault.is_transient(),
            Self::Locate { .. }
            | Self::Scheduler { .. }
            | Self::SchedulerUnreadable { .. }
            | Self::Gateway(_)
            | Self::Host(_)
            | Self::Parked(_)
            | Self::Compiling { .. }
            | Self::Hydrating { .. }
            | Self::Mailbox { .. }
            | Self::Replaced(_)
            | Self::Busy { .. }
            | Self::DryRunQueue
            | Self::RateLimit
            | Self::Stopping => true,
            Self::Parameters(_)
            | Self::BodyTooLarge { .. }
            | Self::ProcessDenied(_)
            | Self::OwnerDenied(_)
            | Self::ProcessTag { .. }
            | Self::MemoryLimit(_)
            | Self::ComputeLimit(_)
            | Self::Unsupported { .. }
            | Self::Module { .. }
            | Self::Log(_)
            | Self::Cron(_)
            | Self::Store(_)
            | Self::NotInLog { .. }
            | Self::OtherProcess { .. }
            | Self::NoSlot { .. } => false,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Parameters(_) => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge { .. } | Self::MemoryLimit(_) | Self::ComputeLimit(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ProcessDenied(_) | Self::OwnerDenied(_) => StatusCode::FORBIDDEN,
            Self::Unsupported { .. } | Self::Log(_) | Self::Slot(_) => StatusCode::UNPROCESSABLE_ENTITY,
            // Spec 06 §9.4.
            Self::Parked(parked) if parked.halted => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Parked(_)
            | Self::Compiling { .. }
            | Self::Hydrating { .. }
            | Self::Mailbox { .. }
            | Self::Replaced(_)
            | Self::Busy { .. }
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoSlot { .. } | Self::OtherProcess { .. } => StatusCode::NOT_FOUND,
            Self::DryRunQueue | Self::RateLimit => StatusCode::TOO_MANY_REQUESTS,
            Self::ProcessTag { .. }
            | Self::Module { .. }
            | Self::Locate { .. }
            | Self::Scheduler { .. }
            | Self::SchedulerUnreadable { .. }
            | Self::Gateway(_)
            | Self::Cron(_)
            | Self::Host(_)
            | Self::Store(_)
            | Self::NotInLog { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<SlotError> for Error {
    fn from(error: SlotError) -> Self {
        Self::Slot(Box::new(error))
    }
}

fn last_slot(last: Option<Nonce>) -> String {
    last.map_or_else(|| "its log is empty".into(), |last| format!("its log ends with slot {last}"))
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        ApiError::new(error.status(), error.to_string())
    }
}

/// The service cannot start or stop.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The data folder cannot be used.
    #[error("cannot use {path}: {source}")]
    DataDir {
        /// The folder.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The result store cannot be opened, not even empty.
    #[error("cannot open the result store: {0}")]
    Store(String),
    /// The Wasm engine cannot be made.
    #[error("cannot start the Wasm engine: {0}")]
    Engine(String),
    /// The gateway client cannot be made.
    #[error("cannot use the gateway: {0}")]
    Gateway(String),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The HTTP server failed.
    #[error(transparent)]
    Server(#[from] holon_unit::server::ServerError),
}
