//! Metrics, from what units register before anything has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result};

use crate::cell;

/// A metric with what is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series {
    /// What it says.
    pub help: String,
    /// Counter, gauge or histogram.
    pub kind: String,
    /// Labels with their values. Buckets of histograms are left out.
    pub labels: BTreeMap<String, BTreeSet<String>>,
    /// Names under which it can be asked for.
    pub names: BTreeSet<String>,
}

/// The metrics in a text of `GET /metrics`, by name.
pub fn served(text: &str) -> BTreeMap<String, Series> {
    let mut all: BTreeMap<String, Series> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        let of = |rest: &str| rest.split_once(' ').map(|(name, rest)| (name.to_owned(), rest.to_owned()));
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(of) {
            all.entry(name).or_default().help = help;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(of) {
            all.entry(name.clone()).or_default().kind = kind;
            current = name;
        } else if let Some((sample, _)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) {
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let series = all.entry(current.clone()).or_default();
            series.names.insert(name.to_owned());
            for label in labels.trim_end_matches('}').split(',') {
                match label.split_once('=') {
                    Some((name, value)) if name != "le" => {
                        series.labels.entry(name.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
                    }
                    _ => {}
                }
            }
        }
    }
    all
}

pub(crate) fn chapter() -> Result<String> {
    let mut out = String::from(
        "# Metrics

Each unit serves them as `GET /metrics`, in the text form of OpenMetrics. Counters count from the start of the unit; every series is
there from the start, at zero. [Monitoring](../operations/monitoring.md) has a dashboard and alerts.
",
    );
    let units = [
        ("Scheduler unit", holon_su::metrics::Metrics::new().registry().text()),
        ("Messenger unit", holon_mu::Metrics::default().registry().text()),
        ("Compute unit", holon_cu::Metrics::new().registry().text()),
        ("Local Arweave", holon_weave::metrics().text()),
    ];
    for (unit, text) in units {
        let text = text.with_context(|| format!("metrics of the {unit}"))?;
        let _ = write!(out, "\n## {unit}\n\n| name | kind | labels | |\n|---|---|---|---|\n");
        for Series { help, kind, labels, names } in served(&text).values() {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let labels: Vec<String> = labels
                .iter()
                .map(|(name, values)| format!("`{name}`: {}", values.iter().cloned().collect::<Vec<_>>().join(", ")))
                .collect();
            let _ = writeln!(out, "| {} | {kind} | {} | {} |", names.join(" "), cell(&labels.join("; ")), cell(help));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_kinds_are_read() {
        let text = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total{x=\"1\",y=\"z\"} 0\na_b_total{x=\"2\",y=\"z\"} 5\n\
                    # HELP h Times.\n# TYPE h histogram\nh_sum 0.0\nh_count 0\nh_bucket{le=\"1.0\"} 0\n# EOF\n";
        let all = served(text);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a_b", "h"]);
        assert_eq!(all["a_b"].names, BTreeSet::from(["a_b_total".to_owned()]));
        assert_eq!(all["a_b"].labels["x"], BTreeSet::from(["1".to_owned(), "2".to_owned()]));
        assert_eq!((all["h"].kind.as_str(), all["h"].help.as_str()), ("histogram", "Times."));
        assert_eq!(all["h"].names.len(), 3);
        assert!(all["h"].labels.is_empty());
    }
}
