//! Gateway: data of items and transactions, whole or in part (spec 03 §4.6).

use std::ops::Range as Bounds;

use actix_web::body::SizedStream;
use actix_web::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, RANGE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::stream;
use holon_protocol::{ItemId, Tags};
use holon_unit::routes::{Content, Operation, Routes, get_or_head as get, schema};

use super::manifest::{self, Manifest};
use super::range::{Part, part};
use super::{Shared, tag_headers};
use crate::Error;
use crate::answer::Refusal;
use crate::store::record::{Place, Record};
use crate::weave::Weave;

/// Bytes read at once while data streams.
const STEP_BYTES: u64 = 1024 * 1024;
/// Content type of data whose tags name none.
const DEFAULT_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// How data is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As at `/{id}`: with the item's own `Content-Encoding`, and a process's tags as headers.
    Gateway,
    /// Just the bytes.
    Plain,
}

pub fn add(routes: Routes) -> Routes {
    let data = |operation: Operation| {
        operation
            .gives(200, "The data.", Content::bytes())
            .gives(206, "The part that `Range` names.", Content::bytes())
            .gives(304, "The client has it (`If-None-Match`).", Content::Empty)
            .gives(416, "There is no such part.", Content::Empty)
            .fails(400, "That is no id, or the range is malformed.")
            .fails(404, "There is no such data.")
    };
    routes
        .at(
            "/raw/{id}",
            [data(get(raw, "Data as it was uploaded").part("id", schema::id(), "An item or transaction."))],
        )
        .at(
            "/{id}",
            [data(
                get(by_id, "Data, through its manifest if it has one")
                    .part("id", schema::id(), "An item or transaction.")
                    .gives(301, "To the same with a slash at its end.", Content::Empty),
            )],
        )
        .at(
            "/{id}/{path:.*}",
            [data(get(by_path, "Data that a manifest names").part("id", schema::id(), "The manifest.").part(
                "path",
                schema::text(),
                "A path in it.",
            ))],
        )
}

async fn raw(state: Shared, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let record = find(&state, &id)?;
    respond(&state, &request, record, Form::Plain).await
}

async fn by_id(state: Shared, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, Refusal> {
    let record = find(&state, &id)?;
    if is_manifest(&record.header.tags()) && manifest_of(&state, &record).await?.is_some() {
        // Relative links inside only work below a folder.
        let location = format!("/{}/", record.id);
        return Ok(HttpResponse::MovedPermanently().insert_header((LOCATION, location)).finish());
    }
    respond(&state, &request, record, Form::Gateway).await
}

async fn by_path(state: Shared, request: HttpRequest, path: Path<(String, String)>) -> Result<HttpResponse, Refusal> {
    let (id, path) = path.into_inner();
    let record = find(&state, &id)?;
    let manifest = match is_manifest(&record.header.tags()) {
        true => manifest_of(&state, &record).await?,
        false => None,
    };
    match manifest {
        Some(manifest) => {
            let target = manifest.resolve(&path).ok_or_else(Refusal::not_found)?;
            let record = known(&state, target)?;
            respond(&state, &request, record, Form::Gateway).await
        }
        None if path.is_empty() => respond(&state, &request, record, Form::Gateway).await,
        None => Err(Refusal::not_found()),
    }
}

/// What is not an id at all is an unknown route: 404, too.
fn find(state: &Shared, text: &str) -> Result<Record, Refusal> {
    known(state, text.parse().map_err(|_| Refusal::not_found())?)
}

fn known(state: &Shared, id: ItemId) -> Result<Record, Refusal> {
    let record = state.weave.store().record(id)?.ok_or_else(Refusal::not_found)?;
    // Until the last chunk has come there is nothing to show.
    if state.weave.store().is_complete(&record.place)? { Ok(record) } else { Err(Refusal::not_found()) }
}

fn is_manifest(tags: &Tags) -> bool {
    tags.get("Content-Type") == Some(manifest::CONTENT_TYPE)
}

async fn manifest_of(state: &Shared, record: &Record) -> Result<Option<Manifest>, Refusal> {
    let place = record.place.clone();
    if place.size > manifest::MAX_BYTES {
        return Ok(None);
    }
    let json = state.weave.run(move |weave| weave.store().data(&place, 0, place.size)).await??;
    Ok(Manifest::parse(&json))
}

/// Answers with a record's data, or the part that is asked for.
pub async fn respond(
    state: &Shared,
    request: &HttpRequest,
    record: Record,
    form: Form,
) -> Result<HttpResponse, Refusal> {
    let store = state.weave.store();
    if !store.is_complete(&record.place)? {
        return Err(Refusal::not_found());
    }
    let (size, tags) = (record.place.size, record.header.tags());
    let etag = format!("\"{}\"", record.id);
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let mut response = HttpResponse::build(StatusCode::OK);
    response
        .insert_header((ETAG, etag.as_str()))
        .insert_header((ACCEPT_RANGES, "bytes"))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"));
    if form == Form::Gateway {
        tag_headers::of(&tags).into_iter().for_each(|header| {
            response.append_header(header);
        });
        if let Some(encoding) = tags.get("Content-Encoding").and_then(|value| HeaderValue::from_str(value).ok()) {
            response.insert_header((CONTENT_ENCODING, encoding));
        }
    }
    if header(IF_NONE_MATCH).is_some_and(|known| known.split(',').any(|tag| tag.trim() == etag)) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    let bounds = match header(RANGE).map_or(Part::Whole, |range| part(range, size)) {
        Part::Whole => 0..size,
        Part::Some(start, end) => {
            let range = format!("bytes {start}-{}/{size}", end - 1);
            response.status(StatusCode::PARTIAL_CONTENT).insert_header((CONTENT_RANGE, range));
            start..end
        }
        Part::Unsatisfiable => {
            let range = format!("bytes */{size}");
            return Ok(response
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .insert_header((CONTENT_RANGE, range))
                .finish());
        }
        Part::Malformed => return Err(Refusal::bad_request("The Range header is malformed.")),
    };
    let content_type = tags.get("Content-Type").and_then(|value| HeaderValue::from_str(value).ok());
    response.content_type(content_type.unwrap_or(DEFAULT_CONTENT_TYPE));
    let head = request.method() == Method::HEAD;
    send(&state.weave, response, record.place, bounds, head).await
}

async fn send(
    weave: &Weave,
    mut response: HttpResponseBuilder,
    place: Place,
    bounds: Bounds<u64>,
    head: bool,
) -> Result<HttpResponse, Refusal> {
    let length = bounds.end - bounds.start;
    if head {
        return Ok(response.body(SizedStream::new(length, stream::empty::<Result<Bytes, Error>>())));
    }
    if length <= STEP_BYTES {
        let data = weave.run(move |weave| weave.store().data(&place, bounds.start, bounds.end)).await??;
        return Ok(response.body(data));
    }
    let steps = stream::try_unfold((weave.clone(), bounds.start), move |(weave, at)| {
        let (place, end) = (place.clone(), bounds.end);
        async move {
            if at >= end {
                return Ok(None);
            }
            let next = end.min(at + STEP_BYTES);
            let data = weave.run(move |weave| weave.store().data(&place, at, next)).await??;
            Ok::<_, Error>(Some((data, (weave, next))))
        }
    });
    Ok(response.body(SizedStream::new(length, Box::pin(steps))))
}
