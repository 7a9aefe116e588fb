//! Every route with what is said of it (spec 05 §2, and extensions).

use actix_web::web;
use holon_unit::routes::{Content, Operation, Routes, get_or_head, post, schema};
use serde_json::Value;

use super::{
    CRON_LIMIT, MAX_LIMIT, RESULTS_LIMIT, cron, dry_run, events, health, metrics, parking, result, results, root,
    state, state_root, unknown, wrong_method,
};

/// The routes. The application must hold `web::Data<Api>`.
pub fn routes() -> Routes {
    Routes::new(
        "Compute unit",
        "Replays the logs of processes through their modules, and tells what came out. Answers about a process that an \
         operator's limit keeps from going on carry the header `Parked`.",
        env!("CARGO_PKG_VERSION"),
    )
    .lenient()
    .unknown(|| web::to(unknown))
    .other_methods(|| web::to(wrong_method))
    .at(
        "/",
        [get_or_head(root, "The unit's address and clock").gives(
            200,
            "Its wallet, and milliseconds.",
            Content::Json(schema::object([("address", schema::id()), ("timestamp", schema::number())])),
        )],
    )
    .at(
        "/health",
        [get_or_head(health, "Whether it serves").gives(
            200,
            "It does.",
            Content::Json(schema::object([("status", schema::one_of(["ok"]))])),
        )],
    )
    .at("/metrics", [get_or_head(metrics, "Metrics").gives(200, "OpenMetrics.", Content::metrics())])
    .at(
        "/result/{message}",
        [evaluated(get_or_head(result, "The result of a message"))
            .part("message", schema::id(), "The message; an assignment or the process itself too.")
            .needs("process-id", schema::id(), "Its process.")
            .query("no-busy", schema::text(), "Wait for the result, however long; any value.")
            .gives(200, "The result.", Content::Json(outcome()))
            .with("Unchecked", "`message`, if the scheduler does not say all that its signatures cover, so that they could not be checked.")],
    )
    .at(
        "/results/{process}",
        [evaluated(get_or_head(results, "Results of a process that have been evaluated, page by page"))
            .part("process", schema::id(), "The process.")
            .query("from", schema::text(), "After this cursor, or at this time in milliseconds or later.")
            .query("to", schema::text(), "Before this cursor, or up to this time in milliseconds.")
            .query("sort", schema::one_of(["ASC", "DESC"]), "Oldest or newest first. Wins over the order that the cursors name, which else decides.")
            .query("limit", schema::number_in(1, MAX_LIMIT as u64, RESULTS_LIMIT as u64), "Results of a page; more than the most count as the most.")
            .gives(200, "A page.", Content::Json(schema::page(outcome())))],
    )
    .at(
        "/events/{process}",
        [get_or_head(events, "Results of a process as they come")
            .about("Server-sent events `ready`, `result` and `held`; see the chapter on live events.")
            .extension()
            .part("process", schema::id(), "The process.")
            .query("from", schema::text(), "After this cursor, or from this time in milliseconds on.")
            .header("Last-Event-ID", schema::text(), "The same, and wins.")
            .gives(200, "A stream that stays open.", Content::events())
            .fails(400, "A parameter is wrong.")
            .fails(403, "The process is not served here.")
            .fails(404, "Nobody knows the process.")
            .fails(503, "Too many clients read events already.")],
    )
    .at(
        "/cron/{process}",
        [evaluated(get_or_head(cron, "Results of a process's cron messages, page by page"))
            .part("process", schema::id(), "The process.")
            .query("from", schema::text(), "After this cursor, or at this time in milliseconds or later.")
            .query("to", schema::text(), "Before this cursor, or up to this time in milliseconds.")
            .query("limit", schema::number_in(1, MAX_LIMIT as u64, CRON_LIMIT as u64), "Results of a page; more than the most count as the most.")
            .query("no-busy", schema::text(), "Wait for the results, however long; any value.")
            .gives(200, "A page.", Content::Json(schema::page(outcome())))
            .with(
                "Cron-Next",
                "When it makes sense to ask again, in milliseconds: the next cron message is due, or the next block may be \
                 known; or `never`.",
            )],
    )
    .at(
        "/state/{process}",
        [point(evaluated(get_or_head(state, "The memory of a process")))
            .part("process", schema::id(), "The process.")
            .gives(200, "The linear memory.", Content::bytes())
            .with("Nonce", "The last log entry.")
            .with("Last-Timestamp", "Time of the last message.")
            .with("Last-Ordinate", "Its place among those of that time.")
            .with("Last-Block-Height", "Its block height.")
            .with("State-Root", "One hash for all of it.")
            .fails(404, "The log is not that long.")],
    )
    .at(
        "/root/{process}",
        [point(evaluated(get_or_head(state_root, "The state root of a process, without its memory")))
            .extension()
            .part("process", schema::id(), "The process.")
            .gives(
                200,
                "The root.",
                Content::Json(schema::object([
                    ("process", schema::id()),
                    ("nonce", schema::or_null(schema::number())),
                    ("timestamp", schema::number()),
                    ("stateRoot", schema::id()),
                    ("memoryBytes", schema::number()),
                    ("evaluator", schema::text()),
                ])),
            )
            .fails(404, "The log is not that long.")],
    )
    .at(
        "/dry-run",
        [evaluated(post(dry_run, "Evaluates a message without leaving a trace"))
            .needs("process-id", schema::id(), "The process.")
            .query("to", schema::id(), "On the state right after this message, not the present one.")
            .query("no-busy", schema::text(), "Wait for the result, however long; any value.")
            .header("X-Max-Age", schema::number(), "How old the state may be, in milliseconds.")
            .body(
                "The message as the process shall see it.",
                [Content::Json(schema::object([
                    ("Tags?", schema::tags()),
                    ("Data?", schema::anything()),
                    ("Owner?", schema::text()),
                    ("From?", schema::text()),
                    ("Target?", schema::text()),
                    ("Id?", schema::text()),
                ]))],
            )
            .gives(200, "The result.", Content::Json(outcome()))
            .fails(413, "The body is too large.")
            .fails(429, "This client, or all together, ask for too many.")],
    )
    .at(
        "/parked",
        [get_or_head(parking::list, "Processes that an operator's limit keeps from going on, longest first")
            .extension()
            .gives(
                200,
                "Up to a thousand of them, and how many there are.",
                Content::Json(schema::object([("parked", schema::list(parked())), ("total", schema::number())])),
            )],
    )
    .at(
        "/resume/{process}",
        [post(parking::resume, "Tries the message that a process is parked before again")
            .extension()
            .operator()
            .part("process", schema::id(), "The process.")
            .gives(
                202,
                "It will be tried.",
                Content::Json(schema::object([("process", schema::id()), ("resumed", parked())])),
            )
            .fails(400, "That is no id.")
            .fails(401, "A token is needed.")
            .fails(404, "It is not parked.")],
    )
}

