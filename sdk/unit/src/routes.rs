//! Routes that describe themselves. What registers a handler also writes its part of `GET /openapi.json`, so the
//! description names every route of a service and no other.
//!
//! Macros on handlers (utoipa and its kind) were considered: they describe typed extractors and answers, which routes here do
//! not have, because what foreign clients send and expect is decided byte by byte; the list of routes would stay a second
//! one beside the registration; and they would be compiled with every unit.

mod document;
pub mod schema;

use std::fmt;

use actix_web::dev::{Handler, Service};
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{FromRequest, HttpResponse, Responder, Route, guard};
use serde_json::Value;

/// Where the description is served.
pub const DESCRIPTION_PATH: &str = "/openapi.json";

/// The routes of a service, in the order in which they are tried.
pub struct Routes {
    title: &'static str,
    about: &'static str,
    version: &'static str,
    errors: Content,
    paths: Vec<Path>,
    other_methods: Option<fn() -> Route>,
    unknown: Option<fn() -> Route>,
    lenient: bool,
}

/// A path with its operations.
struct Path {
    template: &'static str,
    operations: Vec<Operation>,
    other_methods: Option<fn() -> Route>,
}

/// What a body is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// JSON, with its schema.
    Json(Value),
    /// Anything else, by media type.
    Other(&'static str),
}

impl Content {
    /// `{"error": text}`.
    pub fn error() -> Self {
        Self::Json(schema::object([("error", schema::text())]))
    }

    /// Plain text.
    pub const fn text() -> Self {
        Self::Other("text/plain")
    }

    /// A data item as bytes.
    pub const fn bytes() -> Self {
        Self::Other("application/octet-stream")
    }

    /// Server-sent events.
    pub const fn events() -> Self {
        Self::Other("text/event-stream")
    }

    /// Metrics.
    pub const fn metrics() -> Self {
        Self::Other("application/openmetrics-text")
    }
}

/// A method of a path: its handler and what is said of it.
pub struct Operation {
    methods: Vec<Method>,
    route: Route,
    summary: &'static str,
    about: Option<&'static str>,
    parameters: Vec<Parameter>,
    body: Option<(&'static str, Vec<Content>)>,
    answers: Vec<Answer>,
    extension: bool,
    operator: bool,
}

struct Parameter {
    place: &'static str,
    name: &'static str,
    about: &'static str,
    schema: Value,
    required: bool,
}

struct Answer {
    status: u16,
    about: &'static str,
    /// `None`: an error as the service gives them.
    content: Option<Content>,
    headers: Vec<(&'static str, &'static str)>,
}

/// `GET`.
pub fn get<F, Args>(handler: F, summary: &'static str) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Operation::new(vec![Method::GET], web::get().to(handler), summary)
}

/// `GET`, and `HEAD` with the same headers.
pub fn get_or_head<F, Args>(handler: F, summary: &'static str) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let route = web::route().guard(read()).to(handler);
    Operation::new(vec![Method::GET, Method::HEAD], route, summary)
}

/// The methods that read.
fn read() -> impl guard::Guard {
    guard::Any(guard::Get()).or(guard::Head())
}

/// `POST`.
pub fn post<F, Args>(handler: F, summary: &'static str) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Operation::new(vec![Method::POST], web::post().to(handler), summary)
}

/// `PATCH`.
pub fn patch<F, Args>(handler: F, summary: &'static str) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Operation::new(vec![Method::PATCH], web::patch().to(handler), summary)
}

/// `DELETE`.
pub fn delete<F, Args>(handler: F, summary: &'static str) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Operation::new(vec![Method::DELETE], web::delete().to(handler), summary)
}

impl Operation {
    fn new(methods: Vec<Method>, route: Route, summary: &'static str) -> Self {
        Self {
            methods,
            route,
            summary,
            about: None,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            extension: false,
            operator: false,
        }
    }

    /// More than the summary says.
    #[must_use]
    pub fn about(mut self, text: &'static str) -> Self {
        self.about = Some(text);
        self
    }

    /// A part of the path.
    #[must_use]
    pub fn part(self, name: &'static str, schema: Value, about: &'static str) -> Self {
        self.parameter("path", name, schema, about, true)
    }

    /// A query parameter that may be left out.
    #[must_use]
    pub fn query(self, name: &'static str, schema: Value, about: &'static str) -> Self {
        self.parameter("query", name, schema, about, false)
    }

    /// A query parameter that may not.
    #[must_use]
    pub fn needs(self, name: &'static str, schema: Value, about: &'static str) -> Self {
        self.parameter("query", name, schema, about, true)
    }

    /// A header that may be left out.
    #[must_use]
    pub fn header(self, name: &'static str, schema: Value, about: &'static str) -> Self {
        self.parameter("header", name, schema, about, false)
    }

    fn parameter(
        mut self,
        place: &'static str,
        name: &'static str,
        schema: Value,
        about: &'static str,
        required: bool,
    ) -> Self {
        self.parameters.push(Parameter { place, name, about, schema, required });
        self
    }

    /// What the request's body is, in one of several forms.
    #[must_use]
    pub fn body(mut self, about: &'static str, forms: impl IntoIterator<Item = Content>) -> Self {
        self.body = Some((about, forms.into_iter().collect()));
        self
    }

