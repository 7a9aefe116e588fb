//! From the text a module returned to an outcome (spec 06 §3.2, spec 05 §5.7).

use serde_json::{Map, Value};

use super::{Outcome, Response, json};

/// The output of a message that ran out of buffer: it counts as a result, but the state stays (spec 05 §5.7).
const EXHAUSTED: &str = "not enough memory for buffer allocation";

/// The outcome, and whether the new memory is kept.
pub(super) fn read(text: &str) -> (Outcome, bool) {
    let mut answer = match json::parse(text) {
        Ok(Value::Object(answer)) => answer,
        // Anything else has no `ok`, so it is a failure without a value.
        Ok(_) => return (Outcome::Thrown(Value::String("the module's answer is not an object".to_owned())), false),
        Err(error) => return (Outcome::Thrown(Value::String(error.to_string())), false),
    };
    let ok = answer.get("ok").is_some_and(json::truthy);
    let response = answer.shift_remove("response");
    if !ok {
        let reason = response.filter(json::truthy);
        let reason = reason.unwrap_or_else(|| Value::String("the module failed without a reason".to_owned()));
        return (Outcome::Thrown(reason), false);
    }
    let mut fields = match response {
        Some(Value::Object(fields)) => fields,
        // Values other than null have no fields in JavaScript either.
        Some(Value::Array(_) | Value::String(_) | Value::Number(_) | Value::Bool(_)) => Map::new(),
        Some(Value::Null) | None => {
            return (Outcome::Thrown(Value::String("the module's answer has no response".to_owned())), false);
        }
    };
    let mut list = |name: &str| match fields.shift_remove(name) {
        Some(Value::Array(values)) => Some(values),
        _ => None,
    };
    let (messages, spawns, assignments) = (list("Messages"), list("Spawns"), list("Assignments"));
    let response = Response {
        messages,
        spawns,
        assignments,
        output: fields.shift_remove("Output"),
        error: fields.shift_remove("Error"),
    };
    if response.error.as_ref().is_some_and(json::truthy) {
        return (Outcome::Error(response), false);
    }
    let keep = !exhausted(response.output.as_ref());
    (Outcome::Ok(response), keep)
}

fn exhausted(output: Option<&Value>) -> bool {
    let text = match output {
        Some(Value::String(text)) => Some(text.as_str()),
        Some(output) => output.get("data").and_then(|data| data.get("output")).and_then(Value::as_str),
        None => None,
    };
    text.is_some_and(|text| text.ends_with(EXHAUSTED))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_counts_when_it_is_truthy() {
        for (error, failed) in
            [("null", false), ("0", false), ("\"\"", false), ("false", false), ("{}", true), ("\"x\"", true)]
        {
            let (outcome, keep) = read(&format!(r#"{{"ok":true,"response":{{"Error":{error},"Messages":[1]}}}}"#));
            assert_eq!(matches!(outcome, Outcome::Error(_)), failed, "{error}");
            assert_eq!(keep, !failed, "{error}");
        }
    }

    #[test]
    fn fields_of_another_type_are_absent() {
        let (outcome, keep) = read(r#"{"ok":1,"response":{"Messages":{},"Spawns":[],"Output":[]}}"#);
        let expected = Response { spawns: Some(vec![]), output: Some(json!([])), ..Response::default() };
        assert_eq!((outcome, keep), (Outcome::Ok(expected), true));
    }

    #[test]
    fn an_exhausted_buffer_is_a_result_that_changes_nothing() {
        for output in [
            r#""x: not enough memory for buffer allocation""#,
            r#"{"data":{"output":"not enough memory for buffer allocation"}}"#,
        ] {
            let (outcome, keep) = read(&format!(r#"{{"ok":true,"response":{{"Output":{output}}}}}"#));
            assert!(matches!(outcome, Outcome::Ok(_)) && !keep);
        }
    }

    #[test]
    fn what_is_not_an_answer_is_thrown() {
        for text in ["", "5", "null", "{}", r#"{"ok":true}"#, r#"{"ok":true,"response":null}"#, r#"{"ok":false}"#] {
            let (outcome, keep) = read(text);
            assert!(matches!(outcome, Outcome::Thrown(Value::String(_))) && !keep, "{text}");
        }
        let (outcome, _) = read(r#"{"ok":false,"response":"bad"}"#);
        assert_eq!(outcome, Outcome::Thrown(json!("bad")));
    }
}
