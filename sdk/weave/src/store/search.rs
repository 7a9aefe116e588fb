//! Finding items by what they have in common.
//!
//! Each filter is a union of index ranges, all ordered by position. A query walks them side by side and jumps: whoever
//! is behind seeks to where the furthest stands, so the rarest filter sets the pace and common ones
//! (`Data-Protocol: ao`) cost one seek per candidate.

use std::ops::ControlFlow;

use fjall::{Keyspace, Readable, Snapshot};
use holon_protocol::ItemId;

use super::index::{self, Position, Term};
use super::record::Record;
use super::{Store, keys};
use crate::Error;

/// Entries read one by one before a stream seeks instead.
const STEPS_BEFORE_SEEK: usize = 4;

/// A tag that must not be there.
#[derive(Debug, Clone)]
pub struct Unwanted {
    /// Name.
    pub name: String,
    /// Values.
    pub values: Vec<String>,
}

/// What to find.
#[derive(Debug, Clone)]
pub struct Search {
    /// Only these ids.
    pub ids: Option<Vec<ItemId>>,
    /// Every group must be met by one of its terms.
    pub groups: Vec<Vec<Term>>,
    /// Tags that must not be there.
    pub unwanted: Vec<Unwanted>,
    /// Inclusive heights; unmined items do not match.
    pub heights: Option<(u64, u64)>,
    /// Only what comes after this position in the order asked for.
    pub after: Option<Position>,
    /// Oldest first.
    pub ascending: bool,
    /// Most records.
    pub limit: usize,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// Records in the order asked for.
    pub records: Vec<Record>,
    /// Whether there are more.
    pub more: bool,
}

impl Store {
    /// Runs a search on a snapshot.
    pub fn search(&self, search: &Search) -> Result<Found, Error> {
        let Some((low, high)) = bounds(search) else {
            return Ok(Found { records: Vec::new(), more: false });
        };
        let mut records = match &search.ids {
            Some(ids) => self.by_id(search, ids, low, high)?,
            None => self.by_terms(search, low, high)?,
        };
        let more = records.len() > search.limit;
        records.truncate(search.limit);
        Ok(Found { records, more })
    }

    fn by_id(&self, search: &Search, ids: &[ItemId], low: Position, high: Position) -> Result<Vec<Record>, Error> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let mut records = Vec::new();
        for id in ids {
            let Some(record) = self.record(id)? else { continue };
            let terms = index::terms(&record);
            let position = record.place.position();
            let wanted = (low..=high).contains(&position)
                && search.groups.iter().all(|group| group.iter().any(|term| terms.contains(term)))
                && is_wanted(&record, &search.unwanted);
            if wanted {
                records.push(record);
            }
        }
        records.sort_by_key(|record| record.place.position());
        if !search.ascending {
            records.reverse();
        }
        Ok(records)
    }

    fn by_terms(&self, search: &Search, low: Position, high: Position) -> Result<Vec<Record>, Error> {
        let snapshot = self.database.snapshot();
        let range = Range { snapshot: &snapshot, index: &self.index, low, high, ascending: search.ascending };
        let everything = [vec![Term::all()]];
        let groups = if search.groups.is_empty() { &everything[..] } else { &search.groups[..] };
        let mut unions = groups.iter().map(|group| range.union(group)).collect::<Result<Vec<_>, _>>()?;
        let mut records = Vec::new();
        while let Some((_, id)) = meet(&mut unions)? {
            if let Some(bytes) = snapshot.get(&self.records, id.as_bytes())? {
                let record = Record::decode(id, &bytes)?;
                if is_wanted(&record, &search.unwanted) {
                    records.push(record);
                    // One more than asked for tells whether there are more.
                    if records.len() > search.limit {
                        break;
                    }
                }
            }
            let Some(first) = unions.first_mut() else { break };
            first.advance()?;
        }
        Ok(records)
    }
}

/// The positions to look at, inclusive; `None` when there are none.
fn bounds(search: &Search) -> Option<(Position, Position)> {
    let (mut low, mut high) = match search.heights {
        Some((min, max)) => (Position::new(Some(min), 0), Position::new(Some(max.min(u64::MAX - 1)), u64::MAX)),
        None => (Position::FIRST, Position::LAST),
    };
    match search.after {
        Some(after) if search.ascending => low = low.max(after.next()),
        Some(after) => high = high.min(after.previous()),
        None => {}
    }
    (low <= high).then_some((low, high))
}

