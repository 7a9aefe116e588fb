//! The few kinds of JSON that units speak, as schemas of OpenAPI 3.1 (JSON Schema 2020-12).

use serde_json::{Map, Value, json};

/// Text.
pub fn text() -> Value {
    json!({ "type": "string" })
}

/// An id or address: 32 bytes as base64url without padding.
pub fn id() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{43}$" })
}

/// A whole number.
pub fn number() -> Value {
    json!({ "type": "integer" })
}

/// A whole number within bounds, with what it is when it is not given.
pub fn number_in(least: u64, most: u64, default: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most, "default": default })
}

/// A whole number written as text.
pub fn digits() -> Value {
    json!({ "type": "string", "pattern": "^-?[0-9]+$" })
}

/// True or false.
pub fn truth() -> Value {
    json!({ "type": "boolean" })
}

/// One of these texts.
pub fn one_of<const N: usize>(texts: [&str; N]) -> Value {
    json!({ "type": "string", "enum": texts.as_slice() })
}

/// Anything.
pub fn anything() -> Value {
    json!({})
}

/// A list.
pub fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

/// One of these.
pub fn any_of<const N: usize>(schemas: [Value; N]) -> Value {
    json!({ "anyOf": schemas.as_slice() })
}

/// That, or null.
pub fn or_null(schema: Value) -> Value {
    any_of([schema, json!({ "type": "null" })])
}

/// An object with these fields; a name that ends with `?` may be absent. There may be others.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).filter(|name| !name.ends_with('?')).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|(name, schema)| (name.trim_end_matches('?').to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// Tags: names and values in order.
pub fn tags() -> Value {
    list(object([("name", text()), ("value", text())]))
}

/// A page of a listing: edges of nodes and cursors.
pub fn page(node: Value) -> Value {
    object([
        ("pageInfo", object([("hasNextPage", truth())])),
        ("edges", list(object([("node", node), ("cursor", text())]))),
    ])
}

/// Why a value is not what a schema says; `None` when it is. For tests, and for the keywords that are used here only.
pub fn mismatch(schema: &Value, value: &Value) -> Option<String> {
    let wrong = |what: String| Some(format!("{what}: {}", excerpt(value)));
    if let Some(choices) = schema["anyOf"].as_array() {
        let all = choices.iter().map(|choice| mismatch(choice, value)).collect::<Option<Vec<_>>>()?;
        return Some(all.join("; or "));
    }
    match schema["type"].as_str() {
        None => None,
        Some("null") if value.is_null() => None,
        Some("boolean") if value.is_boolean() => None,
        Some("integer") if value.is_i64() || value.is_u64() => None,
        Some("string") => {
            let Some(text) = value.as_str() else { return wrong("no text".into()) };
            if schema["enum"].as_array().is_some_and(|choices| !choices.contains(value)) {
                return wrong("none of the texts".into());
            }
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            match schema["pattern"].as_str() {
                Some(pattern) if pattern.contains("{43}") && (text.len() != 43 || !plain(text)) => {
                    wrong("no id".into())
                }
                Some(pattern) if pattern.ends_with("[0-9]+$") && text.parse::<i128>().is_err() => {
                    wrong("no digits".into())
                }
                _ => None,
            }
        }
        Some("array") => {
            let Some(items) = value.as_array() else { return wrong("no list".into()) };
            items.iter().find_map(|item| mismatch(&schema["items"], item))
        }
        Some("object") => {
            let Some(fields) = value.as_object() else { return wrong("no object".into()) };
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            for name in required {
                if !fields.contains_key(name) {
                    return wrong(format!("no field {name}"));
                }
            }
            let known = schema["properties"].as_object().into_iter().flatten();
            known
                .filter_map(|(name, schema)| Some((name, schema, fields.get(name)?)))
                .find_map(|(name, schema, value)| mismatch(schema, value).map(|reason| format!("{name}: {reason}")))
        }
        Some(kind) => wrong(format!("no {kind}")),
    }
}

fn excerpt(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_of_another_kind_is_told_with_its_place() {
        let schema = object([("edges", list(object([("nonce", number()), ("note?", text())])))]);
        assert_eq!(mismatch(&schema, &json!({ "edges": [{ "nonce": 1 }, { "nonce": 2, "note": "x" }] })), None);
        assert!(mismatch(&schema, &json!({ "edges": [{}] })).unwrap().starts_with("edges: no field nonce"));
        assert!(mismatch(&schema, &json!({ "edges": [{ "nonce": "1" }] })).unwrap().contains("nonce: no integer"));
        assert!(mismatch(&schema, &json!({ "edges": [{ "nonce": 1, "note": 2 }] })).unwrap().contains("no text"));
        assert!(mismatch(&schema, &json!([])).unwrap().starts_with("no object"));
    }

    #[test]
    fn ids_digits_and_choices_are_looked_at() {
        assert_eq!(mismatch(&id(), &json!("A".repeat(43))), None);
        assert!(mismatch(&id(), &json!("A".repeat(42))).is_some());
        assert!(mismatch(&id(), &json!("+".repeat(43))).is_some());
        assert_eq!(mismatch(&digits(), &json!("-12")), None);
        assert!(mismatch(&digits(), &json!("1.5")).is_some());
        assert!(mismatch(&one_of(["a", "b"]), &json!("c")).is_some());
        assert_eq!(mismatch(&or_null(id()), &Value::Null), None);
        assert!(mismatch(&or_null(id()), &json!(1)).unwrap().contains("; or "));
    }
}