/// What all routes that may have to evaluate have in common.
fn evaluated(operation: Operation) -> Operation {
    operation
        .gives(
            202,
            "It is being evaluated (`BUSY_THRESHOLD`); ask again.",
            Content::Json(schema::object([("message", schema::text())])),
        )
        .fails(400, "A parameter is wrong.")
        .fails(403, "The process or its owner is not served here.")
        .fails(413, "The process asks for more than the unit offers.")
        .fails(422, "A format, an encoding or an extension of the module is not supported, or the log is not what a log must be; the text says why.")
        .fails(500, "Something that is needed cannot be had, is not in the log, or cannot be used: a module that does not compile, say, or that starts with more memory than `Memory-Limit` allows.")
        .fails(503, "The process is parked, or the unit is full or stopping.")
        .with("Parked", "`slot=<nonce>; since=<ms>; until=<ms>`, when it is parked.")
}

/// A point of a log.
fn point(operation: Operation) -> Operation {
    operation
        .query("slot", schema::digits(), "Right after this log entry.")
        .query("to", schema::digits(), "At this time in milliseconds. Without either: now.")
        .query("no-busy", schema::text(), "Wait for the state, however long; any value.")
}

/// What a module answered.
fn outcome() -> Value {
    schema::object([
        ("Messages?", schema::list(schema::anything())),
        ("Spawns?", schema::list(schema::anything())),
        ("Assignments?", schema::list(schema::anything())),
        ("Output?", schema::anything()),
        ("Error?", schema::anything()),
        ("GasUsed?", schema::number()),
    ])
}

fn parked() -> Value {
    schema::object([
        ("process", schema::id()),
        ("slot?", schema::number()),
        ("cron?", schema::text()),
        ("timestamp?", schema::number()),
        ("since", schema::number()),
        ("until", schema::number()),
        ("tries", schema::number()),
        ("reason", schema::text()),
    ])
}
