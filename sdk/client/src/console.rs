//! Evaluating code in processes that have a console (`aos`), and showing results as that console does (spec 07 §5.3).

use bytes::Bytes;
use holon_protocol::result::EvaluationResult;
use holon_protocol::{MessageId, ProcessId, Signer};
use serde_json::Value;

use crate::error::Error;
use crate::evaluation::plain;
use crate::network::Network;

/// What an evaluated piece of code gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// The `Eval` message.
    pub message: MessageId,
    /// Its whole result.
    pub result: EvaluationResult,
}

impl Network {
    /// Sends `code` as an `Eval` message and waits for its result. Processes only take it from their owner.
    pub async fn eval(&self, process: ProcessId, code: impl Into<Bytes>, signer: &Signer) -> Result<Evaluated, Error> {
        let message = self.message(process).action("Eval").data(code).send(signer).await?;
        let result = self.result(process, message).await?;
        Ok(Evaluated { message, result })
    }
}

/// The error that a process reported; `None` if it did not.
pub fn error(result: &EvaluationResult) -> Option<String> {
    match result.error.as_ref()? {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) if text.is_empty() => None,
        Value::Object(exception) => match exception.get("message").map(plain) {
            Some(text) if !text.is_empty() => Some(text),
            _ => Some(Value::Object(exception.clone()).to_string()),
        },
        error => Some(plain(error)),
    }
}

/// What a console prints: `Output.data.output`, else `Output.data`, else `Output`; empty when there is nothing.
pub fn output(result: &EvaluationResult) -> String {
    let data = result.output.get("data");
    match data.and_then(|data| data.get("output")).or(data) {
        Some(shown) => plain(shown),
        // An object without `data` (a prompt, say) is not for people.
        None if result.output.is_object() => String::new(),
        None => plain(&result.output),
    }
}

/// The prompt that the process wants shown next.
pub fn prompt(result: &EvaluationResult) -> Option<String> {
    let output = &result.output;
    output.pointer("/data/prompt").or_else(|| output.get("prompt")).map(plain).filter(|prompt| !prompt.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with_output(output: Value) -> EvaluationResult {
        EvaluationResult { output, ..EvaluationResult::default() }
    }

    #[test]
    fn the_innermost_output_is_shown() {
        for (given, shown) in [
            (json!({"data": {"output": "2", "prompt": "p> "}}), "2"),
            (json!({"data": "2", "print": true}), "2"),
            (json!({"data": {"json": 1}}), r#"{"json":1}"#),
            (json!("2"), "2"),
            (json!({"prompt": "p> "}), ""),
            (json!([1, 2]), "[1,2]"),
            (json!(""), ""),
            (Value::Null, ""),
        ] {
            assert_eq!(output(&with_output(given.clone())), shown, "{given}");
        }
    }

    #[test]
    fn prompts_are_found_in_both_places() {
        assert_eq!(prompt(&with_output(json!({"data": {"prompt": "a> "}}))).as_deref(), Some("a> "));
        assert_eq!(prompt(&with_output(json!({"prompt": "b> "}))).as_deref(), Some("b> "));
        assert_eq!(prompt(&with_output(json!("text"))), None);
    }

    #[test]
    fn only_truthy_errors_are_errors() {
        let with_error = |value: Value| EvaluationResult { error: Some(value), ..EvaluationResult::default() };
        assert_eq!(error(&EvaluationResult::default()), None);
        for quiet in [json!(null), json!(""), json!(false)] {
            assert_eq!(error(&with_error(quiet)), None);
        }
        assert_eq!(error(&with_error(json!("bad"))).as_deref(), Some("bad"));
        assert_eq!(error(&with_error(json!({"name": "RuntimeError", "message": "trap"}))).as_deref(), Some("trap"));
    }
}
