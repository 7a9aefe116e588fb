//! Whether a piece of Lua is whole, or Enter should begin another line.
//!
//! Only what decides that is read: brackets, blocks, strings and comments. Everything else is for the process to judge.

/// Whether nothing that was opened is still open.
pub fn is_whole(code: &str) -> bool {
    let mut reader = Reader { rest: code, open_blocks: 0, open_brackets: 0 };
    while !reader.rest.is_empty() {
        if !reader.token() {
            return false;
        }
    }
    reader.open_blocks <= 0 && reader.open_brackets <= 0
}

struct Reader<'a> {
    rest: &'a str,
    open_blocks: i64,
    open_brackets: i64,
}

impl Reader<'_> {
    /// Reads a token; `false` if it does not end.
    fn token(&mut self) -> bool {
        if let Some(comment) = self.rest.strip_prefix("--") {
            self.rest = comment;
            if long_bracket(comment).is_some() {
                return self.long_string();
            }
            self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
            return true;
        }
        if long_bracket(self.rest).is_some() {
            return self.long_string();
        }
        let Some(first) = self.rest.chars().next() else { return true };
        match first {
            '"' | '\'' => return self.short_string(first),
            '(' | '[' | '{' => self.open_brackets += 1,
            ')' | ']' | '}' => self.open_brackets -= 1,
            letter if letter == '_' || letter.is_ascii_alphanumeric() => return self.word(),
            _ => {}
        }
        self.rest = &self.rest[first.len_utf8()..];
        true
    }

    fn word(&mut self) -> bool {
        let length = self.rest.bytes().take_while(|byte| *byte == b'_' || byte.is_ascii_alphanumeric()).count();
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        match word {
            // `while` and `for` have a `do` of their own.
            "function" | "if" | "do" | "repeat" => self.open_blocks += 1,
            "end" | "until" => self.open_blocks -= 1,
            _ => {}
        }
        true
    }

    /// A string in quotes. One that ends with its line is an error for the process to tell, unless the line break is escaped.
    fn short_string(&mut self, quote: char) -> bool {
        let mut escaped = false;
        for (position, character) in self.rest.char_indices().skip(1) {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '\n' => {
                    self.rest = &self.rest[position..];
                    return true;
                }
                _ if character == quote => {
                    self.rest = &self.rest[position + character.len_utf8()..];
                    return true;
                }
                _ => {}
            }
        }
        self.rest = "";
        !escaped
    }

    /// A string or comment in long brackets.
    fn long_string(&mut self) -> bool {
        let Some(level) = long_bracket(self.rest) else { return true };
        let close = format!("]{}]", "=".repeat(level));
        match self.rest.find(&close) {
            Some(end) => {
                self.rest = &self.rest[end + close.len()..];
                true
            }
            None => {
                self.rest = "";
                false
            }
        }
    }
}

/// The level of the long bracket that a text begins with: `[[` is 0, `[==[` is 2.
fn long_bracket(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('[')?;
    let level = inner.bytes().take_while(|byte| *byte == b'=').count();
    (inner.as_bytes().get(level) == Some(&b'[')).then_some(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_code_is_whole() {
        for code in [
            "",
            "1 + 1",
            "Handlers.add('a', function (msg) print(msg.Data) end)",
            "for i = 1, 3 do print(i) end",
            "while true do break end",
            "repeat x = 1 until x == 1",
            "if a then b() elseif c then d() else e() end",
            "x = [[ function ( ]]",
            "x = [==[ ]] [[ ]==]",
            "-- function (",
            "--[[ { \n ( ]] return 1",
            "'a function (' .. \"do \\\" {\"",
            "function_name = endless",
            "'never closed",
            "t[t2[1]]",
            "end end )))",
            "\"élan — 世界\"",
        ] {
            assert!(is_whole(code), "{code}");
        }
    }

    #[test]
    fn what_is_open_goes_on() {
        for code in [
            "function f(a)",
            "Handlers.add('a', function (msg)",
            "Handlers.add('a', function (msg)\n  print(1)\nend",
            "for i = 1, 3 do",
            "if a then",
            "repeat",
            "x = {",
            "x = [[ text",
            "x = [==[ text ]]",
            "--[[ comment",
            "'line \\",
        ] {
            assert!(!is_whole(code), "{code}");
        }
    }
}
