//! The description of routes as OpenAPI 3.1 says it.

use serde_json::{Map, Value, json};

use super::{Answer, Content, Operation, Parameter, Routes};

pub(super) fn of(routes: &Routes) -> Value {
    let mut paths = Map::new();
    for path in &routes.paths {
        let entry = paths.entry(template(path.template)).or_insert_with(|| json!({}));
        for operation in &path.operations {
            for method in &operation.methods {
                entry[method.as_str().to_ascii_lowercase()] = operation.description(&routes.errors);
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": routes.title,
            "description": routes.about,
            "version": routes.version,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "./", "description": "The service that serves this description." }],
        "tags": [{ "name": "extension", "description": "Units of others need not have these routes." }],
        "paths": paths,
        "components": { "securitySchemes": { "operator": {
            "type": "http",
            "scheme": "bearer",
            "description": "The operator's token: that of the options, or of the file operator-token in the data folder.",
        } } },
    })
}

/// `{rest:.*}` of the router is `{rest}` here.
fn template(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut pattern = false;
    for character in path.chars() {
        pattern = match character {
            ':' => true,
            '}' => false,
            _ => pattern,
        };
        if !pattern {
            out.push(character);
        }
    }
    out
}

impl Operation {
    fn description(&self, errors: &Content) -> Value {
        let mut out = json!({ "summary": self.summary });
        if let Some(about) = self.about {
            out["description"] = about.into();
        }
        if self.extension {
            out["tags"] = json!(["extension"]);
        }
        if self.operator {
            out["security"] = json!([{ "operator": [] }]);
        }
        if !self.parameters.is_empty() {
            out["parameters"] = self.parameters.iter().map(Parameter::description).collect();
        }
        if let Some((about, forms)) = &self.body {
            out["requestBody"] = json!({ "description": about, "required": true, "content": content(forms) });
        }
        let mut answers: Vec<_> = self.answers.iter().collect();
        answers.sort_by_key(|answer| answer.status);
        let answers = answers.into_iter().map(|answer| (answer.status.to_string(), answer.description(errors)));
        out["responses"] = Value::Object(answers.collect());
        out
    }
}

impl Parameter {
    fn description(&self) -> Value {
        json!({
            "in": self.place,
            "name": self.name,
            "description": self.about,
            "required": self.required,
            "schema": self.schema,
        })
    }
}

impl Answer {
    fn description(&self, errors: &Content) -> Value {
        let mut out = json!({ "description": self.about });
        let content = content([self.content.as_ref().unwrap_or(errors)]);
        if content.as_object().is_some_and(|forms| !forms.is_empty()) {
            out["content"] = content;
        }
        for (name, about) in &self.headers {
            out["headers"][name] = json!({ "description": about, "schema": { "type": "string" } });
        }
        out
    }
}

fn content<'a>(forms: impl IntoIterator<Item = &'a Content>) -> Value {
    let forms = forms.into_iter().filter_map(|form| match form {
        Content::Empty => None,
        Content::Json(schema) => Some(("application/json".to_owned(), json!({ "schema": schema }))),
        Content::Other(media) => Some(((*media).to_owned(), json!({}))),
    });
    Value::Object(forms.collect())
}

#[cfg(test)]
mod tests {
    use actix_web::{HttpResponse, test, web};

    use super::super::{DESCRIPTION_PATH, delete, get, post, schema};
    use super::*;

    async fn fine() -> HttpResponse {
        HttpResponse::Ok().finish()
    }

    fn routes() -> Routes {
        Routes::new("A unit", "Does things.", "1.2.3")
            .unknown(|| web::to(HttpResponse::NotFound))
            .at("/files/{path:.*}", [get(fine, "A file").part("path", schema::text(), "Its path.")])
            .other_methods(|| web::to(HttpResponse::MethodNotAllowed))
            .at(
                "/things/{thing}",
                [
                    post(fine, "Makes a thing")
                        .part("thing", schema::id(), "Its id.")
                        .body("A thing.", [Content::bytes()])
                        .gives(200, "It is there.", Content::Empty)
                        .with("Thing", "Which.")
                        .fails(400, "It is none."),
                    delete(fine, "Unmakes it").operator().extension(),
                ],
            )
    }

    #[actix_web::test]
    async fn routes_answer_as_declared_and_the_description_names_them_and_no_others() {
        let app = test::init_service(actix_web::App::new().configure(|config| routes().register(config))).await;
        let status = async |method: &str, path: &str| {
            let request = test::TestRequest::default().method(method.parse().unwrap()).uri(path).to_request();
            test::call_service(&app, request).await.status().as_u16()
        };
        assert_eq!(status("GET", "/files/a/b").await, 200);
        assert_eq!(status("POST", "/files/a/b").await, 404);
        assert_eq!(status("POST", "/things/1").await, 200);
        assert_eq!(status("DELETE", "/things/1").await, 200);
        assert_eq!(status("GET", "/things/1").await, 405);
        assert_eq!(status("POST", "/things/1/").await, 404, "unless the service is lenient");
        let request = test::TestRequest::get().uri("/things/1").to_request();
        let refused = test::call_service(&app, request).await;
        assert_eq!(refused.headers().get("allow").unwrap(), "POST, DELETE");
        assert_eq!(status("GET", "/elsewhere").await, 404);

        let request = test::TestRequest::get().uri(DESCRIPTION_PATH).to_request();
        let document: Value = test::call_and_read_body_json(&app, request).await;
        let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
        assert_eq!(paths, ["/openapi.json", "/files/{path}", "/things/{thing}"]);
    }

    #[actix_web::test]
    async fn a_lenient_service_takes_paths_that_end_with_a_slash_for_what_they_are_without_it() {
        let routes = || routes().lenient().at("/page", [get(fine, "A")]).at("/page/", [post(fine, "Another")]);
        let app = test::init_service(actix_web::App::new().configure(|config| routes().register(config))).await;
        for (method, path, status) in
            [("POST", "/things/1/", 200), ("GET", "/files/a/", 200), ("GET", "/page/", 405), ("POST", "/page/", 200)]
        {
            let request = test::TestRequest::default().method(method.parse().unwrap()).uri(path).to_request();
            assert_eq!(test::call_service(&app, request).await.status().as_u16(), status, "{method} {path}");
        }
    }

    #[::core::prelude::v1::test]
    fn an_operation_is_described_with_its_parts() {
        let document = routes().description();
        let things = &document["paths"]["/things/{thing}"];
        assert_eq!(things["post"]["parameters"][0]["in"], "path");
        assert_eq!(things["post"]["requestBody"]["content"], json!({ "application/octet-stream": {} }));
        assert_eq!(things["post"]["responses"]["200"]["headers"]["Thing"]["description"], "Which.");
        let error = &things["post"]["responses"]["400"]["content"]["application/json"]["schema"];
        assert_eq!(error["required"], json!(["error"]));
        assert_eq!(things["delete"]["security"], json!([{ "operator": [] }]));
        assert_eq!(things["delete"]["tags"], json!(["extension"]));
        assert_eq!(document["info"]["version"], "1.2.3");
    }
}
