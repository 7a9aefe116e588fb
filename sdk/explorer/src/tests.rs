//! The page as it is served, and what its files may contain.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION};
use actix_web::http::{Method, StatusCode};
use actix_web::test::{TestRequest, call_service, init_service, read_body, read_body_json};
use actix_web::{App, HttpResponse, web};

use super::*;

fn network() -> Network {
    Network {
        name: Some("a network".into()),
        unit: Some(Unit::Cu),
        gateway_url: Some("http://127.0.0.1:4000/".into()),
        scheduler: Some("S".repeat(43)),
        ..Network::default()
    }
}

macro_rules! get {
    ($path:expr $(, $header:expr)*) => {{
        let app = App::new().configure(|config| routes(&network()).register(config)).route("/{any}", web::get().to(HttpResponse::Ok));
        let app = init_service(app).await;
        call_service(&app, TestRequest::get().uri($path)$(.insert_header($header))*.to_request()).await
    }};
}

#[actix_web::test]
async fn the_page_comes_with_its_policy_and_every_file_it_needs() {
    let page = get!("/explorer/");
    assert_eq!(page.status(), StatusCode::OK);
    let header = |name: &str| page.headers().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header(CONTENT_TYPE.as_str()), "text/html; charset=utf-8");
    assert_eq!(header("content-security-policy"), POLICY);
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header(CACHE_CONTROL.as_str()), "no-cache");
    for asset in assets() {
        let file = get!(&format!("/explorer/{}", asset.path));
        assert_eq!(file.status(), StatusCode::OK, "{}", asset.path);
        assert_eq!(file.headers().get(CONTENT_TYPE).unwrap(), asset.media_type);
        assert_eq!(read_body(file).await, asset.text);
    }
}

#[actix_web::test]
async fn what_a_browser_has_is_not_sent_again() {
    let tag = get!("/explorer/app.js").headers().get(ETAG).unwrap().to_str().unwrap().to_owned();
    let again = get!("/explorer/app.js", (IF_NONE_MATCH, format!("\"other\", {tag}")));
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert!(read_body(again).await.is_empty());
    assert_eq!(get!("/explorer/app.js", (IF_NONE_MATCH, "\"other\"")).status(), StatusCode::OK);
}

#[actix_web::test]
async fn its_headers_can_be_asked_for_alone_and_nothing_can_be_sent_to_it() {
    for (method, status) in [(Method::HEAD, StatusCode::OK), (Method::POST, StatusCode::METHOD_NOT_ALLOWED)] {
        let app = init_service(App::new().configure(|config| routes(&network()).register(config))).await;
        let request = TestRequest::default().method(method).uri("/explorer/app.js").to_request();
        assert_eq!(call_service(&app, request).await.status(), status);
    }
}

#[actix_web::test]
async fn paths_beside_it_lead_there_or_nowhere() {
    let beside = get!("/explorer");
    assert_eq!(beside.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(beside.headers().get(LOCATION).unwrap(), "explorer/");
    for path in ["/explorer/nothing.js", "/explorer/views", "/explorer/../Cargo.toml", "/explorer/%2e%2e/Cargo.toml"] {
        assert_eq!(get!(path).status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(get!("/else").status(), StatusCode::OK, "other routes are left alone");
}

#[actix_web::test]
async fn it_tells_what_it_knows_with_urls_as_clients_take_them() {
    let told: serde_json::Value = read_body_json(get!("/explorer/network.json")).await;
    assert_eq!(told["self"], "cu");
    assert_eq!(told["name"], "a network");
    assert_eq!(told["gateway_url"], "http://127.0.0.1:4000");
    assert_eq!(told["mu_url"], serde_json::Value::Null);
    assert_eq!(told["scheduler"], "S".repeat(43));
}

#[test]
fn secrets_in_urls_stay_here() {
    for (url, shown) in [
        ("https://user:p@ss@gateway.example/a/?key=1#x", "https://gateway.example/a"),
        ("http://127.0.0.1:4000", "http://127.0.0.1:4000"),
        ("http://[::1]:4000/?a=@", "http://[::1]:4000"),
    ] {
        assert_eq!(public(url), shown);
    }
}

#[test]
fn what_is_named_wins_over_what_is_guessed() {
    let guessed =
        Network { gateway_url: Some("http://guess".into()), mu_url: Some("http://mu".into()), ..Network::default() };
    let both = network().or(guessed);
    assert_eq!(both.gateway_url.as_deref(), Some("http://127.0.0.1:4000/"));
    assert_eq!(both.mu_url.as_deref(), Some("http://mu"));
}

#[test]
fn every_file_of_the_folder_is_served() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let mut files: Vec<_> = walk(&folder)
        .into_iter()
        .map(|path| path.strip_prefix(&folder).unwrap().to_str().unwrap().replace('\\', "/"))
        .collect();
    let mut served: Vec<_> = assets().iter().map(|asset| asset.path.to_owned()).collect();
    files.sort();
    served.sort();
    assert_eq!(files, served);
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn nothing_in_it_makes_markup_of_text_or_asks_strangers() {
    for asset in assets() {
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"]
        {
            assert!(!asset.text.contains(forbidden), "{} contains {forbidden}", asset.path);
        }
        // Examples for people have no host after the slashes; a namespace is a name.
        for (at, _) in asset.text.match_indices("://") {
            let host = asset.text[at + 3..].chars().next();
            let namespace =
                asset.text[..at + 3].ends_with("http://") && asset.text[at + 3..].starts_with("www.w3.org/2000/svg");
            let local = asset.text[at + 3..].starts_with("127.0.0.1");
            assert!(namespace || local || !host.is_some_and(char::is_alphanumeric), "{} names a host", asset.path);
        }
    }
}

#[test]
fn scripts_import_only_files_there_are() {
    for asset in assets().iter().filter(|asset| asset.path.ends_with(".js")) {
        let folder = asset.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for line in asset.text.lines().filter(|line| line.starts_with("import ") || line.starts_with("export {")) {
            let Some((_, rest)) = line.split_once("from \"") else { continue };
            let named = rest.split('"').next().unwrap();
            let path = match (named.strip_prefix("../"), named.strip_prefix("./")) {
                (Some(above), _) => above.to_owned(),
                (_, Some(beside)) if folder.is_empty() => beside.to_owned(),
                (_, Some(beside)) => format!("{folder}/{beside}"),
                _ => panic!("{}: {named} is not a file of the page", asset.path),
            };
            assert!(super::asset(&path).is_some(), "{} imports {path}", asset.path);
        }
    }
}
