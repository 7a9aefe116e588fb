//! GraphQL of a gateway (spec 03 §3).
//!
//! Validation is lenient on purpose: gateways differ in small extensions, and clients send them everywhere. What is
//! asked for in vain is an error; an argument nobody knows is not.

use std::sync::Arc;

use async_graphql::ValidationMode;
use async_graphql::extensions::{Extension, ExtensionFactory};
use async_graphql::{EmptyMutation, EmptySubscription, Enum, ID, InputObject, Object, Result, Schema, SimpleObject};
use holon_protocol::{ItemId, base64url};

use crate::store::blocks::Block;
use crate::store::index::{POSITION_BYTES, Position, Term};
use crate::store::record::Record;
use crate::store::search::{Search, Unwanted};
use crate::weave::Weave;

/// Entries of a page when a query does not say.
const DEFAULT_PAGE: i32 = 10;
/// Most entries of a page; larger wishes are cut (spec 03 §3.4).
const MAX_PAGE: usize = 100;
/// Most values in one list of a filter.
const MAX_VALUES: usize = 1000;
/// Most fields of an answer, counting aliases, and the fields of an entry once for each entry of the page: some two full
/// pages with every field.
const MAX_COMPLEXITY: usize = 8_000;
/// What the tags of an entry count: they are a list too, of up to 128.
const TAGS_COMPLEXITY: usize = 10;
/// Deepest query; introspection needs some 15.
const MAX_DEPTH: usize = 24;

/// The executable schema.
pub type Graph = Schema<Query, EmptyMutation, EmptySubscription>;

/// The schema over a weave.
pub fn schema(weave: Weave) -> Graph {
    Schema::build(Query(weave), EmptyMutation, EmptySubscription)
        .validation_mode(ValidationMode::Fast)
        .extension(KnownFields)
        .limit_complexity(MAX_COMPLEXITY)
        .limit_depth(MAX_DEPTH)
        .finish()
}

/// With lenient validation the library answers null for a field that does not exist, unless an extension is present:
/// then it looks fields up and reports them. This one does nothing else.
struct KnownFields;

