//! The gateway's GraphQL: what can be asked and what comes back (spec 03 §3).

use holon_protocol::{BlockHeight, ItemId, Tags, Timestamp, wire};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

/// Entries of a page when a query does not say; also the most that public gateways give.
pub const MAX_PAGE: u32 = 100;

/// Which items to find. Different fields are ANDed, values of one field are ORed, `tags` entries are ANDed; empty means
/// no restriction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Item ids.
    pub ids: Vec<ItemId>,
    /// Wire addresses of signers.
    pub owners: Vec<String>,
    /// Targets.
    pub recipients: Vec<String>,
    /// Tag name and accepted values.
    pub tags: Vec<(String, Vec<String>)>,
    /// Lowest block height, inclusive.
    pub min_block: Option<BlockHeight>,
    /// Highest block height, inclusive.
    pub max_block: Option<BlockHeight>,
    /// Page size; `None` and more than [`MAX_PAGE`] mean [`MAX_PAGE`].
    pub first: Option<u32>,
    /// Cursor of the last edge of the page before.
    pub after: Option<String>,
    /// Oldest first instead of newest first.
    pub ascending: bool,
}

impl Query {
    /// Items with these ids.
    pub fn ids(ids: impl IntoIterator<Item = ItemId>) -> Self {
        Self { ids: ids.into_iter().collect(), ..Self::default() }
    }

    /// Adds a tag that must be there with this value.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((name.into(), vec![value.into()]));
        self
    }

    /// Adds a tag that must be there with one of these values.
    pub fn tag_among(mut self, name: impl Into<String>, values: impl IntoIterator<Item = String>) -> Self {
        self.tags.push((name.into(), values.into_iter().collect()));
        self
    }

    /// Adds a signer.
    pub fn owner(mut self, address: impl ToString) -> Self {
        self.owners.push(address.to_string());
        self
    }

    /// The request body selecting `fields` of each node. Only arguments in use are mentioned: some servers do not take
    /// null for them.
    pub(crate) fn request(&self, fields: &str) -> Value {
        let mut declared = Vec::new();
        let mut arguments = Vec::new();
        let mut variables = Map::new();
        let mut argument = |name: &str, kind: &str, value: Value| {
            declared.push(format!("${name}: {kind}"));
            arguments.push(format!("{name}: ${name}"));
            variables.insert(name.to_owned(), value);
        };
        if !self.ids.is_empty() {
            argument("ids", "[ID!]", json!(self.ids));
        }
        if !self.owners.is_empty() {
            argument("owners", "[String!]", json!(self.owners));
        }
        if !self.recipients.is_empty() {
            argument("recipients", "[String!]", json!(self.recipients));
        }
        if !self.tags.is_empty() {
            let tags: Vec<_> =
                self.tags.iter().map(|(name, values)| json!({ "name": name, "values": values })).collect();
            argument("tags", "[TagFilter!]", json!(tags));
        }
        if self.min_block.is_some() || self.max_block.is_some() {
            let mut block = Map::new();
            block.extend(self.min_block.map(|height| ("min".to_owned(), json!(height.0))));
            block.extend(self.max_block.map(|height| ("max".to_owned(), json!(height.0))));
            argument("block", "BlockFilter", Value::Object(block));
        }
        if let Some(after) = &self.after {
            argument("after", "String", json!(after));
        }
        argument("first", "Int", json!(self.first.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE)));
        let sort = if self.ascending { "HEIGHT_ASC" } else { "HEIGHT_DESC" };
        let (declared, arguments) = (declared.join(", "), arguments.join(", "));
        let query = format!(
            "query Transactions({declared}) {{ transactions({arguments}, sort: {sort}) \
             {{ pageInfo {{ hasNextPage }} edges {{ cursor node {{ {fields} }} }} }} }}"
        );
        json!({ "query": query, "variables": variables })
    }
}

