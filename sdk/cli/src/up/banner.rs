//! What people see when the network is ready.

use std::time::Duration;

use super::environment::{aos_command, bare, variables};
use super::proof::Proof;
use crate::record::Record;
use crate::terminal::{COPY, GOOD, LABEL, STRONG, Terminal};

/// Says where everything is and what to do next.
pub fn ready(terminal: Terminal, record: &Record, proof: &Proof, took: Duration) {
    terminal.line(format!(
        "{GOOD}●{GOOD:#} {STRONG}holon is up{STRONG:#} {LABEL}in {:.1} s, data in {}{LABEL:#}\n",
        took.as_secs_f64(),
        record.data.display()
    ));

    unit(terminal, "gateway", &bare(&record.gateway_url), "");
    unit(terminal, "messenger", &bare(&record.mu_url), &record.authority.to_string());
    unit(terminal, "scheduler", &bare(&record.su_url), &record.scheduler.to_string());
    unit(terminal, "compute", &bare(&record.cu_url), &record.compute.to_string());
    terminal.field("explorer", format!("{COPY}{}{COPY:#}", record.explorer_url));
    terminal.line("");
    terminal.field("module", record.counter_module.to_string());
    terminal.field("counter", format!("{COPY}{}{COPY:#}", record.counter_process));
    let how = match proof.action {
        "Increment" => "sent it an Increment, it answered",
        _ => "asked it to Get, it answered",
    };
    let took = format!("{LABEL}in {} ms{LABEL:#}", proof.took.as_millis());
    match &proof.counter {
        Some(counter) => terminal.field("proof", format!("{how} {GOOD}{STRONG}{counter}{STRONG:#}{GOOD:#} {took}")),
        None => terminal.field("proof", "the counter is still catching up with its log"),
    }

    heading(terminal, "Try it in another terminal");
    for command in ["holon send counter --action Increment --data 5", "holon dry-run counter --action Get"] {
        terminal.line(format!("  {COPY}{command}{COPY:#}"));
    }

    heading(terminal, "For aos, aoconnect and other programs");
    for (name, value) in variables(record) {
        terminal.line(format!("  export {name}={value}"));
    }
    terminal.line(format!(
        "  {LABEL}export AOS_MODULE=   # what `holon publish <aos.wasm> --format aos64` prints{LABEL:#}"
    ));
    terminal.line(format!("\n  {}", aos_command(record)));

    terminal.line(format!("\n{LABEL}Ctrl-C stops in order; the next `holon up` goes on from here{LABEL:#}"));
}

fn unit(terminal: Terminal, name: &str, url: &str, address: &str) {
    terminal.field(name, format!("{COPY}{url:<24}{COPY:#}{LABEL}{address}{LABEL:#}"));
}

fn heading(terminal: Terminal, text: &str) {
    terminal.line(format!("\n{STRONG}{text}{STRONG:#}"));
}
