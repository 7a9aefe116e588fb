//! Query strings: what is absent, what is a number, what is refused (spec 02 §1, §2.3, §7.2, §13).

use holon_protocol::{ItemId, ProcessId};
use url::form_urlencoded;

use super::answer::Failure;
use crate::reader::{Anchors, Bounds, PageRequest};

/// Page size when none is asked for.
pub const DEFAULT_LIMIT: usize = 100;
/// Largest page.
pub const MAX_LIMIT: usize = 5000;

/// Query of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadQuery {
    pub(super) process: Option<ProcessId>,
    pub(super) page: PageRequest,
}

impl ReadQuery {
    pub(super) fn parse(query: &str) -> Result<Self, Failure> {
        let fields = fields(query, &["process-id", "from", "to", "limit", "from-nonce", "to-nonce", "show-anchor"])?;
        let [process, from, to, limit, from_nonce, to_nonce, show_anchor] = fields;
        let process = present(process).map(|text| id("process-id", &text)).transpose()?;
        let limit = match present(limit) {
            None => DEFAULT_LIMIT,
            Some(text) => {
                let limit: i32 = text.parse().map_err(Failure::query)?;
                match usize::try_from(limit) {
                    Ok(limit) if limit >= 1 => limit.min(MAX_LIMIT),
                    _ => return Err(Failure::bad_request(format!("limit is {limit}; it must be at least 1"))),
                }
            }
        };
        let (from, to) = (number("from", from), number("to", to));
        let (from_nonce, to_nonce) = (number("from-nonce", from_nonce)?, number("to-nonce", to_nonce)?);
        let bounds = if from_nonce.is_some() || to_nonce.is_some() {
            Bounds::Nonce { from: from_nonce, to: to_nonce }
        } else {
            Bounds::Time { from: from?, to: to? }
        };
        let anchors = anchors_of(show_anchor.as_deref());
        Ok(Self { process, page: PageRequest { bounds, limit, anchors } })
    }
}

/// How anchors are spelled, for a route that has no other parameter and ignores what it does not know.
pub(super) fn anchors(query: &str) -> Anchors {
    anchors_of(
        form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "show-anchor")
            .as_ref()
            .map(|(_, value)| &**value),
    )
}

fn anchors_of(show_anchor: Option<&str>) -> Anchors {
    match show_anchor {
        None => Anchors::Text,
        Some("all") => Anchors::All,
        Some(_) => Anchors::Assignments,
    }
}

/// Query of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventsQuery {
    pub(super) process: Option<ProcessId>,
}

impl EventsQuery {
    pub(super) fn parse(query: &str) -> Result<Self, Failure> {
        let [process] = fields(query, &["process-id"])?;
        Ok(Self { process: present(process).map(|text| id("process-id", &text)).transpose()? })
    }
}

/// Query of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PostQuery {
    pub(super) process: Option<String>,
    pub(super) assign: Option<String>,
    pub(super) base_layer: bool,
    pub(super) exclude: Vec<String>,
}

impl PostQuery {
    pub(super) fn parse(query: &str) -> Result<Self, Failure> {
        let [process, assign, base_layer, exclude] = fields(query, &["process-id", "assign", "base-layer", "exclude"])?;
        let exclude = exclude.filter(|text| !text.is_empty());
        let exclude = exclude.map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default();
        Ok(Self { process, assign, base_layer: base_layer.is_some(), exclude })
    }
}

/// An id in a query or path.
pub(super) fn id<T: From<ItemId>>(name: &str, text: &str) -> Result<T, Failure> {
    let id: ItemId = text.parse().map_err(|error| Failure::bad_request(format!("{name}: {error}")))?;
    Ok(id.into())
}

/// The values of `names`; others are ignored, one given twice is refused.
fn fields<const N: usize>(query: &str, names: &[&'static str; N]) -> Result<[Option<String>; N], Failure> {
    let mut fields = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if let Some(index) = names.iter().position(|known| *known == name) {
            if fields[index].is_some() {
                return Err(Failure::query(format_args!("duplicate field `{name}`")));
            }
            fields[index] = Some(value.into_owned());
        }
    }
    Ok(fields)
}

/// Clients write `undefined` for what they do not have.
fn present(value: Option<String>) -> Option<String> {
    value.filter(|text| !text.is_empty() && text != "undefined")
}

fn number(name: &str, value: Option<String>) -> Result<Option<i64>, Failure> {
    let parse = |text: String| {
        text.parse().map_err(|_| Failure::bad_request(format!("{name} is {text:?}; a whole number is needed")))
    };
    present(value).map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn absent_empty_and_undefined_mean_the_same() {
        let absent = ReadQuery::parse("").unwrap();
        assert_eq!(absent.page.limit, DEFAULT_LIMIT);
        assert_eq!(absent.page.bounds, Bounds::Time { from: None, to: None });
        let written = "from=undefined&to=&limit=undefined&from-nonce=&to-nonce=undefined&process-id=undefined";
        assert_eq!(ReadQuery::parse(written).unwrap(), absent);
    }

    #[test]
    fn a_nonce_bound_makes_time_bounds_irrelevant() {
        let query = ReadQuery::parse("from=x&to=5&from-nonce=-1").unwrap();
        assert_eq!(query.page.bounds, Bounds::Nonce { from: Some(-1), to: None });
    }

    #[test]
    fn large_limits_are_capped() {
        assert_eq!(ReadQuery::parse("limit=2147483647").unwrap().page.limit, MAX_LIMIT);
    }

    #[test]
    fn anchors_are_shown_as_asked() {
        let anchors = |query: &str| ReadQuery::parse(query).unwrap().page.anchors;
        assert_eq!(anchors(""), Anchors::Text);
        assert_eq!((anchors("show-anchor"), anchors("show-anchor=1")), (Anchors::Assignments, Anchors::Assignments));
        assert_eq!(anchors("show-anchor=all"), Anchors::All);
    }

    #[test]
    fn exclusions_are_verbatim() {
        let query = PostQuery::parse("exclude=Data,%20Tags,&base-layer").unwrap();
        assert_eq!(query.exclude, ["Data", " Tags", ""]);
        assert!(query.base_layer);
        assert!(PostQuery::parse("exclude=").unwrap().exclude.is_empty());
    }

    proptest! {
        #[test]
        fn no_query_panics(query in ".*") {
            let _ = ReadQuery::parse(&query);
            let _ = PostQuery::parse(&query);
        }
    }
}
