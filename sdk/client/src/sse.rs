//! Reading server-sent events from bytes as they come (WHATWG HTML, "Server-sent events").

use crate::http::MAX_ANSWER_BYTES;

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) event: String,
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// An event is larger than anything that is read from a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// What has come and is not an event yet.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    line: Vec<u8>,
    /// The last byte ended a line with CR: an LF right after it belongs to the same end.
    ended: bool,
    message: Message,
    data: bool,
}

impl Reader {
    /// Takes bytes in; the events that they complete are added to `events`.
    pub(crate) fn read(&mut self, bytes: &[u8], events: &mut Vec<Message>) -> Result<(), TooLarge> {
        for &byte in bytes {
            let ended = std::mem::replace(&mut self.ended, byte == b'\r');
            match byte {
                b'\n' if ended => {}
                b'\n' | b'\r' => self.end_line(events),
                byte => {
                    if self.line.len() + self.message.data.len() >= MAX_ANSWER_BYTES {
                        return Err(TooLarge);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<Message>) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            if std::mem::take(&mut self.data) {
                events.push(message);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.message.event = value.to_owned(),
            "id" => self.message.id = Some(value.to_owned()),
            "data" => {
                if std::mem::replace(&mut self.data, true) {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
            }
            // Comments, `retry`, and what nobody knows.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> Vec<Message> {
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        for piece in pieces {
            reader.read(piece, &mut events).unwrap();
        }
        events
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let text = "retry: 1000\n\n: hello\n\nevent: a\r\nid: 1\r\ndata: x\r\ndata:y\r\ndata\r\n\r\nid: 2\n\nevent: b\rdata: {\"z\": \"ä\"}\r\r"
            .as_bytes();
        let message = |event: &str, id: Option<&str>, data: &str| Message {
            event: event.into(),
            id: id.map(str::to_owned),
            data: data.into(),
        };
        let wanted = [message("a", Some("1"), "x\ny\n"), message("b", None, "{\"z\": \"ä\"}")];
        assert_eq!(all(&[text]), wanted);
        for cut in 0..text.len() {
            let (one, two) = text.split_at(cut);
            assert_eq!(all(&[one, two]), wanted, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(all(&bytes), wanted);
    }

    #[test]
    fn an_event_that_does_not_end_is_not_kept_for_ever() {
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        let chunk = vec![b'a'; MAX_ANSWER_BYTES / 4];
        for _ in 0..4 {
            reader.read(&chunk, &mut events).unwrap();
        }
        assert_eq!(reader.read(b"a", &mut events), Err(TooLarge));
    }
}
