//! How a command fails: what went wrong, what to do next, and the exit code that says it to scripts.

use std::fmt;

use holon_client::{Error, Unit};

/// What to do about an id that nobody knows.
pub const UNKNOWN: &str = "check the id, and the network (--network); `holon inspect <id>` tells what is known of it";

/// A command did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

/// Whose fault it is; each kind has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Process,
    Usage,
    Network,
}

impl Failure {
    /// The process answered with an error (exit code 1).
    pub fn process(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Process, message: plain(&message.to_string()), hint: None }
    }

    /// The command cannot work as it was given (exit code 2).
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Usage, message: message.to_string(), hint: None }
    }

    /// A unit, the network or this machine failed (exit code 3).
    pub fn network(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Network, message: message.to_string(), hint: None }
    }

    /// The command line cannot be read (exit code 2). The first paragraph is what is wrong, the rest what to do.
    pub fn command_line(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let (message, more) = text.split_once("\n\n").unwrap_or((&text, ""));
        let failure = Self::usage(message.trim().trim_start_matches("error: "));
        match more.trim() {
            "" => failure,
            more => failure.hint(more),
        }
    }

    /// Says what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Process => 1,
            Kind::Usage => 2,
            Kind::Network => 3,
        }
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do next.
    pub fn next_step(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// The error of a process as one text. Consoles write errors for a screen of their own: with colours, blank lines and a
/// heading.
pub fn plain(error: &str) -> String {
    let text = anstream::adapter::strip_str(error).to_string();
    let text = text.trim();
    text.strip_prefix("error:").unwrap_or(text).trim_start().to_owned()
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = match &error {
            Error::NotConfigured(unit) => return missing_url(*unit),
            Error::Url { .. } => return Self::usage(error),
            Error::Build(_) => return Self::usage(error),
            Error::ModuleNotFound(_) => Some("check the id, or publish the module first: holon publish <file.wasm>"),
            Error::NotAModule { .. } => Some("publish the Wasm file with `holon publish` and spawn the id it prints"),
            Error::Unreachable { .. } => Some("is it running? `holon up` starts a network on this machine"),
            Error::StillEvaluating { .. } => Some("ask again later with `holon result`"),
            Error::Refused { status: 404, message, .. } if message.contains("its log ends with slot") => {
                Some("an earlier slot has a state; what follows has not been scheduled")
            }
            Error::Locate { .. } | Error::Refused { status: 404, .. } => Some(UNKNOWN),
            Error::Refused { unit: Unit::Compute, status: 503, message } if message.contains("is parked") => {
                Some("it used up what the unit's operator allows a message; holon resume <process> has it tried again")
            }
            Error::Refused { status: 401 | 403, .. } => Some("it may want its operator's token: --operator-token"),
            Error::Refused { status: 429 | 503, .. } => Some("it has too much to do; try again in a while"),
            // Units answer so in the words of those they asked.
            Error::Refused { message, .. } if message.contains("is not known to the gateway") => Some(UNKNOWN),
            Error::Timeout { .. } => Some("what was sent may have arrived: look before you send it again"),
            Error::Redirected { .. } => Some("pass the new URL if you trust it"),
            _ => None,
        };
        let failure = Self::network(&error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// A URL is missing: which flag and variable give it.
fn missing_url(unit: Unit) -> Failure {
    let (flag, variable) = match unit {
        Unit::Messenger => ("--mu-url", "MU_URL"),
        Unit::Compute => ("--cu-url", "CU_URL"),
        Unit::Uploader => ("--uploader-url", "UPLOADER_URL"),
        Unit::Gateway | Unit::Scheduler => ("--gateway-url", "GATEWAY_URL"),
    };
    Failure::usage(format!("the URL of the {unit} is not known")).hint(format!(
        "pass {flag} or set {variable}; or name the network that the given URLs stand in for: --network local"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_written_for_a_console_becomes_one_text() {
        let failure = Failure::process("\u{1b}[90m\n\n\u{1b}[31merror:\n\u{1b}[0m[string \"aos\"]:1: boom\n");
        assert_eq!(failure.message(), "[string \"aos\"]:1: boom");
        assert_eq!(failure.exit_code(), 1);
    }

    #[test]
    fn what_a_unit_refuses_comes_with_what_to_do() {
        let refused = |status, message: &str| {
            let failure = Failure::from(Error::Refused { unit: Unit::Compute, status, message: message.into() });
            assert_eq!(failure.exit_code(), 3);
            failure.next_step().unwrap_or_default().to_owned()
        };
        assert!(refused(404, "no").contains("--network"));
        assert!(refused(500, "process x is not known to the gateway").contains("--network"));
        assert!(refused(401, "no").contains("--operator-token"));
        assert!(refused(503, "no").contains("again"));
        assert!(refused(503, "process x is parked at slot 2").contains("holon resume"));
        assert_eq!(refused(500, "broken"), "");
    }

    #[test]
    fn a_missing_url_names_flag_and_variable() {
        let failure = Failure::from(Error::NotConfigured(Unit::Messenger));
        assert_eq!(failure.exit_code(), 2);
        let hint = failure.next_step().unwrap();
        assert!(hint.contains("--mu-url") && hint.contains("MU_URL"), "{hint}");
    }
}
