//! Time as modules see it: a counter instead of a clock, and UTC everywhere (spec 06 §4.3).

use wasmtime::{Caller, Linker};

use super::{
    Ended,
    access::{Access, OutOfRange, split},
    pointer::Pointer,
};
use crate::machine::{format::Generation, host::Host};

const SECONDS_PER_DAY: i64 = 86_400;
/// Largest distance from 1970 that JavaScript's dates reach, in seconds.
const MAX_SECONDS: i64 = 8_640_000_000_000;

/// Fields of `struct tm` that both directions use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Fields {
    second: i64,
    minute: i64,
    hour: i64,
    day: i64,
    /// From 0.
    month: i64,
    /// The full year.
    year: i64,
    weekday: i64,
    /// From 0.
    day_of_year: i64,
}

pub(super) fn link<P: Pointer>(linker: &mut Linker<Host>, generation: Generation) -> wasmtime::Result<()> {
    linker.func_wrap("env", "_emscripten_get_now_is_monotonic", || 1_i32)?;
    if generation <= Generation::Second {
        return link_older(linker);
    }
    let now = |mut caller: Caller<'_, Host>| caller.data_mut().emscripten.date.tick() as f64;
    linker.func_wrap("env", "emscripten_date_now", now)?;
    linker.func_wrap("env", "emscripten_get_now", now)?;
    let zone_name: &'static [u8] = if generation == Generation::Third { b"Coordi\0" } else { b"UTC\0" };
    linker.func_wrap(
        "env",
        "_tzset_js",
        move |mut caller: Caller<'_, Host>, zone: P, daylight: P, standard_name: P, daylight_name: P| {
            let (memory, _) = split(&mut caller)?;
            memory.store_size::<P>(zone.address(), 0)?;
            memory.store_i32(daylight.address(), 0)?;
            memory.store(standard_name.address(), zone_name)?;
            memory.store(daylight_name.address(), zone_name)?;
            wasmtime::Result::Ok(())
        },
    )?;
    for (name, local) in [("_gmtime_js", false), ("_localtime_js", true)] {
        if P::wide() {
            linker.func_wrap("env", name, move |caller: Caller<'_, Host>, time: i64, tm: i64| {
                break_down::<P>(caller, time, tm as u64, local)
            })?;
        } else {
            linker.func_wrap("env", name, move |caller: Caller<'_, Host>, low: i32, high: i32, tm: i32| {
                let time = i64::from(high) << 32 | i64::from(low as u32);
                break_down::<P>(caller, time, u64::from(tm as u32), local)
            })?;
        }
    }
    linker.func_wrap("env", "_mktime_js", |mut caller: Caller<'_, Host>, tm: P| -> wasmtime::Result<P> {
        let (memory, host) = split(&mut caller)?;
        let time = make(memory, tm.address(), true)?.unwrap_or(-1);
        if !P::wide() {
            let upper = (time >> 32) as i32;
            host.emscripten.temporary = upper;
            if let Some(set_temp) = P::exports(caller.data()).and_then(|exports| exports.set_temp) {
                set_temp.call(&mut caller, upper)?;
            }
        }
        Ok(P::from_address(time as u64))
    })?;
    Ok(())
}

/// Time of the first two generations: it stands still, and has 32 bits.
fn link_older(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "_emscripten_date_now", || 0_f64)?;
    linker.func_wrap("env", "emscripten_get_now", || f64::NAN)?;
    for (name, local) in [("_gmtime_js", false), ("_localtime_js", true)] {
        linker.func_wrap("env", name, move |mut caller: Caller<'_, Host>, time: i32, tm: i32| {
            let time = split(&mut caller)?.0.load_i32(time.address())?;
            break_down::<i32>(caller, i64::from(time), tm.address(), local)
        })?;
    }
    linker.func_wrap("env", "_mktime_js", |mut caller: Caller<'_, Host>, tm: i32| -> wasmtime::Result<i32> {
        let (memory, _) = split(&mut caller)?;
        Ok(make(memory, tm.address(), false)?.unwrap_or(0) as i32)
    })?;
    linker.func_wrap("env", "_tzset_js", tell_zone)?;
    Ok(())
}

/// Puts the names of the zone onto the guest's heap, once.
fn tell_zone(mut caller: Caller<'_, Host>, zone: i32, daylight: i32, names: i32) -> wasmtime::Result<()> {
    const NAME: &[u8] = b"Coordinated Universal Time\0";
    let (memory, host) = split(&mut caller)?;
    if std::mem::replace(&mut host.emscripten.zone_told, true) {
        return Ok(());
    }
    memory.store_i32(zone.address(), 0)?;
    memory.store_i32(daylight.address(), 0)?;
    let malloc = i32::exports(caller.data()).and_then(|exports| exports.malloc);
    let malloc = malloc.ok_or(Ended::Aborted("Aborted(the module exports no malloc)"))?;
    // Standard time's name is allocated first, and told second where both are the same.
    for place in [4, 0] {
        let at = malloc.call(&mut caller, NAME.len() as i32)?;
        let (memory, _) = split(&mut caller)?;
        memory.store(at.address(), NAME)?;
        memory.store_i32(names.address() + place, at)?;
    }
    Ok(())
}

