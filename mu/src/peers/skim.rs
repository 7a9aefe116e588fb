//! Finds where to continue after a result that is too large to be read: looks through a page of cron results as it arrives
//! and keeps nothing but the cursor.

/// Longest cursor that is read, in bytes.
const MAX_CURSOR_BYTES: usize = 4 * 1024;
/// How deep the fields of an edge are: in the page, its list of edges, and the edge.
const EDGE_DEPTH: u64 = 3;

/// Reads a page of JSON until the cursor of its first edge.
#[derive(Debug, Default)]
pub struct Skim {
    depth: u64,
    inside_text: bool,
    escaped: bool,
    /// The newest text among the fields of an edge, with its quotes.
    text: Vec<u8>,
    /// Whether the text that comes is the cursor.
    wanted: bool,
}

impl Skim {
    /// Reads on; the cursor, once it was there.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<String> {
        for byte in bytes {
            if self.inside_text {
                if self.depth == EDGE_DEPTH && self.text.len() < MAX_CURSOR_BYTES {
                    self.text.push(*byte);
                }
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.inside_text = false;
                        if self.depth == EDGE_DEPTH
                            && self.wanted
                            && let Ok(cursor) = serde_json::from_slice(&self.text)
                        {
                            return Some(cursor);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => {
                    self.inside_text = true;
                    if self.depth == EDGE_DEPTH {
                        self.text.clear();
                        self.text.push(b'"');
                    }
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b':' if self.depth == EDGE_DEPTH => self.wanted = self.text == b"\"cursor\"",
                b',' if self.depth == EDGE_DEPTH => self.wanted = false,
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Skim;

    #[test]
    fn the_cursor_is_found_wherever_it_stands_and_however_the_page_arrives() {
        let node =
            r#"{"Messages":[{"cursor":"not this"}],"Output":"\"cursor\":\"nor this\" }]\\","cursor":"nor this"}"#;
        for page in [
            format!(r#"{{"pageInfo":{{"hasNextPage":true}},"edges":[{{"node":{node},"cursor":"a\"b="}}]}}"#),
            format!(r#"{{ "edges" : [ {{ "cursor" : "a\"b=" , "node" : {node} }} ] }}"#),
        ] {
            for size in [1, 2, 7, 1_000] {
                let mut skim = Skim::default();
                let found = page.as_bytes().chunks(size).find_map(|chunk| skim.feed(chunk));
                assert_eq!(found.as_deref(), Some("a\"b="), "{page} in parts of {size}");
            }
        }
        for page in [r#"{"edges":[]}"#, r#"{"cursor":"x","edges":[{"node":{"cursor":"y"}}]}"#, "]]]", ""] {
            assert_eq!(Skim::default().feed(page.as_bytes()), None, "{page}");
        }
    }

    #[test]
    fn a_cursor_without_end_takes_no_memory() {
        let mut skim = Skim::default();
        assert_eq!(skim.feed(br#"{"edges":[{"cursor":""#), None);
        for _ in 0..1_000 {
            assert_eq!(skim.feed(&[b'x'; 1_024]), None);
        }
        assert_eq!(skim.feed(b"\"}]}"), None);
        assert!(skim.text.capacity() <= 2 * super::MAX_CURSOR_BYTES);
    }
}
