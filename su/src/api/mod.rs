//! Routes (spec 02 §1): parse, call, answer.

mod answer;
mod body;
mod events;
mod query;
mod read;
mod write;

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web;
use holon_unit::events::Places;
use holon_unit::routes::{Content, Routes, get, post, schema};
use serde_json::Value;

use crate::access::Access;
use crate::check::Rules;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::published::Published;
use crate::reader::Reader;
use crate::scheduler::Scheduler;

pub use self::body::{Bodies, BodyTimes, MAX_BODY_BYTES};
pub use self::events::EVENT_READERS_LIMIT;
pub use self::query::{DEFAULT_LIMIT, MAX_LIMIT};

/// Longest a post waits for its position to be durable. It may still get one later.
pub const POST_TIMEOUT: Duration = Duration::from_secs(120);

/// What routes share; cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// Gives positions.
    pub scheduler: Scheduler,
    /// Reads the log.
    pub reader: Reader,
    /// Reaches what is on Arweave already.
    pub published: Published,
    /// Threads for the writing path: verifying, turns, signing.
    pub pool: Pool,
    /// Threads for reads, so that large pages never delay a message.
    pub readers: Pool,
    /// Rules for items.
    pub rules: Rules,
    /// Warm-up and allow-lists.
    pub access: Access,
    /// Memory and time of request bodies.
    pub bodies: Bodies,
    /// Places for readers of events.
    pub event_readers: Places,
    /// Series, when they are served.
    pub metrics: Option<Metrics>,
    /// Whether a repeated identical item is answered like the first time.
    pub idempotent: bool,
}

/// The routes. The application must hold `web::Data<Api>`.
///
/// Fixed paths win over `/{tx_id}`. Unknown paths, and known paths with another method, are 404 without a body.
pub fn routes() -> Routes {
    let time = || schema::digits();
    let entry = || {
        schema::object([
            ("message", schema::or_null(item())),
            ("assignment", schema::object([("id", schema::id()), ("owner", owner()), ("tags", schema::tags())])),
        ])
    };
    let process = || {
        schema::object([
            ("process_id", schema::id()),
            ("block", schema::digits()),
            ("owner", owner()),
            ("tags", schema::tags()),
            ("timestamp", schema::number()),
            ("data", schema::or_null(schema::text())),
        ])
    };
    Routes::new(
        "Scheduler unit",
        "Gives every message its place in the log of its process, signs that, and serves the log.",
        env!("CARGO_PKG_VERSION"),
    )
    .unknown(|| web::to(HttpResponse::NotFound))
    .at(
        "/",
        [
            get(read::address, "The scheduler's address and clock").gives(
                200,
                "Milliseconds as text, and the wallet that signs assignments.",
                Content::Json(schema::object([("timestamp", time()), ("address", schema::id())])),
            ),
            post(write::post, "Schedules a process, a message or an assignment")
                .about(
                    "The answer comes after the entry is durable. With `process-id` and `assign` the item that is named, which \
                     must be on Arweave, gets a place in that process's log, and the body has no meaning.",
                )
                .query("process-id", schema::id(), "The process of an assignment; together with `assign`.")
                .query("assign", schema::id(), "The item to assign.")
                .query("base-layer", schema::text(), "Whether that is a base-layer transaction; any value.")
                .query("exclude", schema::text(), "Fields that the process shall not see, comma separated.")
                .header("X-Real-IP", schema::text(), "Who posts, where `IP_WHITELIST_URL` says who may.")
                .body("A signed data item.", [Content::bytes()])
                .gives(
                    200,
                    "It has its place.",
                    Content::Json(schema::object([("timestamp", schema::number()), ("id", schema::id())])),
                )
                .with("Nonce", "That place (an extension); absent when the entry was there already.")
                .fails(400, "It is not an acceptable item, or was scheduled before; the text says which.")
                .fails(408, "The body came too slowly.")
                .fails(413, "The body is larger than this scheduler takes.")
                .fails(503, "Not now: warming up, full, or a gateway or router cannot be asked."),
        ],
    )
    .at(
        "/timestamp",
        [get(read::timestamp, "The scheduler's clock and block height").gives(
            200,
            "Milliseconds, and the height with twelve digits.",
            Content::Json(schema::object([("timestamp", time()), ("block_height", schema::digits())])),
        )],
    )
    .at("/health", [get(async || HttpResponse::Ok().finish(), "Whether it serves").gives(200, "It does.", Content::Empty)])
    .at(
        "/metrics",
        [get(read::metrics, "Metrics")
            .gives(200, "OpenMetrics.", Content::metrics())
            .gives(400, "They are switched off.", Content::text())],
    )
    .at(
        "/processes/{process_id}",
        [get(read::process, "A process as it was spawned")
            .part("process_id", schema::id(), "The process.")
            .query("show-anchor", schema::text(), "`all` spells the anchor, also that there is none, so that the signature can be checked.")
            .gives(200, "Its spawn.", Content::Json(process()))
            .fails(400, "It is not known here.")],
    )
    .at(
        "/events",
        [get(events::events, "Entries as they become durable")
            .about("Server-sent events `scheduled` and `missed`; see the chapter on live events.")
            .extension()
            .query("process-id", schema::id(), "Those of one process only.")
            .gives(200, "A stream that stays open.", Content::events())
            .gives(503, "Too many clients read events already.", Content::text())],
    )
    .at(
        "/{process_id}/latest",
        [get(read::latest, "The newest entry of a process")
            .part("process_id", schema::id(), "The process.")
            .gives(200, "The entry.", Content::Json(entry()))
            .fails(400, "It is not known here.")],
    )
    .at(
        "/{tx_id}",
        [get(read::find, "An entry, or a page of a log")
            .about(
                "The id of a process gives a page of its log; that of a message, with `process-id`, its entry. Bounds in \
                 nonces win over bounds in time.",
            )
            .part("tx_id", schema::id(), "A process or a message.")
            .query("process-id", schema::id(), "The process of the message.")
            .query("from", schema::digits(), "After this time, in milliseconds.")
            .query("to", schema::digits(), "Up to this time, in milliseconds.")
            .query("from-nonce", schema::digits(), "From this nonce on.")
            .query("to-nonce", schema::digits(), "Up to this nonce.")
            .query("limit", schema::number_in(1, MAX_LIMIT as u64, DEFAULT_LIMIT as u64), "Entries of a page.")
            .query("show-anchor", schema::text(), "Whether anchors of assignments are shown; any value. `all` spells every anchor, also that there is none, so that signatures can be checked.")
            .gives(200, "An entry or a page.", Content::Json(schema::any_of([page(entry()), entry()])))
            .fails(400, "Nothing has that id here, or a parameter is wrong.")],
    )
}

fn page(entry: Value) -> Value {
    schema::object([
        ("page_info", schema::object([("has_next_page", schema::truth())])),
        ("edges", schema::list(schema::object([("node", entry), ("cursor", schema::digits())]))),
    ])
}

fn owner() -> Value {
    schema::object([("address", schema::id()), ("key", schema::text())])
}

fn item() -> Value {
    schema::object([
        ("id", schema::id()),
        ("owner", owner()),
        ("data", schema::or_null(schema::text())),
        ("tags", schema::tags()),
        ("signature", schema::text()),
        ("anchor", schema::or_null(schema::text())),
        ("target", schema::or_null(schema::text())),
    ])
}
