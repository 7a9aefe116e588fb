//! How tags are put together, exactly as the official client does it (spec 07 §3.1), so that a process cannot tell the
//! two apart except by the `SDK` tag.
//!
//! Tags before the first `Data-Protocol` tag are *free*; from `Data-Protocol: ao` up to another protocol they belong to
//! *ao*. The caller's own `Type` and `Variant` in the ao part give way to ours; free ones stay where they are.

use holon_protocol::{Tag, Tags};

/// Value of the `SDK` tag of everything this client signs.
pub const SDK: &str = "holon";
/// `Variant` unless the caller says otherwise.
pub const VARIANT: &str = "ao.TN.1";

/// The tags of a message.
pub fn message(caller: Tags, without_data: bool) -> Tags {
    assemble(caller, without_data, "Message", &[], &["Variant", "Type"])
}

/// The tags of a process; `own` are `Module`, `Scheduler` and `Timestamp`.
pub fn process(caller: Tags, without_data: bool, own: &[Tag]) -> Tags {
    assemble(caller, without_data, "Process", own, &["Variant", "Type", "Module", "Scheduler"])
}

fn assemble(caller: Tags, without_data: bool, kind: &str, own: &[Tag], replaced: &[&str]) -> Tags {
    let variant = caller.get_ignore_case("variant").unwrap_or(VARIANT).to_owned();

    let is_protocol = |tag: &Tag| tag.name == "Data-Protocol";
    let is_ao = |tag: &Tag| is_protocol(tag) && tag.value == "ao";
    let tags = caller.0;
    let free_end = tags.iter().position(is_protocol).unwrap_or(tags.len());
    let ao_start = tags.iter().position(is_ao).unwrap_or(tags.len());
    let ao_end = (ao_start..tags.len())
        .find(|&at| tags.get(at).is_some_and(|tag| is_protocol(tag) && !is_ao(tag)))
        .unwrap_or(tags.len());

    let (mut free, mut between, mut ao, mut after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (at, tag) in tags.into_iter().enumerate() {
        match at {
            _ if at < free_end => free.push(tag),
            _ if at < ao_start => between.push(tag),
            _ if at < ao_end => {
                if !replaced.contains(&tag.name.as_str()) {
                    ao.push(tag);
                }
            }
            _ => after.push(tag),
        }
    }

    if without_data {
        free.push(Tag::new("Content-Type", "text/plain"));
    }
    free.push(Tag::new("SDK", SDK));

    let ours = [Tag::new("Variant", variant), Tag::new("Type", kind)].into_iter().chain(own.iter().cloned());
    match ao.len() {
        // A part of nothing but its head disappears, and a new one closes the list.
        0 | 1 => {
            after.push(Tag::new("Data-Protocol", "ao"));
            after.extend(ours);
            ao.clear();
        }
        _ => ao.extend(ours),
    }
    free.into_iter().chain(between).chain(ao).chain(after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(tags: &Tags) -> Vec<(&str, &str)> {
        tags.iter().map(|tag| (tag.name.as_str(), tag.value.as_str())).collect()
    }

    #[test]
    fn a_plain_message_gets_sdk_and_ao_tags_behind_its_own() {
        let tags = message([("Action", "Eval")].into_iter().collect(), false);
        let expected =
            [("Action", "Eval"), ("SDK", SDK), ("Data-Protocol", "ao"), ("Variant", "ao.TN.1"), ("Type", "Message")];
        assert_eq!(pairs(&tags), expected);
    }

    #[test]
    fn missing_data_adds_a_content_type_before_the_sdk() {
        let tags = message([("Action", "Eval")].into_iter().collect(), true);
        assert_eq!(pairs(&tags)[..3], [("Action", "Eval"), ("Content-Type", "text/plain"), ("SDK", SDK)]);
    }

    #[test]
    fn free_type_and_variant_stay_and_the_first_variant_of_any_case_is_used() {
        let caller = [("Type", "Mine"), ("variant", "ao.X"), ("Variant", "ao.Y")];
        let tags = message(caller.into_iter().collect(), false);
        assert_eq!(pairs(&tags)[..3], caller);
        assert_eq!(pairs(&tags)[5..], [("Variant", "ao.X"), ("Type", "Message")]);
    }

    #[test]
    fn the_callers_ao_part_is_kept_and_completed() {
        let caller = [
            ("Data-Protocol", "ao"),
            ("Type", "Process"),
            ("Extra", "1"),
            ("Data-Protocol", "other"),
            ("Type", "Kept"),
        ];
        let tags = message(caller.into_iter().collect(), false);
        let expected = [
            ("SDK", SDK),
            ("Data-Protocol", "ao"),
            ("Extra", "1"),
            ("Variant", "ao.TN.1"),
            ("Type", "Message"),
            ("Data-Protocol", "other"),
            ("Type", "Kept"),
        ];
        assert_eq!(pairs(&tags), expected);
    }

    #[test]
    fn an_ao_part_of_nothing_but_its_head_moves_to_the_end() {
        let caller = [("Data-Protocol", "ao"), ("Variant", "ao.Z"), ("Data-Protocol", "other"), ("A", "1")];
        let tags = message(caller.into_iter().collect(), false);
        let expected = [
            ("SDK", SDK),
            ("Data-Protocol", "other"),
            ("A", "1"),
            ("Data-Protocol", "ao"),
            ("Variant", "ao.Z"),
            ("Type", "Message"),
        ];
        assert_eq!(pairs(&tags), expected);
    }

    #[test]
    fn a_process_gets_module_scheduler_and_timestamp_last() {
        let own = [Tag::new("Module", "M"), Tag::new("Scheduler", "S"), Tag::new("Timestamp", "1")];
        let tags = process([("Name", "n")].into_iter().collect(), false, &own);
        let expected = [
            ("Name", "n"),
            ("SDK", SDK),
            ("Data-Protocol", "ao"),
            ("Variant", "ao.TN.1"),
            ("Type", "Process"),
            ("Module", "M"),
            ("Scheduler", "S"),
            ("Timestamp", "1"),
        ];
        assert_eq!(pairs(&tags), expected);
    }
}
