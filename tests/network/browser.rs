//! What a browser asks before it lets a page speak to a unit.

use holon_tests::network::Network;
use reqwest::{Method, header};

use crate::speaking::{at, client};

#[tokio::test]
async fn every_unit_lets_pages_of_any_origin_in() {
    let network = Network::start().unwrap();
    let ready = network.ready();
    let process = &ready.counter_process;
    let client = client();
    let origin = "https://app.example";
    for (unit, path, method) in [
        (&ready.mu_url, "/".to_owned(), "POST"),
        (&ready.mu_url, format!("/?process-id={process}&assign={}", "m".repeat(43)), "POST"),
        (&ready.mu_url, format!("/monitor/{process}"), "POST"),
        (&ready.mu_url, format!("/monitor/{process}"), "DELETE"),
        (&ready.su_url, "/".to_owned(), "POST"),
        (&ready.su_url, format!("/{process}?process-id={process}"), "GET"),
        (&ready.cu_url, format!("/dry-run?process-id={process}"), "POST"),
        (&ready.cu_url, format!("/result/{process}?process-id={process}"), "GET"),
        (&ready.cu_url, format!("/results/{process}"), "GET"),
        (&ready.gateway_url, "/graphql".to_owned(), "POST"),
        (&ready.gateway_url, format!("/{process}"), "GET"),
        (&ready.uploader_url, "/tx/arweave".to_owned(), "POST"),
    ] {
        let url = at(unit, &path);
        let answer = client
            .request(Method::OPTIONS, &url)
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, method)
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type,accept,x-max-age")
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{method} {url}: {}", answer.status());
        let allowed = |name| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_lowercase();
        let origins = allowed(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert!(origins == "*" || origins == origin, "{method} {url}: origin \"{origins}\"");
        let methods = allowed(header::ACCESS_CONTROL_ALLOW_METHODS);
        assert!(methods == "*" || methods.contains(&method.to_lowercase()), "{method} {url}: methods \"{methods}\"");
        let headers = allowed(header::ACCESS_CONTROL_ALLOW_HEADERS);
        for name in ["content-type", "accept", "x-max-age"] {
            assert!(headers == "*" || headers.contains(name), "{method} {url}: headers \"{headers}\"");
        }
    }
}

#[tokio::test]
async fn answers_carry_the_permission_too() {
    let network = Network::start().unwrap();
    let ready = network.ready();
    let client = client();
    for (unit, path) in [
        (&ready.mu_url, "/".to_owned()),
        (&ready.su_url, "/".to_owned()),
        (&ready.cu_url, "/".to_owned()),
        (&ready.cu_url, "/no/such/route".to_owned()),
        (&ready.gateway_url, "/info".to_owned()),
        (&ready.gateway_url, format!("/{}", ready.counter_process)),
    ] {
        let url = at(unit, &path);
        let answer = client.get(&url).header(header::ORIGIN, "https://app.example").send().await.unwrap();
        let origins = answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert!(origins.is_some(), "{url} answered {} without permission", answer.status());
    }
}
