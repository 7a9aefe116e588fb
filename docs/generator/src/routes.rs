//! Routes, from the descriptions that units serve as `GET /openapi.json`.

use std::fmt::Write;

use holon_unit::routes::Routes;
use serde_json::{Map, Value};

use crate::cell;

/// A unit with what it says of its routes.
pub(crate) struct Unit {
    pub(crate) name: &'static str,
    description: Value,
}

pub(crate) fn units() -> Vec<Unit> {
    let unit = |name, routes: Routes| Unit { name, description: routes.description() };
    vec![
        unit("scheduler", holon_su::api::routes()),
        unit("messenger", holon_mu::routes()),
        unit("compute", holon_cu::routes()),
        unit("gateway", holon_weave::routes()),
    ]
}

/// Everything in a value that is an object, in order.
fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn chapter(unit: &Unit) -> String {
    let info = &unit.description["info"];
    let mut out = format!("# {}: routes\n\n{}\n\n", text(&info["title"]), text(&info["description"]));
    out.push_str("The unit serves the same as `GET /openapi.json`. How to read it: [routes](routes.md).\n");
    for (path, methods) in fields(&unit.description["paths"]) {
        let also_head = methods.get("head").is_some();
        for (method, operation) in fields(methods).filter(|(method, _)| *method != "head") {
            let head = if also_head && method == "get" { ", HEAD" } else { "" };
            let _ = write!(out, "\n## `{}{head} {path}`\n\n", method.to_uppercase());
            operation_text(&mut out, operation);
        }
    }
    out
}

fn operation_text(out: &mut String, operation: &Value) {
    let _ = write!(out, "{}.", text(&operation["summary"]).trim_end_matches('.'));
    for sentence in [text(&operation["description"])].into_iter().filter(|text| !text.is_empty()) {
        let _ = write!(out, " {sentence}");
    }
    if !operation["tags"].is_null() {
        out.push_str(" *An extension.*");
    }
    if !operation["security"].is_null() {
        out.push_str(" *For the operator, with a token.*");
    }
    out.push_str("\n\n");
    if let Some(parameters) = operation["parameters"].as_array() {
        out.push_str("| parameter | in | | |\n|---|---|---|---|\n");
        for parameter in parameters {
            let needed = if parameter["required"] == true { "" } else { "?" };
            let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
            let (kind, about) = (kind(&parameter["schema"]), text(&parameter["description"]));
            let _ = writeln!(out, "| `{name}`{needed} | {place} | {} | {} |", cell(&kind), cell(about));
        }
        out.push('\n');
    }
    let body = &operation["requestBody"];
    if !body.is_null() {
        let _ = writeln!(out, "Body: {} {}\n", text(&body["description"]), forms(&body["content"]));
    }
    out.push_str("| status | | body |\n|---|---|---|\n");
    for (status, answer) in fields(&operation["responses"]) {
        let mut about = text(&answer["description"]).to_owned();
        for (name, header) in fields(&answer["headers"]) {
            let _ = write!(about, " `{name}`: {}", text(&header["description"]));
        }
        let _ = writeln!(out, "| {status} | {} | {} |", cell(&about), cell(&forms(&answer["content"])));
    }
}

/// What a body may be.
fn forms(content: &Value) -> String {
    let form = |(media, form): (&String, &Value)| match media.as_str() {
        "application/json" => format!("`{}`", kind(&form["schema"])),
        media => media.to_owned(),
    };
    fields(content).map(form).collect::<Vec<_>>().join(" or ")
}

/// A schema in few words.
fn kind(schema: &Value) -> String {
    if let Some(choices) = schema["anyOf"].as_array() {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(choices) = schema["enum"].as_array() {
        return choices.iter().map(text).collect::<Vec<_>>().join(", ");
    }
    match schema["type"].as_str() {
        None => "any JSON".into(),
        Some("string") if text(&schema["pattern"]).contains("{43}") => "id".into(),
        Some("string") if !schema["pattern"].is_null() => "digits".into(),
        Some("string") => "text".into(),
        Some("integer") => match (&schema["minimum"], &schema["maximum"], &schema["default"]) {
            (Value::Number(least), Value::Number(most), default) => {
                format!("number from {least} to {most}, else {default}")
            }
            _ => "number".into(),
        },
        Some("boolean") => "true or false".into(),
        Some("array") => format!("[{}]", kind(&schema["items"])),
        Some("object") => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let field = |(name, schema): (&String, &Value)| {
                let needed = if required.contains(&Value::String(name.clone())) { "" } else { "?" };
                format!("{name}{needed}: {}", kind(schema))
            };
            format!("{{{}}}", fields(&schema["properties"]).map(field).collect::<Vec<_>>().join(", "))
        }
        Some(other) => other.into(),
    }
}
