//! What is stored of an evaluation, and how it becomes the JSON of an answer (spec 05 §2.3, §2.4).

use holon_protocol::chain::HashChain;
use holon_protocol::{AssignmentId, BlockHeight, Timestamp};
use serde_json::Value;

use crate::json;
use crate::machine::{Evaluation, Outcome, Response};

/// Version of the form in which records are stored.
const VERSION: u8 = 1;

/// Where an evaluation stands: the order of evaluations of a process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Time of the message.
    pub timestamp: Timestamp,
    /// Nonce of the message, or of the one before a cron message.
    pub ordinate: u64,
    /// Cron id; none sorts before any.
    pub cron: Option<String>,
}

impl Key {
    /// Appends the bytes, which sort like the key.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.0.to_be_bytes());
        out.extend_from_slice(&self.ordinate.to_be_bytes());
        if let Some(cron) = &self.cron {
            out.push(1);
            out.extend_from_slice(cron.as_bytes());
        }
    }

    /// Reads what [`Self::write`] wrote.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (timestamp, rest) = bytes.split_first_chunk::<8>()?;
        let (ordinate, rest) = rest.split_first_chunk::<8>()?;
        let cron = match rest {
            [] => None,
            [1, cron @ ..] => Some(std::str::from_utf8(cron).ok()?.to_owned()),
            _ => return None,
        };
        Some(Self {
            timestamp: Timestamp(u64::from_be_bytes(*timestamp)),
            ordinate: u64::from_be_bytes(*ordinate),
            cron,
        })
    }
}

/// An evaluation: its result as JSON text and its coordinates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `"Messages":…,"Assignments":…,"Spawns":…`.
    lists: String,
    /// JSON text of `Output`; `None` when the process gave none.
    output: Option<String>,
    /// JSON text of `Error`.
    error: Option<String>,
    /// Gas of the message.
    gas_used: u64,
    /// Whether JavaScript takes the error for true: listings leave such results out.
    pub failed: bool,
    /// Whether listings show it: the message that starts an old process is not stored (spec 05 §5.6).
    pub listed: bool,
    /// Whether the message could not be checked against its signatures: the scheduler does not say all that they cover.
    pub unchecked: bool,
    /// Height of the message.
    pub block_height: BlockHeight,
    /// Assignment and its link, for scheduled messages.
    pub link: Option<(AssignmentId, HashChain)>,
}

impl Record {
    /// The record of an evaluation.
    pub fn new(evaluation: &Evaluation, block_height: BlockHeight, link: Option<(AssignmentId, HashChain)>) -> Self {
        let empty = Response::default();
        let (response, error) = match &evaluation.outcome {
            Outcome::Ok(response) => (response, None),
            Outcome::Error(response) => (response, response.error.as_ref()),
            Outcome::Thrown(error) => (&empty, Some(error)),
        };
        let mut lists = String::new();
        let parts = [
            ("\"Messages\":", &response.messages),
            (",\"Assignments\":", &response.assignments),
            (",\"Spawns\":", &response.spawns),
        ];
        for (name, list) in parts {
            lists.push_str(name);
            json::list(&mut lists, list.as_deref().unwrap_or_default());
        }
        let text = |value: &Value| {
            let mut out = String::new();
            json::value(&mut out, value);
            out
        };
        Self {
            lists,
            output: response.output.as_ref().map(|output| match output {
                Value::Number(_) => format!("\"{}\"", text(output)),
                output => text(output),
            }),
            error: error.map(text),
            gas_used: evaluation.gas_used,
            failed: !matches!(evaluation.outcome, Outcome::Ok(_)),
            listed: true,
            unchecked: false,
            block_height,
            link,
        }
    }

    /// The result of a message that was skipped before anything was evaluated (spec 05 §5.3).
    pub fn empty() -> Self {
        let nothing = Evaluation { outcome: Outcome::Ok(Response::default()), gas_used: 0, returned: None };
        Self::new(&nothing, BlockHeight(0), None)
    }

    /// Body of `GET /result/…` and of dry runs.
    pub fn result_json(&self) -> String {
        let mut out = String::with_capacity(self.lists.len() + 64);
        out.push('{');
        out.push_str(&self.lists);
        out.push_str(",\"Output\":");
        out.push_str(self.output.as_deref().unwrap_or("\"\""));
        out.push_str(",\"GasUsed\":");
        json::integer(&mut out, self.gas_used);
        self.finish(&mut out);
        out
    }

    /// Appends a `node` of a listing.
    pub fn write_node(&self, out: &mut String) {
        out.push('{');
        out.push_str(&self.lists);
        if let Some(output) = &self.output {
            out.push_str(",\"Output\":");
            out.push_str(output);
        }
        self.finish(out);
    }

    fn finish(&self, out: &mut String) {
        if let Some(error) = &self.error {
            out.push_str(",\"Error\":");
            out.push_str(error);
        }
        out.push('}');
    }

