//! Routes (spec 02 §1): parse, call, answer.
//!
//! Fixed paths win over `/{tx_id}`. Unknown paths, and known paths with another method, are 404 without a body.

mod answer;
mod body;
mod events;
mod query;
mod read;
mod write;

use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Resource};
use holon_unit::events::Places;

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

/// Registers the routes. The application must hold `web::Data<Api>`.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(resource("/").route(web::get().to(read::address)).route(web::post().to(write::post)))
        .service(resource("/timestamp").route(web::get().to(read::timestamp)))
        .service(resource("/health").route(web::get().to(HttpResponse::Ok)))
        .service(resource("/metrics").route(web::get().to(read::metrics)))
        .service(resource("/processes/{process_id}").route(web::get().to(read::process)))
        .service(resource("/events").route(web::get().to(events::events)))
        .service(resource("/{process_id}/latest").route(web::get().to(read::latest)))
        .service(resource("/{tx_id}").route(web::get().to(read::find)))
        .default_service(web::to(HttpResponse::NotFound));
}

fn resource(path: &str) -> Resource {
    web::resource(path).default_service(web::to(HttpResponse::NotFound))
}