/// Every field of [`Node`].
pub(crate) const NODE_FIELDS: &str = "id anchor signature recipient owner { address key } tags { name value } \
                                      data { size } block { height timestamp }";

/// The same and where an item is bundled, which not every server can tell.
pub(crate) const PLACED_NODE_FIELDS: &str = "id anchor signature recipient owner { address key } tags { name value } \
                                             data { size } block { height timestamp } bundledIn { id }";

/// A block, as much as the network needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Block {
    /// Height.
    pub height: BlockHeight,
    /// When it was mined. Gateways speak seconds; this is milliseconds, as everywhere in ao.
    #[serde(deserialize_with = "seconds")]
    pub timestamp: Timestamp,
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    u64::deserialize(deserializer).map(|seconds| Timestamp(seconds.saturating_mul(1000)))
}

/// An item's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Node {
    /// Item id.
    pub id: ItemId,
    /// Signer.
    pub owner: wire::Owner,
    /// Tags in order.
    #[serde(default)]
    pub tags: Tags,
    /// Target, `""` when absent.
    #[serde(default, deserialize_with = "text_or_null")]
    pub recipient: String,
    /// base64url, `""` when absent.
    #[serde(default, deserialize_with = "text_or_null")]
    pub anchor: String,
    /// base64url; some gateways leave it empty for items.
    #[serde(default, deserialize_with = "text_or_null")]
    pub signature: String,
    /// Where it was mined; `None` until then.
    #[serde(default)]
    pub block: Option<Block>,
    /// The item or transaction directly around it; `None` also when it was not asked for.
    #[serde(default, rename = "bundledIn", deserialize_with = "id_of")]
    pub bundled_in: Option<ItemId>,
    /// Bytes of its data, if the gateway says so.
    #[serde(default, rename = "data", deserialize_with = "size_of")]
    pub data_bytes: Option<u64>,
}

fn id_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ItemId>, D::Error> {
    #[derive(Deserialize)]
    struct Holder {
        id: ItemId,
    }
    Option::<Holder>::deserialize(deserializer).map(|holder| holder.map(|holder| holder.id))
}

fn size_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Data {
        #[serde(default)]
        size: Option<String>,
    }
    let data = Option::<Data>::deserialize(deserializer)?;
    Ok(data.and_then(|data| data.size).and_then(|size| size.parse().ok()))
}

fn text_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A page of items.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodePage {
    /// Items in the order asked for.
    pub nodes: Vec<Node>,
    /// Cursor of the last one: `after` of the next page's query.
    pub end_cursor: Option<String>,
    /// Whether there are more.
    pub has_next_page: bool,
}

/// A connection as servers answer it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "N: Deserialize<'de>"))]
pub(crate) struct Connection<N> {
    #[serde(default)]
    pub page_info: PageInfo,
    pub edges: Vec<Edge<N>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageInfo {
    #[serde(default)]
    pub has_next_page: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Edge<N> {
    #[serde(default)]
    pub cursor: Option<String>,
    pub node: N,
}

/// A node of which only the tags were asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Tagged {
    pub tags: Tags,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_mentions_only_the_arguments_in_use() {
        let request = Query { first: Some(1), ..Query::default().tag("Type", "Process") }.request("id");
        let text = request["query"].as_str().unwrap_or_default();
        assert!(text.contains("query Transactions($tags: [TagFilter!], $first: Int)"), "{text}");
        assert!(!text.contains("ids"), "{text}");
        assert_eq!(request["variables"], json!({ "tags": [{ "name": "Type", "values": ["Process"] }], "first": 1 }));
    }

    #[test]
    fn block_times_become_milliseconds() {
        let block: Block = serde_json::from_value(json!({ "height": 7, "timestamp": 1_700_000_000 })).expect("a block");
        assert_eq!(block, Block { height: BlockHeight(7), timestamp: Timestamp(1_700_000_000_000) });
    }
}