impl ExtensionFactory for KnownFields {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

impl Extension for KnownFields {}

/// Root of all queries.
pub struct Query(Weave);

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum SortOrder {
    HeightAsc,
    HeightDesc,
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum TagOperator {
    Eq,
    Neq,
}

#[derive(InputObject)]
struct TagFilter {
    name: String,
    values: Vec<String>,
    #[graphql(default_with = "Some(TagOperator::Eq)")]
    op: Option<TagOperator>,
}

#[derive(InputObject)]
struct BlockFilter {
    min: Option<i64>,
    max: Option<i64>,
}

#[derive(SimpleObject)]
struct PageInfo {
    has_next_page: bool,
}

#[derive(SimpleObject)]
struct TransactionConnection {
    page_info: PageInfo,
    edges: Vec<TransactionEdge>,
}

#[derive(SimpleObject)]
struct TransactionEdge {
    cursor: String,
    node: Node,
}

#[derive(SimpleObject)]
struct BlockConnection {
    page_info: PageInfo,
    edges: Vec<BlockEdge>,
}

#[derive(SimpleObject)]
struct BlockEdge {
    cursor: String,
    node: BlockNode,
}

#[derive(SimpleObject)]
#[graphql(name = "Block")]
struct BlockNode {
    id: ID,
    timestamp: u64,
    height: u64,
    previous: ID,
}

#[derive(SimpleObject)]
struct Owner {
    address: String,
    key: String,
}

#[derive(SimpleObject)]
struct Amount {
    winston: String,
    ar: String,
}

#[derive(SimpleObject)]
struct MetaData {
    size: String,
    #[graphql(name = "type")]
    kind: Option<String>,
}

#[derive(SimpleObject)]
struct Tag {
    name: String,
    value: String,
}

#[derive(SimpleObject)]
struct Parent {
    id: ID,
}

#[derive(SimpleObject)]
struct Bundle {
    id: ID,
}

/// A transaction or item; fields are made when asked for.
struct Node {
    weave: Weave,
    record: Record,
}

#[Object]
impl Query {
    async fn transaction(&self, id: ID) -> Result<Option<Node>> {
        let Ok(id) = id.parse::<ItemId>() else { return Ok(None) };
        let record = self.0.run(move |weave| weave.store().record(id)).await??;
        Ok(record.map(|record| Node { weave: self.0.clone(), record }))
    }

    /// An empty list of `ids` finds nothing; other lists restrict nothing when they are empty.
    #[graphql(complexity = "page_complexity(first, child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of the field")]
    async fn transactions(
        &self,
        ids: Option<Vec<ID>>,
        owners: Option<Vec<String>>,
        recipients: Option<Vec<String>>,
        tags: Option<Vec<TagFilter>>,
        bundled_in: Option<Vec<ID>>,
        block: Option<BlockFilter>,
        #[graphql(default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        after: Option<String>,
        #[graphql(default_with = "Some(SortOrder::HeightDesc)")] sort: Option<SortOrder>,
    ) -> Result<TransactionConnection> {
        let mut groups = Vec::new();
        let mut group = |values: Option<Vec<String>>, term: fn(&[u8; 32]) -> Term| -> Result<()> {
            let Some(values) = values.filter(|values| !values.is_empty()) else { return Ok(()) };
            check_length(values.len())?;
            // What is no address or id matches nothing; the list may hold others.
            let terms = values.iter().filter_map(|value| value.parse::<ItemId>().ok());
            groups.push(terms.map(|id| term(id.as_bytes())).collect());
            Ok(())
        };
        group(owners, Term::owner)?;
        group(recipients, Term::recipient)?;
        group(bundled_in.map(texts), Term::bundled_in)?;
        let mut unwanted = Vec::new();
        for filter in tags.unwrap_or_default() {
            check_length(filter.values.len())?;
            match filter.op {
                Some(TagOperator::Neq) => unwanted.push(Unwanted { name: filter.name, values: filter.values }),
                _ => groups.push(filter.values.iter().map(|value| Term::tag(&filter.name, value)).collect()),
            }
        }
        let ids = match ids {
            Some(ids) => {
                check_length(ids.len())?;
                Some(ids.iter().filter_map(|id| id.parse().ok()).collect())
            }
            None => None,
        };
        let search = Search {
            ids,
            groups,
            unwanted,
            heights: heights(block),
            after: after.as_deref().filter(|after| !after.is_empty()).map(position).transpose()?,
            ascending: sort == Some(SortOrder::HeightAsc),
            limit: page_size(first)?,
        };
        let found = self.0.run(move |weave| weave.store().search(&search)).await??;
        let edges = found.records.into_iter().map(|record| TransactionEdge {
            cursor: base64url::encode(record.place.position().as_bytes()),
            node: Node { weave: self.0.clone(), record },
        });
        Ok(TransactionConnection { page_info: PageInfo { has_next_page: found.more }, edges: edges.collect() })
    }

    /// A block by its id; the newest without one.
    async fn block(&self, id: Option<String>) -> Result<Option<BlockNode>> {
        let block = match id {
            Some(id) => self.0.store().block_by_id(&id)?,
            None => Some(self.0.store().tip()),
        };
        Ok(block.map(BlockNode::from))
    }

    /// An empty list of `ids` finds nothing.
    #[graphql(complexity = "page_complexity(first, child_complexity)")]
    async fn blocks(
        &self,
        ids: Option<Vec<ID>>,
        height: Option<BlockFilter>,
        #[graphql(default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        after: Option<String>,
        #[graphql(default_with = "Some(SortOrder::HeightDesc)")] sort: Option<SortOrder>,
    ) -> Result<BlockConnection> {
        let ascending = sort == Some(SortOrder::HeightAsc);
        let limit = page_size(first)?;
        let (mut low, mut high) = heights(height).unwrap_or((0, u64::MAX));
        if let Some(after) = after.filter(|after| !after.is_empty()) {
            let after: u64 = after.parse().map_err(|_| "`after` is not a cursor of this server")?;
            match ascending {
                true => low = low.max(after.saturating_add(1)),
                // Nothing comes before height 0.
                false if after == 0 => (low, high) = (1, 0),
                false => high = high.min(after - 1),
            }
        }
        let mut blocks = match ids {
            Some(ids) => {
                check_length(ids.len())?;
                let mut blocks = self.blocks_by_id(&ids)?;
                blocks.retain(|block| (low..=high).contains(&block.height));
                blocks.sort_by_key(|block| if ascending { block.height } else { u64::MAX - block.height });
                blocks.dedup();
                blocks
            }
            None => self.0.run(move |weave| weave.store().blocks_between(low, high, ascending, limit + 1)).await??,
        };
        let has_next_page = blocks.len() > limit;
        blocks.truncate(limit);
        let edges = blocks.into_iter().map(|block| BlockEdge { cursor: block.height.to_string(), node: block.into() });
        Ok(BlockConnection { page_info: PageInfo { has_next_page }, edges: edges.collect() })
    }
}

impl Query {
    fn blocks_by_id(&self, ids: &[ID]) -> Result<Vec<Block>> {
        let mut blocks = Vec::new();
        for id in ids {
            blocks.extend(self.0.store().block_by_id(id)?);
        }
        Ok(blocks)
    }
}

#[Object(name = "Transaction")]
impl Node {
    async fn id(&self) -> ID {
        self.record.id.to_string().into()
    }

    async fn anchor(&self) -> String {
        base64url::encode(self.record.header.anchor())
    }

    async fn signature(&self) -> String {
        base64url::encode(self.record.header.signature())
    }

    async fn recipient(&self) -> String {
        self.record.header.target().map(base64url::encode).unwrap_or_default()
    }

    async fn owner(&self) -> Owner {
        let header = &self.record.header;
        Owner { address: header.owner_address().to_string(), key: base64url::encode(header.owner()) }
    }

    async fn fee(&self) -> Amount {
        Amount::of(self.record.transaction().map_or(0, |transaction| transaction.reward))
    }

    async fn quantity(&self) -> Amount {
        Amount::of(self.record.transaction().map_or(0, |transaction| transaction.quantity))
    }

    async fn data(&self) -> MetaData {
        let kind = self.record.header.tags().get("Content-Type").map(str::to_owned);
        MetaData { size: self.record.place.size.to_string(), kind }
    }

    #[graphql(complexity = "TAGS_COMPLEXITY + child_complexity")]
    async fn tags(&self) -> Vec<Tag> {
        self.record.header.tags().0.into_iter().map(|tag| Tag { name: tag.name, value: tag.value }).collect()
    }

    async fn block(&self) -> Result<Option<BlockNode>> {
        match self.record.place.height {
            Some(height) => Ok(self.weave.store().block_at(height)?.map(BlockNode::from)),
            None => Ok(None),
        }
    }

    #[graphql(deprecation = "use bundledIn")]
    async fn parent(&self) -> Option<Parent> {
        self.record.place.bundled_in.map(|id| Parent { id: id.to_string().into() })
    }

    async fn bundled_in(&self) -> Option<Bundle> {
        self.record.place.bundled_in.map(|id| Bundle { id: id.to_string().into() })
    }
}

impl From<Block> for BlockNode {
    fn from(block: Block) -> Self {
        Self { id: block.id.into(), timestamp: block.timestamp, height: block.height, previous: block.previous.into() }
    }
}

impl Amount {
    fn of(winston: u128) -> Self {
        const WINSTON_PER_AR: u128 = 1_000_000_000_000;
        let ar = format!("{}.{:012}", winston / WINSTON_PER_AR, winston % WINSTON_PER_AR);
        Self { winston: winston.to_string(), ar }
    }
}

fn texts(ids: Vec<ID>) -> Vec<String> {
    ids.into_iter().map(String::from).collect()
}

/// Inclusive heights; `None` when no bound is given.
fn heights(filter: Option<BlockFilter>) -> Option<(u64, u64)> {
    let filter = filter.filter(|filter| filter.min.is_some() || filter.max.is_some())?;
    let min = u64::try_from(filter.min.unwrap_or(0)).unwrap_or(0);
    // A negative maximum excludes everything.
    let max = match filter.max {
        Some(max) => u64::try_from(max).ok(),
        None => Some(u64::MAX),
    };
    Some(max.map_or((1, 0), |max| (min, max)))
}

fn page_size(first: Option<i32>) -> Result<usize> {
    let first = usize::try_from(first.unwrap_or(DEFAULT_PAGE)).map_err(|_| "`first` must not be negative")?;
    Ok(first.min(MAX_PAGE))
}

/// A page counts as what it may hold at most.
fn page_complexity(first: Option<i32>, child_complexity: usize) -> usize {
    let entries = page_size(first).unwrap_or(MAX_PAGE).max(1);
    entries.saturating_mul(child_complexity).saturating_add(1)
}

fn position(cursor: &str) -> Result<Position> {
    let bytes: Option<[u8; POSITION_BYTES]> = base64url::decode(cursor).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Position::from_bytes).ok_or_else(|| "`after` is not a cursor of this server".into())
}

fn check_length(length: usize) -> Result<()> {
    match length <= MAX_VALUES {
        true => Ok(()),
        false => Err(format!("a list of {length} values; at most {MAX_VALUES} are allowed").into()),
    }
}
