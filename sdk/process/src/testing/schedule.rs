//! What a process's `Cron-Interval` and `Cron-Tag-…` tags ask for (spec 05 §9.1).

use crate::Tag;

/// One schedule of a process.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub every: Every,
    /// Tags of the messages it makes.
    pub tags: Vec<Tag<'static>>,
}

/// How often it fires, counted from the process's own second and block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Every {
    Blocks(u64),
    Seconds(u64),
}

/// The schedules in the order of the tags. An interval that no compute unit understands is a mistake in the test.
pub(super) fn schedules(tags: &[Tag<'static>]) -> Vec<Schedule> {
    let mut schedules: Vec<Schedule> = Vec::new();
    for tag in tags {
        if tag.name == "Cron-Interval" {
            let every = interval(&tag.value);
            assert!(
                every.is_some(),
                "the Cron-Interval \"{}\" is none: write for example 10-seconds or 1-block",
                tag.value
            );
            schedules.extend(every.map(|every| Schedule { every, tags: Vec::new() }));
        } else if let Some(name) = tag.name.strip_prefix("Cron-Tag-") {
            let last = schedules.last_mut();
            assert!(last.is_some(), "the tag {} stands before the first Cron-Interval", tag.name);
            if let Some(last) = last {
                last.tags.push(Tag::new(name.to_owned(), tag.value.clone()));
            }
        }
    }
    schedules
}

fn interval(text: &str) -> Option<Every> {
    let (count, unit) = text.split_once('-')?;
    let count: u64 = count.trim().parse().ok().filter(|count| *count > 0)?;
    let seconds = match unit.trim().to_ascii_lowercase().as_str() {
        "block" | "blocks" => return Some(Every::Blocks(count)),
        "ms" | "millisecond" | "milliseconds" => {
            return Some(count / 1000).filter(|seconds| *seconds > 0).map(Every::Seconds);
        }
        "second" | "seconds" => 1,
        "minute" | "minutes" => 60,
        "hour" | "hours" => 60 * 60,
        "day" | "days" => 24 * 60 * 60,
        "week" | "weeks" => 7 * 24 * 60 * 60,
        _ => return None,
    };
    count.checked_mul(seconds).map(Every::Seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_belong_to_the_interval_before_them() {
        let tags = [
            ("Name", "x"),
            ("Cron-Interval", "10-seconds"),
            ("Cron-Tag-Action", "Tick"),
            ("Cron-Interval", "2-blocks"),
            ("Cron-Tag-Action", "Block"),
            ("Cron-Tag-Loud", "yes"),
        ];
        let schedules = schedules(&tags.map(|(name, value)| Tag::new(name, value)));
        assert_eq!(schedules[0].every, Every::Seconds(10));
        assert_eq!(schedules[0].tags, [Tag::new("Action", "Tick")]);
        assert_eq!(schedules[1].every, Every::Blocks(2));
        assert_eq!(schedules[1].tags, [Tag::new("Action", "Block"), Tag::new("Loud", "yes")]);
    }

    #[test]
    fn intervals_are_those_of_compute_units() {
        for (text, every) in [
            ("1-block", Some(Every::Blocks(1))),
            ("5-Minutes", Some(Every::Seconds(300))),
            ("1500-milliseconds", Some(Every::Seconds(1))),
            ("500-milliseconds", None),
            ("0-seconds", None),
            ("1-month", None),
            ("x-seconds", None),
        ] {
            assert_eq!(interval(text), every, "{text}");
        }
    }
}
