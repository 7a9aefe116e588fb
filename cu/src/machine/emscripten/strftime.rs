//! `strftime`, which the official loader does on the host (spec 06 §4.6).

use wasmtime::{Caller, Linker};

use super::{
    Ended,
    access::{Access, OutOfRange, charge, split},
    calendar::{days_before, is_leap, year_of},
    pointer::Pointer,
};
use crate::machine::host::Host;

/// Longest pattern, in bytes. Each of its conversions grows to some twenty characters at most, or to the zone's name.
const MAX_PATTERN_BYTES: usize = 1 << 16;
/// A zone's name is cut here, in bytes.
const MAX_ZONE_BYTES: usize = 64;

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// What `struct tm` says.
struct Time {
    second: i64,
    minute: i64,
    hour: i64,
    day: i64,
    month: i64,
    year: i64,
    weekday: i64,
    day_of_year: i64,
    offset_seconds: i64,
    zone: String,
}

pub(super) fn link<P: Pointer>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "strftime",
        |mut caller: Caller<'_, Host>, buffer: P, max: P, format: P, tm: P| -> wasmtime::Result<P> {
            format_into::<P>(&mut caller, buffer, max, format, tm)
        },
    )?;
    linker.func_wrap(
        "env",
        "strftime_l",
        |mut caller: Caller<'_, Host>, buffer: P, max: P, format: P, tm: P, _locale: P| -> wasmtime::Result<P> {
            format_into::<P>(&mut caller, buffer, max, format, tm)
        },
    )?;
    Ok(())
}

fn format_into<P: Pointer>(caller: &mut Caller<'_, Host>, buffer: P, max: P, format: P, tm: P) -> wasmtime::Result<P> {
    let (memory, _) = split(caller)?;
    let pattern = memory.until_nul(format.address(), MAX_PATTERN_BYTES)?;
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(Ended::Aborted("strftime: the pattern is too long").into());
    }
    let pattern = String::from_utf8_lossy(pattern).into_owned();
    let time = Time::read::<P>(memory, tm.address())?;
    charge(caller, pattern.len() as u64)?;
    let text = time.format(&pattern).ok_or(Ended::Aborted("strftime: no such month or weekday"))?;
    charge(caller, text.len() as u64)?;
    let (memory, _) = split(caller)?;
    if text.len() as u64 + 1 > max.address() {
        return Ok(P::from_address(0));
    }
    memory.store(buffer.address(), text.as_bytes())?;
    memory.store(buffer.address() + text.len() as u64, &[0])?;
    Ok(P::from_address(text.len() as u64))
}

impl Time {
    fn read<P: Pointer>(memory: &[u8], tm: u64) -> Result<Self, OutOfRange> {
        let field = |index: u64| memory.load_i32(tm.saturating_add(4 * index)).map(i64::from);
        let (offset_seconds, zone) = if P::wide() {
            (memory.load_i64(tm.saturating_add(40))?, memory.load_size::<P>(tm.saturating_add(48))?)
        } else {
            (field(9)?, memory.load_size::<P>(tm.saturating_add(40))?)
        };
        let zone = if zone == 0 { &[] } else { memory.until_nul(zone, MAX_ZONE_BYTES)? };
        Ok(Self {
            second: field(0)?,
            minute: field(1)?,
            hour: field(2)?,
            day: field(3)?,
            month: field(4)?,
            year: field(5)? + 1900,
            weekday: field(6)?,
            day_of_year: field(7)?,
            offset_seconds,
            zone: String::from_utf8_lossy(&zone[..zone.len().min(MAX_ZONE_BYTES)]).into_owned(),
        })
    }

