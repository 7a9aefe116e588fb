//! Times as people read them, in UTC.

use holon_protocol::Timestamp;

const SECOND_MS: u64 = 1000;
const DAY_SECONDS: u64 = 24 * 60 * 60;
/// Days from the first of March of the year 0 to 1970.
const DAYS_TO_1970: u64 = 719_468;
/// Days in 400 years, after which the calendar repeats.
const ERA_DAYS: u64 = 146_097;

/// `2026-11-22 15:33:26Z`.
pub fn date_and_time(at: Timestamp) -> String {
    let (year, month, day) = date(at.0 / SECOND_MS / DAY_SECONDS);
    format!("{year:04}-{month:02}-{day:02} {}Z", time(at))
}

/// `15:33:26`.
pub fn time(at: Timestamp) -> String {
    let seconds = at.0 / SECOND_MS % DAY_SECONDS;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day of a number of days since 1970. The year begins in March here, so that leap days come last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(DAYS_TO_1970);
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_709_251_199_999, "2024-02-29 23:59:59Z"),
            (1_709_251_200_000, "2024-03-01 00:00:00Z"),
            (1_795_361_606_123, "2026-11-22 15:33:26Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(date_and_time(Timestamp(ms)), text);
        }
        // Anybody can write any timestamp.
        date_and_time(Timestamp(u64::MAX));
    }
}
