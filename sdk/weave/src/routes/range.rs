//! `Range` of a request for data (spec 03 §4.6).

/// What part of the data is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Bytes from the first up to and without the second number.
    Some(u64, u64),
    /// Nothing that exists.
    Unsatisfiable,
    /// The header makes no sense.
    Malformed,
}

/// Reads a `Range` header for data of `size` bytes. The last byte may lie beyond the end. Other units than bytes, and
/// several ranges at once, are answered with the whole.
pub fn part(header: &str, size: u64) -> Part {
    let Some(ranges) = header.trim().strip_prefix("bytes=") else { return Part::Whole };
    if ranges.contains(',') {
        return Part::Whole;
    }
    let Some((first, last)) = ranges.split_once('-') else { return Part::Malformed };
    let number = |text: &str| {
        let text = text.trim();
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Digits that do not fit are just very large.
        plain.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (first.trim(), last.trim()) {
        ("", last) => match number(last) {
            Some(0) => Part::Unsatisfiable,
            Some(_) if size == 0 => Part::Unsatisfiable,
            Some(count) => Part::Some(size.saturating_sub(count), size),
            None => Part::Malformed,
        },
        (first, last) => {
            let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            match (number(first), last) {
                (Some(first), Some(last)) if first > last => Part::Malformed,
                (Some(first), Some(_)) if first >= size => Part::Unsatisfiable,
                (Some(first), Some(last)) => Part::Some(first, last.saturating_add(1).min(size)),
                _ => Part::Malformed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_at_the_end_of_the_data() {
        for (header, expected) in [
            ("bytes=0-0", Part::Some(0, 1)),
            ("bytes=2-4", Part::Some(2, 5)),
            ("bytes=0-10", Part::Some(0, 10)),
            ("bytes=9-99999999999999999999999", Part::Some(9, 10)),
            ("bytes=3-", Part::Some(3, 10)),
            ("bytes=-4", Part::Some(6, 10)),
            ("bytes=-40", Part::Some(0, 10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=10-11", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=5-4", Part::Malformed),
            ("bytes=a-b", Part::Malformed),
            ("bytes=5", Part::Malformed),
            ("bytes=-", Part::Malformed),
            ("bytes=+1-2", Part::Malformed),
            ("bytes=0-1,3-4", Part::Whole),
            ("items=0-1", Part::Whole),
        ] {
            assert_eq!(part(header, 10), expected, "{header}");
        }
        assert_eq!(part("bytes=0-0", 0), Part::Unsatisfiable);
    }
}