    /// Bytes of its texts.
    pub fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.lists.len() + text(&self.output) + text(&self.error)
    }

    /// Whether two records hold the same result.
    pub fn same_result(&self, other: &Self) -> bool {
        self.lists == other.lists
            && self.output == other.output
            && self.error == other.error
            && self.gas_used == other.gas_used
    }

    /// The stored form.
    pub fn write(&self) -> Vec<u8> {
        let texts = [Some(self.lists.as_str()), self.output.as_deref(), self.error.as_deref()];
        let mut out = Vec::with_capacity(100 + texts.iter().flatten().map(|text| text.len()).sum::<usize>());
        out.push(VERSION);
        let flags = [self.failed, self.listed, self.link.is_some(), self.unchecked];
        out.push(flags.iter().enumerate().fold(0, |flags, (bit, flag)| flags | u8::from(*flag) << bit));
        out.extend_from_slice(&self.gas_used.to_le_bytes());
        out.extend_from_slice(&self.block_height.0.to_le_bytes());
        if let Some((assignment, hash_chain)) = &self.link {
            out.extend_from_slice(assignment.as_bytes());
            out.extend_from_slice(hash_chain.as_bytes());
        }
        for text in texts {
            // Results are bounded by the memory of a process, far below 4 GiB.
            let length = text.map_or(u32::MAX, |text| text.len() as u32);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(text.unwrap_or_default().as_bytes());
        }
        out
    }

    /// Reads what [`Self::write`] wrote; `None` when the bytes are something else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let ([VERSION, flags], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (gas_used, rest) = rest.split_first_chunk::<8>()?;
        let (height, mut rest) = rest.split_first_chunk::<8>()?;
        let link = if flags & 4 == 0 {
            None
        } else {
            let (assignment, after) = rest.split_first_chunk::<32>()?;
            let (hash_chain, after) = after.split_first_chunk::<32>()?;
            rest = after;
            Some((AssignmentId::from_bytes(*assignment), HashChain::of(*hash_chain)))
        };
        let mut text = || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            rest = after;
            let length = match u32::from_le_bytes(*length) {
                u32::MAX => return Some(None),
                length => length as usize,
            };
            let (text, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(Some(std::str::from_utf8(text).ok()?.to_owned()))
        };
        let (lists, output, error) = (text()??, text()?, text()?);
        rest.is_empty().then_some(Self {
            lists,
            output,
            error,
            gas_used: u64::from_le_bytes(*gas_used),
            failed: flags & 1 != 0,
            listed: flags & 2 != 0,
            unchecked: flags & 8 != 0,
            block_height: BlockHeight(u64::from_le_bytes(*height)),
            link,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn record(outcome: Outcome) -> Record {
        Record::new(&Evaluation { outcome, gas_used: 7, returned: None }, BlockHeight(3), None)
    }

    #[test]
    fn a_result_has_its_keys_in_order_and_defaults_for_what_is_missing() {
        let full = Response {
            messages: Some(vec![json!({"Target": "t", "Tags": []})]),
            spawns: Some(vec![]),
            assignments: Some(vec![]),
            output: Some(json!({"data": 1.0})),
            error: None,
        };
        assert_eq!(
            record(Outcome::Ok(full)).result_json(),
            r#"{"Messages":[{"Target":"t","Tags":[]}],"Assignments":[],"Spawns":[],"Output":{"data":1},"GasUsed":7}"#
        );
        let nothing = record(Outcome::Ok(Response::default()));
        assert_eq!(nothing.result_json(), r#"{"Messages":[],"Assignments":[],"Spawns":[],"Output":"","GasUsed":7}"#);
        let mut node = String::new();
        nothing.write_node(&mut node);
        assert_eq!(node, r#"{"Messages":[],"Assignments":[],"Spawns":[]}"#);
    }

    #[test]
    fn a_number_as_output_becomes_text_and_errors_are_shown() {
        let number = Response { output: Some(json!(42.0)), ..Response::default() };
        assert!(record(Outcome::Ok(number)).result_json().contains(r#""Output":"42""#));
        let failed = record(Outcome::Thrown(json!("out of gas!")));
        assert!(failed.failed && failed.result_json().ends_with(r#""Output":"","GasUsed":7,"Error":"out of gas!"}"#));
        let falsy = Response { error: Some(json!("")), ..Response::default() };
        assert!(!record(Outcome::Ok(falsy)).result_json().contains("Error"));
    }

    proptest! {
        #[test]
        fn records_read_back_and_cut_ones_are_refused(output in ".*", error in proptest::option::of(".*"), cut in 0usize..60) {
            let outcome = match error {
                Some(error) => Outcome::Thrown(json!(error)),
                None => Outcome::Ok(Response { output: Some(json!(output)), ..Response::default() }),
            };
            let mut record = record(outcome);
            record.unchecked = cut % 2 == 0;
            record.link = Some((AssignmentId::from_bytes([1; 32]), HashChain::of([2; 32])));
            let bytes = record.write();
            prop_assert_eq!(Record::read(&bytes), Some(record));
            prop_assert_eq!(Record::read(&bytes[..cut.min(bytes.len() - 1)]), None);
        }

        #[test]
        fn keys_sort_as_their_bytes(a in key(), b in key()) {
            let bytes = |key: &Key| { let mut out = Vec::new(); key.write(&mut out); out };
            prop_assert_eq!(a.cmp(&b), bytes(&a).cmp(&bytes(&b)));
            prop_assert_eq!(Key::read(&bytes(&a)), Some(a));
        }
    }

    fn key() -> impl Strategy<Value = Key> {
        (0u64..3, 0u64..12, proptest::option::of("[0-3]-[a-z0-9]{0,3}")).prop_map(|(timestamp, ordinate, cron)| Key {
            timestamp: Timestamp(timestamp),
            ordinate,
            cron,
        })
    }
}
