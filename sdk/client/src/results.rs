//! The list of a process's results, page by page.

use futures_util::Stream;
use futures_util::stream;
use holon_protocol::ProcessId;
use holon_protocol::result::EvaluationResult;
use reqwest::Method;
use serde::Deserialize;

use crate::error::{Error, Unit};
use crate::http::{Body, join, json};
use crate::network::Network;

/// Results in a page unless the caller says otherwise.
pub const DEFAULT_PAGE: u32 = 25;

/// Order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// A list to be read; see [`Network::results`]. Only what has been evaluated is in it; asking evaluates nothing.
#[derive(Debug, Clone)]
#[must_use = "a list is only read by `page` or `stream`"]
pub struct Results {
    network: Network,
    process: ProcessId,
    from: Option<String>,
    to: Option<String>,
    sort: Sort,
    limit: u32,
}

/// A result and where it stands in the list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Edge {
    /// The result.
    pub node: EvaluationResult,
    /// Where to continue after it. Opaque.
    pub cursor: String,
}

/// Some results in the order asked for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// The results.
    pub edges: Vec<Edge>,
    #[serde(default)]
    page_info: PageInfo,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    #[serde(default)]
    has_next_page: bool,
}

impl Page {
    /// Whether more follow.
    pub fn has_next(&self) -> bool {
        self.page_info.has_next_page
    }
}

impl Results {
    pub(crate) fn new(network: Network, process: ProcessId) -> Self {
        Self { network, process, from: None, to: None, sort: Sort::Ascending, limit: DEFAULT_PAGE }
    }

    /// Only results newer than this cursor (in either order).
    pub fn from(mut self, cursor: impl Into<String>) -> Self {
        self.from = Some(cursor.into());
        self
    }

    /// Only results up to this cursor, itself included (in either order).
    pub fn to(mut self, cursor: impl Into<String>) -> Self {
        self.to = Some(cursor.into());
        self
    }

    /// The order; [`Sort::Ascending`] by default.
    pub fn sort(mut self, sort: Sort) -> Self {
        self.sort = sort;
        self
    }

    /// Results in a page, at least 1; [`DEFAULT_PAGE`] by default.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit.max(1);
        self
    }

    /// One page.
    pub async fn page(&self) -> Result<Page, Error> {
        let parts = self.network.parts();
        let mut url = join(self.network.cu_url()?, &["results", &self.process.to_string()]);
        {
            let mut query = url.query_pairs_mut();
            for (name, cursor) in [("from", &self.from), ("to", &self.to)] {
                if let Some(cursor) = cursor {
                    query.append_pair(name, cursor);
                }
            }
            query.append_pair("sort", if self.sort == Sort::Ascending { "ASC" } else { "DESC" });
            query.append_pair("limit", &self.limit.to_string());
        }
        let (_, answer) = parts.http.read(Unit::Compute, Method::GET, url, Body::Nothing, parts.timeout).await?;
        json(Unit::Compute, &answer)
    }

    /// Every result, fetched page by page as the stream is read. It ends with the list or with the first error.
    pub fn stream(self) -> impl Stream<Item = Result<Edge, Error>> + Send {
        stream::unfold(Some(Walk { list: self, waiting: Vec::new(), standing: None, more: true }), |walk| async {
            let mut walk = walk?;
            match walk.next().await {
                Ok(edge) => edge.map(|edge| (Ok(edge), Some(walk))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

/// A walk over pages. Both bounds mean the same in either order, so a descending walk moves the upper one, which is
/// inclusive: the edge it stands on comes again and is dropped.
struct Walk {
    list: Results,
    /// Reversed, so that the next edge is popped.
    waiting: Vec<Edge>,
    standing: Option<String>,
    more: bool,
}

impl Walk {
    async fn next(&mut self) -> Result<Option<Edge>, Error> {
        if self.waiting.is_empty() && self.more {
            let mut page = self.list.page().await?;
            page.edges.retain(|edge| self.standing.as_ref() != Some(&edge.cursor));
            // A list that says there is more but does not move would never end.
            self.more = page.has_next() && !page.edges.is_empty();
            if let Some(last) = page.edges.last() {
                let cursor = last.cursor.clone();
                match self.list.sort {
                    Sort::Ascending => self.list.from = Some(cursor),
                    Sort::Descending => {
                        if self.standing.is_none() {
                            self.list.limit = self.list.limit.saturating_add(1);
                        }
                        self.list.to = Some(cursor.clone());
                        self.standing = Some(cursor);
                    }
                }
            }
            page.edges.reverse();
            self.waiting = page.edges;
        }
        Ok(self.waiting.pop())
    }
}