fn is_wanted(record: &Record, unwanted: &[Unwanted]) -> bool {
    if unwanted.is_empty() {
        return true;
    }
    let tags = record.header.tags();
    !unwanted.iter().any(|filter| tags.all(&filter.name).any(|value| filter.values.iter().any(|other| other == value)))
}

type Entry = (Position, ItemId);

#[derive(Clone, Copy)]
struct Range<'a> {
    snapshot: &'a Snapshot,
    index: &'a Keyspace,
    low: Position,
    high: Position,
    ascending: bool,
}

impl<'a> Range<'a> {
    fn union(self, terms: &'a [Term]) -> Result<Union<'a>, Error> {
        let streams = terms.iter().map(|term| Stream::open(self, term)).collect::<Result<_, _>>()?;
        Ok(Union { streams, ascending: self.ascending })
    }

    /// Whether `a` comes strictly before `b` in the order asked for.
    fn precedes(&self, a: Position, b: Position) -> bool {
        if self.ascending { a < b } else { a > b }
    }
}

/// The entries of one term from some position on.
struct Stream<'a> {
    range: Range<'a>,
    term: &'a Term,
    iter: fjall::Iter,
    current: Option<Entry>,
}

impl<'a> Stream<'a> {
    fn open(range: Range<'a>, term: &'a Term) -> Result<Self, Error> {
        let iter = range.snapshot.range(range.index, term.key(range.low)..=term.key(range.high));
        let mut stream = Self { range, term, iter, current: None };
        stream.advance()?;
        Ok(stream)
    }

    fn advance(&mut self) -> Result<(), Error> {
        let entry = if self.range.ascending { self.iter.next() } else { self.iter.next_back() };
        self.current = match entry {
            Some(entry) => {
                let (key, value) = entry.into_inner()?;
                Some((index::position_of(&key)?, keys::id(&value)?))
            }
            None => None,
        };
        Ok(())
    }

    fn seek(&mut self, target: Position) -> Result<(), Error> {
        for _ in 0..STEPS_BEFORE_SEEK {
            match self.current {
                Some((position, _)) if self.range.precedes(position, target) => self.advance()?,
                _ => return Ok(()),
            }
        }
        if self.current.is_some_and(|(position, _)| self.range.precedes(position, target)) {
            let (low, high) = match self.range.ascending {
                true => (target, self.range.high),
                false => (self.range.low, target),
            };
            self.iter = self.range.snapshot.range(self.range.index, self.term.key(low)..=self.term.key(high));
            self.advance()?;
        }
        Ok(())
    }
}

/// The entries of any of some terms, in order.
struct Union<'a> {
    streams: Vec<Stream<'a>>,
    ascending: bool,
}

impl Union<'_> {
    fn current(&self) -> Option<Entry> {
        let entries = self.streams.iter().filter_map(|stream| stream.current);
        if self.ascending { entries.min() } else { entries.max() }
    }

    fn advance(&mut self) -> Result<(), Error> {
        if let Some((position, _)) = self.current() {
            for stream in &mut self.streams {
                if stream.current.is_some_and(|(other, _)| other == position) {
                    stream.advance()?;
                }
            }
        }
        Ok(())
    }

    fn seek(&mut self, target: Position) -> Result<Option<Entry>, Error> {
        self.streams.iter_mut().try_for_each(|stream| stream.seek(target))?;
        Ok(self.current())
    }
}

/// Moves all unions to the next position that they share.
fn meet(unions: &mut [Union<'_>]) -> Result<Option<Entry>, Error> {
    let Some(mut target) = unions.first().and_then(Union::current) else {
        return Ok(None);
    };
    loop {
        match round(unions, target)? {
            ControlFlow::Break(met) => return Ok(met),
            ControlFlow::Continue(further) => target = further,
        }
    }
}

/// Lets every union catch up with `target`; who lands further on sets the next one.
fn round(unions: &mut [Union<'_>], target: Entry) -> Result<ControlFlow<Option<Entry>, Entry>, Error> {
    for union in unions {
        match union.seek(target.0)? {
            None => return Ok(ControlFlow::Break(None)),
            Some(entry) if entry.0 != target.0 => return Ok(ControlFlow::Continue(entry)),
            Some(_) => {}
        }
    }
    Ok(ControlFlow::Break(Some(target)))
}
