//! What the text of a GraphQL query tells before it is parsed. The parser and the library's checks recurse into nested
//! values and expand fragments, so texts that would exhaust the stack or the processor are refused here.

use std::iter::Peekable;
use std::str::Chars;

/// Most open brackets (`(`, `[`, `{`) at once.
pub const MAX_NESTING: usize = 64;
/// Most fragment spreads. They multiply when fragments spread each other; the usual introspection has 8.
pub const MAX_SPREADS: usize = 16;
/// Most occurrences of the name `fields`, which in introspection leads from types to types; the usual query has one.
pub const MAX_SCHEMA_STEPS: usize = 2;

/// Why a text is not even parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Too many brackets within each other.
    #[error("more than {MAX_NESTING} brackets are within each other")]
    Nesting,
    /// Too many spreads.
    #[error("it has more than {MAX_SPREADS} fragment spreads")]
    Spreads,
    /// Introspection that walks in circles.
    #[error("it asks for the fields of types more than {MAX_SCHEMA_STEPS} times")]
    SchemaSteps,
}

/// Checks a query's text. Strings and comments do not count.
pub fn check(text: &str) -> Result<(), Excess> {
    let (mut depth, mut dots, mut schema_steps) = (0_usize, 0, 0);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '.' => dots += 1,
            '#' => while chars.next_if(|&char| char != '\n' && char != '\r').is_some() {},
            '"' => skip_string(&mut chars),
            _ if is_name(char) => schema_steps += usize::from(is_fields(char, &mut chars)),
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(Excess::Nesting);
        }
        if dots > 3 * MAX_SPREADS {
            return Err(Excess::Spreads);
        }
        if schema_steps > MAX_SCHEMA_STEPS {
            return Err(Excess::SchemaSteps);
        }
    }
    Ok(())
}

fn is_name(char: char) -> bool {
    char == '_' || char.is_ascii_alphanumeric()
}

/// Takes the rest of a name.
fn is_fields(first: char, chars: &mut Peekable<Chars<'_>>) -> bool {
    let mut wanted = "ields".chars();
    let mut same = first == 'f';
    while let Some(char) = chars.next_if(|&char| is_name(char)) {
        same &= wanted.next() == Some(char);
    }
    same && wanted.next().is_none()
}

/// Takes the rest of a string. A plain one ends at the line at the latest, so that what the parser would not take for a
/// string hides nothing but its own line.
fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    if chars.next_if_eq(&'"').is_none() {
        while let Some(char) = chars.next() {
            match char {
                '\\' => drop(chars.next()),
                '"' | '\n' | '\r' => return,
                _ => {}
            }
        }
    } else if chars.next_if_eq(&'"').is_some() {
        skip_block_string(chars);
    }
}

/// Takes the rest of a block string; `\"""` does not end it.
fn skip_block_string(chars: &mut Peekable<Chars<'_>>) {
    let (mut quotes, mut escaped) = (0, false);
    for char in chars.by_ref() {
        if char != '"' {
            (quotes, escaped) = (0, char == '\\');
            continue;
        }
        quotes += 1;
        if quotes == 3 {
            if !escaped {
                return;
            }
            (quotes, escaped) = (0, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_within_each_other_only() {
        let nested = |depth: usize| format!("{{ a(b: {}{}) }}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(&nested(MAX_NESTING - 2)), Ok(()));
        assert_eq!(check(&nested(MAX_NESTING - 1)), Err(Excess::Nesting));
        assert_eq!(check(&"{}".repeat(1000)), Ok(()));
        assert_eq!(check(&format!("{}{}", "]".repeat(500), "[".repeat(65))), Err(Excess::Nesting));
    }

    #[test]
    fn strings_and_comments_do_not_count() {
        let many = "[".repeat(100);
        for quiet in [
            format!(r#"{{ a(b: "{many}") }}"#),
            format!(r#"{{ a(b: "\"{many}") }}"#),
            format!(r#"{{ a(b: """x "" \""" {many}""") }}"#),
            format!("{{ a # {many}\n }}"),
        ] {
            assert_eq!(check(&quiet), Ok(()), "{quiet}");
        }
        for loud in [
            format!(r#"{{ a(b: "", c: {many}"#),
            format!(r#"{{ a(b: "\\" {many}"#),
            format!(r#"{{ a(b: """x""" {many}"#),
            format!(r#"{{ a(b: """\"""" """ {many}"#),
            format!(r#"{{ a(b: """\\""" """ {many}"#),
            format!("{{ a # x\n {many}"),
            format!("{{ a(b: \"x\n {many}"),
        ] {
            assert_eq!(check(&loud), Err(Excess::Nesting), "{loud}");
        }
    }

    #[test]
    fn what_multiplies_is_counted() {
        assert_eq!(check(&"...a ".repeat(MAX_SPREADS)), Ok(()));
        assert_eq!(check(&"...a ".repeat(MAX_SPREADS + 1)), Err(Excess::Spreads));
        assert_eq!(check(&format!("{} inputFields fieldsOf Fields", "fields ".repeat(2))), Ok(()));
        assert_eq!(check("fields{fields{fields}}"), Err(Excess::SchemaSteps));
    }
}