    fn format(&self, pattern: &str) -> Option<String> {
        let mut out = String::with_capacity(pattern.len() + 32);
        let mut rest = pattern;
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            let conversion = &rest[at + 1..];
            let mut letters = conversion.chars();
            let first = letters.next();
            // `E` and `O` change nothing, except that the loader gives `%Ec` back as `%c`.
            let (letter, used) = match (first, letters.next()) {
                (Some('E'), Some('c')) => {
                    out.push_str("%c");
                    rest = &conversion[2..];
                    continue;
                }
                (Some('E'), Some(letter @ ('C' | 'x' | 'X' | 'y' | 'Y')))
                | (
                    Some('O'),
                    Some(letter @ ('d' | 'e' | 'H' | 'I' | 'm' | 'M' | 'S' | 'u' | 'U' | 'V' | 'w' | 'W' | 'y')),
                ) => (letter, 2),
                (Some(letter), _) => (letter, letter.len_utf8()),
                (None, _) => {
                    out.push('%');
                    rest = "";
                    break;
                }
            };
            match self.convert(letter) {
                Converted::Text(text) => {
                    out.push_str(&text);
                    rest = &conversion[used..];
                }
                Converted::Unknown => {
                    out.push('%');
                    rest = conversion;
                }
                Converted::Impossible => return None,
            }
        }
        out.push_str(rest);
        Some(out)
    }

    fn convert(&self, letter: char) -> Converted {
        let two = |number: i64| format!("{number:02}");
        let name = |names: &[&'static str], index: i64, short: bool| {
            let name = usize::try_from(index).ok().and_then(|index| names.get(index))?;
            Some(if short { &name[..3] } else { name }.to_owned())
        };
        let all = |letters: &str| {
            letters.chars().try_fold(String::new(), |mut text, letter| {
                if letter.is_ascii_alphabetic() {
                    match self.convert(letter) {
                        Converted::Text(part) => text.push_str(&part),
                        _ => return None,
                    }
                } else {
                    text.push(letter);
                }
                Some(text)
            })
        };
        let text = match letter {
            'a' => name(&WEEKDAYS, self.weekday, true),
            'A' => name(&WEEKDAYS, self.weekday, false),
            'b' | 'h' => name(&MONTHS, self.month, true),
            'B' => name(&MONTHS, self.month, false),
            'c' => all("a b d H:M:S Y"),
            'C' => Some(two(self.year / 100)),
            'd' => Some(two(self.day)),
            'D' | 'x' => all("m/d/y"),
            'e' => Some(format!("{:2}", self.day)),
            'F' => all("Y-m-d"),
            'g' => Some(from_third(self.iso_week().0)),
            'G' => Some(self.iso_week().0.to_string()),
            'H' => Some(two(self.hour)),
            'I' => Some(two(match self.hour {
                0 => 12,
                hour if hour > 12 => hour - 12,
                hour => hour,
            })),
            'j' => {
                let before = days_before(self.year, self.month) - days_before(self.year, 0);
                (0..12).contains(&self.month).then(|| format!("{:03}", self.day + before))
            }
            'm' => Some(two(self.month + 1)),
            'M' => Some(two(self.minute)),
            'n' => Some("\n".to_owned()),
            'p' => Some(if (0..12).contains(&self.hour) { "AM" } else { "PM" }.to_owned()),
            'r' => all("I:M:S p"),
            'R' => all("H:M"),
            'S' => Some(two(self.second)),
            't' => Some("\t".to_owned()),
            'T' | 'X' => all("H:M:S"),
            'u' => Some(if self.weekday == 0 { 7 } else { self.weekday }.to_string()),
            'U' => Some(two((self.day_of_year + 7 - self.weekday).div_euclid(7))),
            'V' => Some(two(self.iso_week().1)),
            'w' => Some(self.weekday.to_string()),
            'W' => Some(two((self.day_of_year + 7 - (self.weekday + 6) % 7).div_euclid(7))),
            'y' => Some(from_third(self.year)),
            'Y' => Some(self.year.to_string()),
            'z' => {
                let minutes = self.offset_seconds.unsigned_abs() / 60;
                let sign = if self.offset_seconds < 0 { '-' } else { '+' };
                Some(format!("{sign}{:04}", minutes / 60 * 100 + minutes % 60))
            }
            'Z' => Some(self.zone.clone()),
            '%' => Some("%".to_owned()),
            _ => return Converted::Unknown,
        };
        text.map_or(Converted::Impossible, Converted::Text)
    }

    /// ISO 8601 year and week. Two-digit years are taken for those of the last century, as by JavaScript.
    fn iso_week(&self) -> (i64, i64) {
        let year = if (0..=99).contains(&self.year) { self.year + 1900 } else { self.year };
        let day = days_before(year, 0) + self.day_of_year;
        // The week belongs to the year of its Thursday.
        let monday = day - (day + 3).rem_euclid(7);
        let (week_year, thursday) = year_of(monday + 3);
        debug_assert!(thursday <= 365 && (thursday < 365 || is_leap(week_year)));
        (week_year, thursday / 7 + 1)
    }
}

enum Converted {
    Text(String),
    /// Not a conversion; stays as it is.
    Unknown,
    /// A field is outside its range.
    Impossible,
}

/// A number's text from its third character on.
fn from_third(number: i64) -> String {
    number.to_string().chars().skip(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(year: i64, month: i64, day: i64, weekday: i64) -> Time {
        let day_of_year = days_before(year, month) - days_before(year, 0) + day - 1;
        Time {
            second: 9,
            minute: 4,
            hour: 15,
            day,
            month,
            year,
            weekday,
            day_of_year,
            offset_seconds: 0,
            zone: "UTC".to_owned(),
        }
    }

    #[test]
    fn every_conversion_gives_its_text() {
        let time = time(2024, 1, 5, 1);
        for (pattern, text) in [
            ("%a %A %b %B %h", "Mon Monday Feb February Feb"),
            ("%c", "Mon Feb 05 15:04:09 2024"),
            ("%C %d|%e|%D %F", "20 05| 5|02/05/24 2024-02-05"),
            ("%g %G %V %U %W %j", "24 2024 06 05 06 036"),
            ("%H %I %M %S %p %r %R %T %X %x", "15 03 04 09 PM 03:04:09 PM 15:04 15:04:09 15:04:09 02/05/24"),
            ("%u%w %y %Y %z%Z%n%t%%", "11 24 2024 +0000UTC\n\t%"),
            ("%Ec %EY %Od %q %", "%c 2024 05 %q %"),
        ] {
            assert_eq!(time.format(pattern).unwrap(), text, "{pattern}");
        }
    }

    #[test]
    fn weeks_around_new_year_belong_to_the_year_of_their_thursday() {
        for (date, weekday, expected) in [
            ((2021, 0, 1), 5, "2020 53"),
            ((2019, 11, 30), 1, "2020 01"),
            ((2016, 0, 3), 0, "2015 53"),
            ((2018, 11, 31), 1, "2019 01"),
            ((2022, 0, 1), 6, "2021 52"),
        ] {
            assert_eq!(time(date.0, date.1, date.2, weekday).format("%G %V").unwrap(), expected);
        }
    }

    #[test]
    fn a_month_that_does_not_exist_has_no_name() {
        assert_eq!(time(2024, 1, 5, 9).format("%A"), None);
    }
}
