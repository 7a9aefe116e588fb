//! Every route with what is said of it (spec 04 §1, and extensions).

use actix_web::web;
use holon_unit::routes::{Content, Operation, Routes, delete, get_or_head, post, schema};
use serde_json::Value;

use super::{health, metrics, monitor, nowhere, push, seeing, unmonitor, wrong_method};
use crate::trace::{DEFAULT_NODES, MAX_NODES, MAX_PAGE};

/// The routes. The application must hold `web::Data<Api>`.
pub fn routes() -> Routes {
    Routes::new(
        "Messenger unit",
        "Takes messages from clients, and carries what processes send to each other. A 202 means that the scheduler has the \
         message and that the push of its result is on disk.",
        env!("CARGO_PKG_VERSION"),
    )
    .lenient()
    .unknown(|| web::to(nowhere))
    .other_methods(|| web::to(wrong_method))
    .at("/", [home(), take()])
    .at("/health", [get_or_head(health, "Whether it serves").gives(200, "It does.", Content::Empty)])
    .at("/metrics", [get_or_head(metrics, "Metrics").gives(200, "OpenMetrics.", Content::metrics())])
    .at(
        "/monitor/{process}",
        [
            post(monitor, "Monitors a process: what its crons send is pushed")
                .part("process", schema::id(), "The process.")
                .body("A signed data item whose target is the process.", [Content::bytes()])
                .gives(200, "It is monitored.", Content::Other("text/html"))
                .fails(400, "The item is not acceptable.")
                .fails(403, "Only the owner of the process may monitor it here.")
                .fails(404, "The process is not known.")
                .fails(502, "A scheduler or gateway failed."),
            delete(unmonitor, "Ends that")
                .part("process", schema::id(), "The process.")
                .body("The same; anybody's, unless only the owner of the process may monitor it here.", [Content::bytes()])
                .gives(200, "It is not monitored any more.", Content::Other("text/html"))
                .fails(400, "The item is not acceptable.")
                .fails(403, "Only the owner of the process may end that here.")
                .fails(404, "It is not monitored."),
        ],
    )
    .at(
        "/push/{message}/{number}",
        [post(push, "Pushes an outgoing message of a result again")
            .about("Where the operator allows it (`ENABLE_PUSH`), and for messages after a block height.")
            .part("message", schema::id(), "The message whose result it is.")
            .part("number", schema::number(), "Which of the `Messages` of the result, from 0.")
            .needs("process-id", schema::id(), "The process whose result it is.")
            .gives(202, "It is pushed.", Content::Json(accepted()))
            .fails(400, "It cannot be pushed again, or not here.")
            .fails(403, "Pushing again is switched off.")
            .fails(404, "There is no such message.")],
    )
    .at("/trace/{message}", [trace()])
    .at(
        "/dead-letters",
        [get_or_head(seeing::dead_letters, "What was given up, the newest first")
            .about("For the operator, unless traces are public.")
            .extension()
            .query("before", schema::digits(), "Older than this dead letter.")
            .query("limit", schema::number_in(1, seeing::MAX_LISTED as u64, seeing::DEFAULT_LISTED as u64), "How many; more than the most is the most.")
            .gives(200, "Dead letters.", Content::Json(schema::object([("deadLetters", schema::list(dead_letter()))])))
            .fails(400, "A parameter is wrong.")
            .fails(401, "A token is needed.")],
    )
    .at(
        "/dead-letters/{letter}/retry",
        [post(seeing::retry, "Takes one up again where it was given up")
            .extension()
            .operator()
            .part("letter", schema::number(), "Its id.")
            .gives(
                202,
                "It is tried again.",
                Content::Json(schema::object([("message", schema::text()), ("id", schema::number())])),
            )
            .fails(400, "That is no id.")
            .fails(401, "A token is needed.")
            .fails(404, "There is no such dead letter.")
            .fails(409, "It cannot be tried again.")],
    )
    .at(
        "/monitors",
        [get_or_head(seeing::monitors, "Who is monitored, when each is due and how it fares; those that fail first")
            .about(
                "For the operator, unless traces are public. With a shared outbox they are those that this messenger asks; \
                 `others` says what the others have, and what nobody has right now.",
            )
            .extension()
            .query("limit", schema::number_in(1, seeing::MAX_LISTED as u64, seeing::DEFAULT_LISTED as u64), "How many; more than the most is the most.")
            .gives(
                200,
                "Monitored processes.",
                Content::Json(schema::object([
                    ("monitors", schema::list(monitored())),
                    ("total", schema::number()),
                    ("others?", schema::list(other())),
                ])),
            )
            .fails(400, "A parameter is wrong.")
            .fails(401, "A token is needed.")],
    )
}

fn accepted() -> Value {
    schema::object([("message", schema::text()), ("id", schema::id())])
}

