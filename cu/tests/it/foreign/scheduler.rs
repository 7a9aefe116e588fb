//! A scheduler of somebody else's, as spec 02 has it: it stamps entries with whatever its clock says, in whatever epoch it likes,
//! sorts pages by time, and shows the anchors of assignments in pages only.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use actix_web::{HttpRequest, HttpResponse, web};
use holon_protocol::assignment::Assignment;
use holon_protocol::chain::HashChain;
use holon_protocol::{BlockHeight, DataItem, ItemId, Nonce, ProcessId, Signer, Timestamp, wire};
use serde_json::{Value, json};
use url::Url;

use crate::network::serve;

/// Height that every assignment names: late enough for logs to be chained.
const HEIGHT: BlockHeight = BlockHeight(1_500_000);

/// The scheduler.
pub struct Foreign {
    pub url: Url,
    pub wallet: Signer,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    logs: HashMap<ProcessId, Vec<Placed>>,
    /// What its clock says when it is asked.
    now: u64,
    /// How many blocks above that of all entries it says there are.
    blocks: u64,
    seen: Vec<String>,
    /// What it says of the height of processes, if not what it signed.
    claimed: Option<BlockHeight>,
}

/// An entry.
struct Placed {
    says: Assignment,
    assignment: DataItem,
    item: DataItem,
}

impl Placed {
    fn is(&self, id: &str) -> bool {
        self.item.id().to_string() == id || self.assignment.id().to_string() == id
    }
}

impl Foreign {
    pub fn start() -> Self {
        let held: Arc<Mutex<Held>> = Arc::default();
        let (url, _) = serve(web::Data::from(held.clone()), answer);
        Self { url, wallet: Signer::generate_ed25519().unwrap(), held }
    }

    /// Puts `item` at the end of the log of `process` and gives its assignment.
    pub fn schedule(&self, process: ProcessId, item: &DataItem, timestamp: u64, epoch: u64) -> DataItem {
        let mut held = self.held.lock().unwrap();
        (held.now, held.blocks) = (timestamp, 0);
        let log = held.logs.entry(process).or_default();
        let previous = log.last().map(|last| (&last.says, last.assignment.id()));
        let same = previous.filter(|(says, _)| says.epoch == epoch);
        let says = Assignment {
            process,
            epoch,
            nonce: same.map_or(Nonce(0), |(says, _)| Nonce(says.nonce.0 + 1)),
            hash_chain: previous
                .map_or_else(|| HashChain::first(process), |(says, id)| says.next_hash_chain(id.into())),
            block_height: HEIGHT,
            timestamp: Timestamp(timestamp),
            message: (ItemId::from(process) != item.id()).then(|| item.id().into()),
            exclude: Vec::new(),
        };
        let mut anchor = [0xff; 32];
        anchor[..8].copy_from_slice(&(log.len() as u64).to_le_bytes());
        let assignment = says.item(anchor).sign(&self.wallet).unwrap();
        log.push(Placed { says, assignment: assignment.clone(), item: item.clone() });
        assignment
    }

    /// Until the next entry, it says that it is so late, and that there is another block.
    pub fn say_time(&self, now: u64) {
        let mut held = self.held.lock().unwrap();
        (held.now, held.blocks) = (now, 1);
    }

    /// From now on it says that all processes have this height.
    pub fn claim_height(&self, height: u64) {
        self.held.lock().unwrap().claimed = Some(BlockHeight(height));
    }

    /// What was asked for since the last time.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.held.lock().unwrap().seen)
    }
}

async fn answer(request: HttpRequest, held: web::Data<Mutex<Held>>) -> HttpResponse {
    let mut held = held.lock().unwrap();
    held.seen.push(request.uri().to_string());
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect();
    let path: Vec<&str> = request.path().split('/').filter(|part| !part.is_empty()).collect();
    let log = |id: &str| id.parse().ok().and_then(|id: ProcessId| held.logs.get(&id));
    let body: Option<Value> = match path[..] {
        ["timestamp"] => {
            let height = BlockHeight(HEIGHT.0 + held.blocks);
            Some(json!({ "timestamp": held.now.to_string(), "block_height": height.padded() }))
        }
        ["processes", id] => log(id).map(|log| {
            let record = wire::Process::new(&log[0].assignment, &log[0].item);
            let block = held.claimed.map_or_else(|| record.block.clone(), BlockHeight::padded);
            json!(wire::Process { block, ..record })
        }),
        [id] => match log(id) {
            Some(log) => Some(json!(page(log, &query))),
            None => {
                let of = query.get("process-id").and_then(|id| log(id)).into_iter().flatten();
                let entry = |entry: &Placed| json!(wire::Entry::new(&entry.assignment, Some(&entry.item), false));
                of.into_iter().find(|entry| entry.is(id)).map(entry)
            }
        },
        _ => None,
    };
    match body {
        Some(body) => HttpResponse::Ok().json(body),
        None => HttpResponse::BadRequest().json(json!({ "error": "Message or Process not found" })),
    }
}

/// A page of spec 02 §7.2. Of entries of one time the later ones come first, which nothing forbids.
fn page(log: &[Placed], query: &HashMap<String, String>) -> wire::Page {
    let number = |name: &str| query.get(name).map(|text| text.parse::<i64>().unwrap());
    let (from_nonce, to_nonce) = (number("from-nonce"), number("to-nonce"));
    let by_nonce = from_nonce.is_some() || to_nonce.is_some();
    let (from, to) = if by_nonce { (from_nonce, to_nonce) } else { (number("from"), number("to")) };
    let at = |entry: &Placed| match by_nonce {
        true => entry.says.nonce.0 as i64,
        false => entry.says.timestamp.0 as i64,
    };
    let limit = number("limit").unwrap_or(100) as usize;
    let inside = |entry: &&Placed| from.is_none_or(|from| at(entry) > from) && to.is_none_or(|to| at(entry) <= to);
    let mut entries: Vec<&Placed> = log.iter().skip(1).filter(inside).collect();
    entries.sort_by_key(|entry| (entry.says.timestamp, Reverse(entry.says.nonce)));
    if from.is_none_or(|from| by_nonce && from < 0) {
        entries.insert(0, &log[0]);
    }
    let has_next_page = entries.len() > limit;
    entries.truncate(limit);
    let shows = query.contains_key("show-anchor");
    let edge = |entry: &Placed| wire::Edge {
        node: wire::Entry::new(&entry.assignment, Some(&entry.item), shows),
        cursor: at(entry).to_string(),
    };
    wire::Page { page_info: wire::PageInfo { has_next_page }, edges: entries.into_iter().map(edge).collect() }
}
