//! The book: what is made from code is up to date, every chapter is listed, every link leads somewhere; and the files for
//! operators fit the programs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use holon_book::{programs, root};
use serde_json::Value;

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below a folder of the repository whose names end like this.
fn below(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root().join(folder)];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.file_name().unwrap() != "node_modules" => left.push(path),
                false if path.to_str().unwrap().ends_with(ending) => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Text without blocks and spans of code.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    });
    let lines = lines.map(|line| line.split('`').step_by(2).collect::<Vec<_>>().join(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// What links and pictures point to.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// Anchors of headings, as mdBook and GitHub name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let headings = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && line.starts_with('#')
    });
    let anchor = |line: &str| -> String {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn chapters_made_from_code_are_what_the_code_says() {
    let stale: Vec<_> = holon_book::stale().unwrap().into_iter().map(|file| file.path).collect();
    assert!(stale.is_empty(), "run `cargo xtask docs`: {stale:?}");
}

#[test]
fn the_summary_lists_every_chapter_once() {
    let mut listed = links(&read("docs/src/SUMMARY.md"));
    let there: BTreeSet<String> = below("docs/src", ".md")
        .iter()
        .map(|path| path.strip_prefix(root().join("docs/src")).unwrap().to_str().unwrap().to_owned())
        .filter(|path| path != "SUMMARY.md")
        .collect();
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(unique, there);
    listed.sort();
    assert_eq!(listed, unique.into_iter().collect::<Vec<_>>(), "each once");
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let mut files = below("docs/src", ".md");
    files.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name)));
    for folder in ["wasm-processes", "examples", "sdk"] {
        files.extend(below(folder, "README.md"));
    }
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let inside_book = file.starts_with(root().join("docs/src"));
            let leaves_book =
                inside_book && !target.canonicalize().is_ok_and(|it| it.starts_with(root().join("docs/src")));
            if !target.exists() || leaves_book {
                wrong.push(format!("{}: {link}", file.display()));
            } else if !anchor.is_empty() && !anchors(&fs::read_to_string(&target).unwrap()).contains(anchor) {
                wrong.push(format!("{}: {link} (no such heading)", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "broken links:\n{}", wrong.join("\n"));
}

#[test]
fn routes_are_registered_in_no_other_way_than_with_their_description() {
    let mut found = Vec::new();
    for source in
        ["su/src", "mu/src", "cu/src", "sdk/weave/src", "sdk/explorer/src"].into_iter().flat_map(|it| below(it, ".rs"))
    {
        let text = fs::read_to_string(&source).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        if source.ends_with("tests.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let plain = ["web::resource(", "config.route(", ".route(web::", "#[get(", "#[post("];
            if plain.iter().any(|way| line.contains(way)) {
                found.push(format!("{}:{}", source.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "routes without a description: {found:?}");
}

/// Flags that a program knows, with those that every unit has.
fn flags() -> BTreeMap<String, BTreeSet<String>> {
    let flags = |program: &clap::Command| {
        let own = program.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned);
        own.chain(["config".to_owned()]).collect::<BTreeSet<_>>()
    };
    programs().iter().map(|program| (program.get_name().to_owned(), flags(program))).collect()
}

/// Environment variables that any program knows.
fn variables() -> BTreeSet<String> {
    let programs = programs();
    let arguments = programs.iter().flat_map(clap::Command::get_arguments);
    arguments.filter_map(|argument| Some(argument.get_env()?.to_str()?.to_owned())).collect()
}

#[test]
fn units_of_systemd_compose_and_kubernetes_use_flags_that_exist() {
    let known = flags();
    let mut files = below("operations/systemd", ".service");
    files.extend(below("operations/kubernetes", ".yaml"));
    files.push(root().join("operations/compose.yaml"));
    let mut checked = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut program = None;
        for word in text.split(|c: char| c.is_whitespace() || ",[]\"'".contains(c)).filter(|word| !word.is_empty()) {
            let name = word.rsplit('/').next().unwrap();
            if known.contains_key(name) {
                program = Some(name.to_owned());
            } else if ["services:", "volumes:"].contains(&word) || word == "curl" || word == "holon" {
                program = None;
            }
            let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) else { continue };
            let Some(program) = &program else { continue };
            let flag = flag.split('=').next().unwrap();
            assert!(known[program].contains(flag), "{}: {program} has no --{flag}", file.display());
            checked += 1;
        }
    }
    assert!(checked >= 20, "only {checked} flags were found");
}

#[test]
fn configuration_files_are_read_by_the_programs() {
    for unit in ["su", "mu", "cu"] {
        let file = root().join(format!("operations/config/{unit}.toml")).into_os_string();
        let line = |name: &str, wallet: &str| {
            [name.into(), "--config".into(), file.clone(), wallet.into(), "wallet.json".into()]
        };
        let parsed = match unit {
            "su" => holon_unit::config::parse::<holon_su::Program>(line("holon-su", "--wallet-path")).map(drop),
            "mu" => holon_unit::config::parse::<holon_mu::Program>(line("holon-mu", "--wallet")).map(drop),
            _ => holon_unit::config::parse::<holon_cu::Program>(line("holon-cu", "--wallet")).map(drop),
        };
        parsed.unwrap_or_else(|error| panic!("operations/config/{unit}.toml: {error}"));
    }
}

#[test]
fn variables_in_the_files_for_operators_are_known_to_a_unit() {
    let known = variables();
    let text = read("operations/kubernetes/kustomization.yaml");
    let literals: Vec<&str> = text
        .lines()
        .map(|line| line.trim().trim_start_matches('#').trim())
        .filter_map(|line| line.strip_prefix("- ")?.split_once('='))
        .map(|(name, _)| name)
        .collect();
    assert!(literals.len() >= 4, "{literals:?}");
    for name in literals {
        assert!(known.contains(name), "no unit reads {name}");
    }
}

/// Metrics that an expression of PromQL asks for.
fn asked(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| {
        ["ao_mu_", "ao_cu_", "su_core_", "su_settle_", "message_save_", "weave_"].iter().any(|it| word.starts_with(it))
    };
    words.filter(ours).map(str::to_owned).collect()
}

/// What an expression of PromQL asks for of a metric of ours: the label and its values, as in `metric{label=~"a|b"}`.
fn selected(expression: &str) -> Vec<(String, String, Vec<String>)> {
    let mut found = Vec::new();
    for (before, inside) in expression.match_indices('{').map(|(at, _)| (&expression[..at], &expression[at + 1..])) {
        let Some(metric) = asked(before).pop().filter(|metric| before.ends_with(metric.as_str())) else { continue };
        let inside = inside.split('}').next().unwrap();
        for selection in inside.split("\",").filter(|selection| !selection.trim().is_empty()) {
            let (label, values) = selection.split_once(['=', '!']).unwrap();
            let values =
                values.trim_start_matches(['=', '~']).trim_matches('"').split('|').map(str::to_owned).collect();
            found.push((metric.clone(), label.trim().to_owned(), values));
        }
    }
    found
}

#[test]
fn labels_that_are_asked_for_have_these_values() {
    let reference = read("docs/src/reference/metrics.md");
    let row = |metric: &str| {
        let row = reference.lines().find(|line| line.split('`').skip(1).step_by(2).any(|name| name == metric));
        row.unwrap_or_else(|| panic!("no unit has {metric}")).split(" | ").nth(2).unwrap().to_owned()
    };
    let texts = read("operations/grafana/holon.json").replace("\\\"", "\"") + &read("operations/alerts.yml");
    let mut checked = 0;
    for line in texts.lines().filter(|line| line.contains("expr\": \"") || line.contains("expr: ")) {
        for (metric, label, values) in selected(line) {
            let labels = row(&metric);
            let known = labels.split("; ").find_map(|known| known.strip_prefix(&format!("`{label}`: ")));
            let known: Vec<_> = known.unwrap_or_else(|| panic!("{metric} has no label {label}")).split(", ").collect();
            for value in values {
                assert!(known.contains(&value.as_str()), "{metric} has no {label}={value}, only {known:?}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 5, "only {checked} values were found");
}

#[test]
fn prometheus_asks_the_services_where_compose_runs_them() {
    let compose = read("operations/compose.yaml");
    let prometheus = read("operations/prometheus.yml");
    let targets: Vec<_> =
        prometheus.split("targets: [\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(targets.len(), 3, "{targets:?}");
    for target in targets {
        let (service, port) = target.split_once(':').unwrap();
        let service = compose.split(&format!("\n  {service}:\n")).nth(1).unwrap_or_else(|| panic!("no {service}"));
        let service = service.split("\n\n").next().unwrap();
        assert!(service.contains(&format!("0.0.0.0:{port}")), "{target} is not where the service listens");
    }
    for file in ["./prometheus.yml", "./alerts.yml", "./grafana/provisioning", "./grafana/holon.json"] {
        assert!(compose.contains(&format!("- {file}:")) && root().join("operations").join(file).exists(), "{file}");
    }
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_units_have() {
    let reference = read("docs/src/reference/metrics.md");
    let known: BTreeSet<&str> = reference.split('`').skip(1).step_by(2).collect();
    let dashboard: Value = serde_json::from_str(&read("operations/grafana/holon.json")).unwrap();
    let mut expressions = Vec::new();
    let mut left = vec![&dashboard];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                expressions.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
                left.extend(fields.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    assert!(expressions.len() >= 12, "only {} panels ask for something", expressions.len());
    let alerts = read("operations/alerts.yml");
    expressions.extend(alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned));
    let mut names = BTreeSet::new();
    for expression in &expressions {
        for name in asked(expression) {
            assert!(known.contains(name.as_str()), "{expression}: no unit has {name}");
            names.insert(name);
        }
    }
    assert!(names.len() >= 20, "{names:?}");
}

#[test]
fn every_alert_is_explained() {
    let chapter = read("docs/src/operations/monitoring.md");
    for alert in read("operations/alerts.yml").lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(chapter.contains(&format!("`{alert}`")), "monitoring.md says nothing of {alert}");
    }
}