fn home() -> Operation {
    get_or_head(seeing::home, "The unit's name; with `debug` a page of traces")
        .about(
            "The page is that of the reference, without addresses of clients; empty for those who may not see traces.",
        )
        .query("debug", schema::text(), "Any value.")
        .query("process", schema::id(), "With `debug`, which it needs: the process.")
        .query("message", schema::id(), "Traces of that message only; not together with the next two.")
        .query("assign", schema::id(), "Traces of that assignment only.")
        .query("spawn", schema::text(), "Traces of spawns only.")
        .query("page", schema::number(), "From 1.")
        .query("page-size", schema::number_in(1, MAX_PAGE as u64, 10), "Traces of a page.")
        .gives(200, "The name, or with `debug` a page as JSON.", Content::Other("text/html"))
        .fails(400, "A parameter is wrong.")
        .fails(422, "More than one of `message`, `assign` and `spawn`.")
}

fn take() -> Operation {
    post(super::post, "Takes a message, a process or an assignment")
        .about("With `process-id` and `assign` the item that is named is assigned to that process, and the body has no meaning.")
        .query("process-id", schema::id(), "The process of an assignment; together with `assign`.")
        .query("assign", schema::id(), "The item to assign.")
        .query("base-layer", schema::text(), "Whether that is a base-layer transaction; any value.")
        .query("exclude", schema::text(), "Fields that the process shall not see, comma separated.")
        .header("traceparent", schema::text(), "W3C trace context, which requests to other units then carry.")
        .body("A signed data item.", [Content::bytes()])
        .gives(202, "The scheduler has it, and its result will be pushed.", Content::Json(accepted()))
        .fails(400, "It is not an acceptable item, or the scheduler refused it; the text says why.")
        .fails(403, "Such items are not taken here.")
        .fails(404, "The process or its scheduler is not known.")
        .fails(408, "The body came too slowly.")
        .fails(413, "The body is too large.")
        .fails(429, "The scheduler takes no more for now, and does not have the item; `Retry-After` says when to try again.")
        .fails(502, "The scheduler or a gateway failed. The scheduler may have the item; the same item may be sent again.")
        .fails(503, "Too much is queued or on its way, or the unit is stopping; `Retry-After` says when to try again.")
}

fn trace() -> Operation {
    let id = || schema::or_null(schema::id());
    let time = || schema::or_null(schema::number());
    let result = schema::object([
        ("error", schema::or_null(schema::text())),
        ("messages", schema::number()),
        ("spawns", schema::number()),
        ("assignments", schema::number()),
    ]);
    let node = schema::object([
        ("id", id()),
        ("parent", id()),
        ("depth", schema::number()),
        (
            "kind",
            schema::or_null(schema::one_of(["message", "wallet-message", "process", "notice", "assignment", "cron"])),
        ),
        ("from", id()),
        ("to", id()),
        ("nonce", time()),
        ("madeAt", time()),
        ("scheduledAt", time()),
        ("evaluatedAt", time()),
        ("result", schema::or_null(result)),
        ("duplicate", schema::truth()),
        ("gaveUp", schema::list(schema::list(schema::text()))),
        ("children", schema::list(schema::id())),
    ]);
    get_or_head(seeing::trace, "A message and everything that follows from it")
        .about("For the operator, unless traces are public.")
        .extension()
        .part("message", schema::id(), "The message.")
        .query("limit", schema::number_in(1, MAX_NODES as u64, DEFAULT_NODES as u64), "Most items of the answer.")
        .gives(
            200,
            "Each item before what descends from it.",
            Content::Json(schema::object([
                ("origin", id()),
                ("trace", schema::or_null(schema::text())),
                ("waiting", schema::number()),
                ("pushed", time()),
                ("limits", schema::anything()),
                ("truncated", schema::truth()),
                ("nodes", schema::list(node)),
            ])),
        )
        .fails(400, "That is no id.")
        .fails(401, "A token is needed.")
        .fails(404, "It did not come through this messenger, or it was long ago.")
}

fn dead_letter() -> Value {
    schema::object([
        ("id", schema::number()),
        ("at", schema::number()),
        ("reason", schema::text()),
        ("retryable", schema::truth()),
        ("stage?", schema::text()),
        ("origin?", schema::or_null(schema::id())),
        ("item?", schema::anything()),
        ("parent?", schema::or_null(schema::id())),
        ("depth?", schema::number()),
        ("emitter?", schema::or_null(schema::id())),
        ("entry?", schema::anything()),
        ("text?", schema::text()),
    ])
}

fn other() -> Value {
    schema::object([
        ("messenger", schema::or_null(schema::text())),
        ("shares", schema::number()),
        ("tasks", schema::number()),
        ("monitors", schema::number()),
    ])
}

fn monitored() -> Value {
    schema::object([
        ("process", schema::id()),
        ("due", schema::anything()),
        ("polled", schema::anything()),
        ("failures", schema::number()),
        ("error", schema::or_null(schema::text())),
    ])
}
