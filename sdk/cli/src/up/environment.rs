//! What other programs must be told to use a local network (spec 07 §8).

use url::Url;

use crate::record::Record;

/// The environment variables that aos, aoconnect and the reference units read.
pub fn variables(record: &Record) -> Vec<(&'static str, String)> {
    let gateway = bare(&record.gateway_url);
    let graphql = bare(&record.graphql_url);
    vec![
        ("GATEWAY_URL", gateway.clone()),
        ("GRAPHQL_URL", graphql.clone()),
        ("ARWEAVE_GRAPHQL", graphql),
        ("UPLOADER_URL", bare(&record.uploader_url)),
        ("MU_URL", bare(&record.mu_url)),
        ("CU_URL", bare(&record.cu_url)),
        ("SU_URL", bare(&record.su_url)),
        ("SCHEDULER", record.scheduler.to_string()),
        ("AUTHORITY", record.authority.to_string()),
        // The console unpacks whatever it gets there; a path that is not found keeps it quiet.
        ("UPDATE_URL", format!("{gateway}/no-update")),
    ]
}

/// The command that starts the official console on this network: its processes trust the public messenger only, unless
/// told otherwise (spec 07 §5.6).
pub fn aos_command(record: &Record) -> String {
    format!("aos --legacy --tag-name Authority --tag-value {}", record.authority)
}

/// GraphQL of a gateway.
pub fn graphql_url(gateway: &Url) -> Url {
    let mut url = gateway.clone();
    url.set_path("/graphql");
    url
}

/// The page in which a network can be looked at, at its gateway.
pub fn explorer_url(gateway: &Url) -> Url {
    let mut url = gateway.clone();
    url.set_path("/explorer/");
    url
}

/// Clients concatenate texts, so base URLs end without a slash.
pub fn bare(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}
