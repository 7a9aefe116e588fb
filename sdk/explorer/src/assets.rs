//! The files of the page, as they are in `assets`.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    /// Path below `/explorer/`.
    pub path: &'static str,
    /// `Content-Type`.
    pub media_type: &'static str,
    /// What is in it.
    pub text: &'static str,
    /// Entity tag: another text has another.
    pub tag: String,
}

macro_rules! files {
    ($($path:literal)*) => { [$(($path, include_str!(concat!("../assets/", $path)))),*] };
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    files! {
        "index.html" "style.css" "mark.svg"
        "app.js" "dom.js" "show.js" "network.js" "live.js" "item.js" "wallet.js" "spark.js" "pushes.js" "sender.js" "traced.js" "tree.js"
        "units/compute.js" "units/gateway.js" "units/messenger.js" "units/scheduler.js"
        "views/data.js" "views/find.js" "views/message.js" "views/messages.js" "views/overview.js" "views/process.js"
        "views/processes.js" "views/result.js" "views/send.js"
    }
    .into_iter()
    .map(|(path, text)| Asset { path, media_type: media_type(path), text, tag: tag(text) })
    .collect()
});

/// Every file of the page.
pub fn assets() -> &'static [Asset] {
    &ASSETS
}

/// The file with a path.
pub fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

fn tag(text: &str) -> String {
    // Its keys are fixed, so that all units of one version give the same tag.
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}