    /// An answer.
    #[must_use]
    pub fn gives(mut self, status: u16, about: &'static str, content: Content) -> Self {
        self.answers.push(Answer { status, about, content: Some(content), headers: Vec::new() });
        self
    }

    /// A header of the answer that was described last.
    #[must_use]
    pub fn with(mut self, name: &'static str, about: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.push((name, about));
        }
        self
    }

    /// An answer that is an error in the form the service gives them.
    #[must_use]
    pub fn fails(mut self, status: u16, about: &'static str) -> Self {
        self.answers.push(Answer { status, about, content: None, headers: Vec::new() });
        self
    }

    /// It is an extension: units of others need not have it.
    #[must_use]
    pub fn extension(mut self) -> Self {
        self.extension = true;
        self
    }

    /// It is for the operator, who shows a token; others get 401.
    #[must_use]
    pub fn operator(mut self) -> Self {
        self.operator = true;
        self
    }
}

impl Routes {
    /// No routes yet. Errors are `{"error": text}` unless told otherwise.
    pub fn new(title: &'static str, about: &'static str, version: &'static str) -> Self {
        let (errors, paths) = (Content::error(), Vec::new());
        Self { title, about, version, errors, paths, other_methods: None, unknown: None, lenient: false }
    }

    /// What errors look like.
    #[must_use]
    pub fn errors(mut self, content: Content) -> Self {
        self.errors = content;
        self
    }

    /// What the paths that follow answer to methods they do not have; without it, what unknown paths answer.
    #[must_use]
    pub fn other_methods(mut self, answer: fn() -> Route) -> Self {
        self.other_methods = Some(answer);
        self
    }

    /// Paths may end with a slash that they do not have.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// What unknown paths answer.
    #[must_use]
    pub fn unknown(mut self, answer: fn() -> Route) -> Self {
        self.unknown = Some(answer);
        self
    }

    /// A path, with `{name}` for parts that vary, and its operations. Paths are tried in the order in which they are given.
    #[must_use]
    pub fn at<const N: usize>(mut self, template: &'static str, operations: [Operation; N]) -> Self {
        self.paths.push(Path { template, operations: operations.into(), other_methods: self.other_methods });
        self
    }

    /// These routes after those of `first`, which are tried before them.
    #[must_use]
    pub fn after(mut self, first: Self) -> Self {
        self.paths.splice(0..0, first.paths);
        self
    }

    /// The description: OpenAPI 3.1, as JSON.
    pub fn description(&self) -> Value {
        document::of(self)
    }

    /// Registers all of them, and `GET /openapi.json` before them.
    pub fn register(self, config: &mut ServiceConfig) {
        let (unknown, lenient) = (self.unknown, self.lenient);
        let routes = Self { other_methods: self.other_methods, ..Self::new(self.title, self.about, self.version) }.at(
            DESCRIPTION_PATH,
            [get_or_head(|| async { HttpResponse::Ok().finish() }, "This description")
                .about("Generated from the same declarations that register the routes.")
                .extension()
                .gives(200, "OpenAPI 3.1.", Content::Json(schema::anything()))],
        );
        let described = self.after(routes);
        let text = Bytes::from(described.description().to_string());
        let templates: Vec<_> = described.paths.iter().map(|path| path.template).collect();
        for path in described.paths {
            let slashed = format!("{}/", path.template);
            // Nor does `{rest:.*}` need one.
            let own = path.template.ends_with(['/', '}']) && path.template.contains(":.*");
            // What stands below it may begin with nothing: then that is another path of its own.
            let below = |template: &&str| template.strip_prefix(&slashed).is_some_and(|rest| rest.contains(":.*"));
            let taken = templates.contains(&slashed.as_str()) || templates.iter().any(below);
            let spare = lenient && !own && path.template != "/" && !taken;
            let patterns = [path.template.to_owned()].into_iter().chain(spare.then_some(slashed));
            let allowed: Vec<_> = path.operations.iter().flat_map(|operation| &operation.methods).collect();
            let allowed = allowed.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
            let allowed = HeaderValue::from_str(&allowed).ok();
            let mut resource = web::resource(patterns.collect::<Vec<_>>());
            if path.template == DESCRIPTION_PATH {
                let text = text.clone();
                let answer = move || {
                    let text = text.clone();
                    async { HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/json")).body(text) }
                };
                resource = resource.route(web::route().guard(read()).to(answer));
            } else {
                for operation in path.operations {
                    resource = resource.route(operation.route);
                }
            }
            if let Some(other) = path.other_methods.or(unknown) {
                resource = resource.default_service(other());
            }
            config.service(resource.wrap_fn(move |request, route| {
                let allowed = allowed.clone();
                let answer = route.call(request);
                async move {
                    let mut answer = answer.await?;
                    if let Some(allowed) = allowed.filter(|_| answer.status() == StatusCode::METHOD_NOT_ALLOWED) {
                        answer.headers_mut().insert(ALLOW, allowed);
                    }
                    Ok(answer)
                }
            }));
        }
        if let Some(unknown) = unknown {
            config.default_service(unknown());
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.paths.iter().map(|path| path.template);
        f.debug_list().entries(paths).finish()
    }
}
