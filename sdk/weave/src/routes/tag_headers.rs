//! Tags of a process as response headers, where one reader looks for them (spec 03 §6.4).

use actix_web::http::header::{HeaderName, HeaderValue};
use holon_protocol::Tags;

/// Longest tag value shown, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// Names that would change what the answer itself means.
const RESERVED: [&str; 30] = [
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "host",
    "date",
    "location",
    "set-cookie",
    "status",
    "server",
    "vary",
    "cache-control",
    "accept-ranges",
    "content-range",
    "etag",
    "www-authenticate",
    "refresh",
    "content-md5",
    "content-disposition",
    "last-modified",
    "expires",
    "age",
    "clear-site-data",
    "strict-transport-security",
    "alt-svc",
];

/// Beginnings of names that are reserved as a whole.
const RESERVED_BEGINNINGS: [&str; 3] = ["access-control-", "proxy-", "x-"];

/// One header for each tag that can be one; nothing for items that are no processes.
pub fn of(tags: &Tags) -> Vec<(HeaderName, HeaderValue)> {
    if !tags.contains("Type", "Process") {
        return Vec::new();
    }
    tags.iter().filter_map(|tag| header(&tag.name, &tag.value)).collect()
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = name.to_ascii_lowercase();
    let reserved = RESERVED.contains(&name.as_str()) || RESERVED_BEGINNINGS.iter().any(|start| name.starts_with(start));
    if reserved || value.len() > MAX_VALUE_BYTES {
        return None;
    }
    // Latin-1 is the one extension of ASCII that headers carry, one byte a character.
    let bytes: Vec<u8> = value.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<_>>()?;
    if bytes.iter().any(|byte| byte.is_ascii_control() || (0x80..0xa0).contains(byte)) {
        return None;
    }
    Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(&bytes).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_what_can_be_a_header_becomes_one() {
        let long = "x".repeat(MAX_VALUE_BYTES + 1);
        let tags: Tags = [
            ("Type", "Process"),
            ("Name", "my process"),
            ("Name", "again"),
            ("Café", "x"),
            ("With Space", "x"),
            ("", "x"),
            ("Emoji", "🙂"),
            ("Latin", "é"),
            ("Control", "a\nb"),
            ("Content-Length", "5"),
            ("X-Custom", "x"),
            ("Access-Control-Allow-Origin", "x"),
            ("Proxy-Authenticate", "x"),
            ("Proxy-Anything", "x"),
            ("WWW-Authenticate", "x"),
            ("Refresh", "0; url=http://x"),
            ("Content-MD5", "x"),
            ("Content-Disposition", "attachment"),
            ("Last-Modified", "x"),
            ("Expires", "x"),
            ("Age", "1"),
            ("Clear-Site-Data", "x"),
            ("Strict-Transport-Security", "x"),
            ("Alt-Svc", "x"),
            ("Long", &long),
        ]
        .into_iter()
        .collect();
        let names: Vec<_> = of(&tags).iter().map(|(name, _)| name.as_str().to_owned()).collect();
        assert_eq!(names, ["type", "name", "name", "latin"]);
        assert!(of(&[("Type", "Message")].into_iter().collect()).is_empty());
    }
}