fn break_down<P: Pointer>(mut caller: Caller<'_, Host>, time: i64, tm: u64, local: bool) -> wasmtime::Result<()> {
    let (memory, _) = split(&mut caller)?;
    let fields = fields(time);
    write(memory, tm, &fields, true)?;
    if local {
        memory.store_i32(tm.saturating_add(32), 0)?;
        if P::wide() {
            memory.store_i64(tm.saturating_add(40), 0)?;
        } else {
            memory.store_i32(tm.saturating_add(36), 0)?;
        }
    }
    Ok(())
}

fn write(memory: &mut [u8], tm: u64, fields: &Option<Fields>, with_year: bool) -> Result<(), OutOfRange> {
    // Out of range is JavaScript's invalid date: every field becomes 0.
    let year = fields.map_or(0, |fields| fields.year - 1900);
    let fields = fields.unwrap_or_default();
    let values =
        [fields.second, fields.minute, fields.hour, fields.day, fields.month, year, fields.weekday, fields.day_of_year];
    const YEAR: usize = 5;
    for (index, value) in values.into_iter().enumerate().filter(|(index, _)| with_year || *index != YEAR) {
        memory.store_i32(tm.saturating_add(4 * index as u64), value as i32)?;
    }
    Ok(())
}

/// Local fields, which are UTC, to seconds, if they are a time at all; writes back what normalising them gave.
fn make(memory: &mut [u8], tm: u64, with_year: bool) -> Result<Option<i64>, OutOfRange> {
    let field = |index: u64| memory.load_i32(tm.saturating_add(4 * index)).map(i64::from);
    let mut year = field(5)? + 1900;
    // JavaScript reads two-digit years as those of the last century.
    if (0..=99).contains(&year) {
        year += 1900;
    }
    let month = field(4)?;
    let days = days_before(year + month.div_euclid(12), month.rem_euclid(12)) + field(3)? - 1;
    let time = days * SECONDS_PER_DAY + field(2)? * 3600 + field(1)? * 60 + field(0)?;
    if field(8)? < 0 {
        memory.store_i32(tm.saturating_add(32), 0)?;
    }
    let normal = fields(time);
    write(memory, tm, &normal, with_year)?;
    Ok(normal.map(|_| time))
}

fn fields(time: i64) -> Option<Fields> {
    if !(-MAX_SECONDS..=MAX_SECONDS).contains(&time) {
        return None;
    }
    let days = time.div_euclid(SECONDS_PER_DAY);
    let second = time.rem_euclid(SECONDS_PER_DAY);
    let (year, day_of_year) = year_of(days);
    let month = (0..12).rev().find(|month| days_before(year, *month) <= days).unwrap_or(0);
    Some(Fields {
        second: second % 60,
        minute: second / 60 % 60,
        hour: second / 3600,
        day: days - days_before(year, month) + 1,
        month,
        year,
        weekday: (days + 4).rem_euclid(7),
        day_of_year,
    })
}

/// The year in which a day lies, counted from 1970-01-01, and its number in the year, from 0.
pub(super) fn year_of(days: i64) -> (i64, i64) {
    // A first guess by the average year is off by one at most.
    let mut year = 1970 + (days * 400).div_euclid(146_097);
    while days_before(year, 0) > days {
        year -= 1;
    }
    while days_before(year + 1, 0) <= days {
        year += 1;
    }
    (year, days - days_before(year, 0))
}

/// Days from 1970-01-01 to the first of a month (0–11).
pub(super) fn days_before(year: i64, month: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let past = year - 1;
    let leap_days = past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400);
    let to_year = past * 365 + leap_days - (1969 * 365 + 477);
    let month = month.clamp(0, 11) as usize;
    to_year + BEFORE[month] + i64::from(month > 1 && is_leap(year))
}

pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tm(values: [i32; 9]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn seconds_break_down_into_utc() {
        let at = |time| {
            let f = fields(time).unwrap();
            (f.year, f.month, f.day, f.hour, f.minute, f.second, f.weekday, f.day_of_year)
        };
        assert_eq!(at(0), (1970, 0, 1, 0, 0, 0, 4, 0));
        assert_eq!(at(-1), (1969, 11, 31, 23, 59, 59, 3, 364));
        assert_eq!(at(951_782_400), (2000, 1, 29, 0, 0, 0, 2, 59));
        assert_eq!(at(1_700_000_000), (2023, 10, 14, 22, 13, 20, 2, 317));
        assert_eq!(at(MAX_SECONDS), (275_760, 8, 13, 0, 0, 0, 6, 256));
        assert_eq!(at(-MAX_SECONDS), (-271_821, 3, 20, 0, 0, 0, 2, 109));
        assert_eq!(fields(MAX_SECONDS + 1), None);
    }

    #[test]
    fn fields_normalise_into_seconds() {
        // 2021, month 14 (March 2022), day 0 (the last of February).
        let mut memory = tm([61, 59, 23, 0, 14, 121, 0, 0, -1]);
        let time = make(&mut memory, 0, true).unwrap().unwrap();
        assert_eq!(time, 1_646_092_801);
        assert_eq!(memory, tm([1, 0, 0, 1, 2, 122, 2, 59, 0]));
    }

    #[test]
    fn two_digit_years_are_of_the_last_century_and_too_large_ones_are_invalid() {
        let mut memory = tm([0, 0, 0, 1, 0, 70 - 1900, 0, 0, 0]);
        assert_eq!(make(&mut memory, 0, true).unwrap(), Some(0));
        let mut memory = tm([0, 0, 0, 1, 0, i32::MAX, 0, 0, 0]);
        assert_eq!(make(&mut memory, 0, true).unwrap(), None);
        assert!(make(&mut [0; 8], 0, true).is_err());
    }
}
