//! The command line: every command, flag and example.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use holon_protocol::{Address, ItemId, MessageId, ModuleId, Tag};
use url::Url;

use crate::commands::{
    announce, build, completions, dead_letters, deploy, dry_run, env, eval, fork, init, inspect, logs, man, network,
    publish, replay, result, results, resume, retry, send, spawn, state, test, trace, wallet, watch,
};
use crate::project::Project;
use crate::{console, service, up};

const ABOUT: &str = "Run an ao network on this machine, and talk to any";
const AFTER: &str = "\
Exit codes:
  0  done
  1  the process reported an error
  2  the command line is wrong
  3  a unit, the network or this machine failed

Start here:
  holon up                                            a whole network, until Ctrl-C
  holon send counter --action Increment --data 5      in another terminal
  holon console counter                               or talk to it line by line
  holon init jar                                      a process of your own

Commands find the network through --network (HOLON_NETWORK), else through MU_URL, CU_URL and
GATEWAY_URL (or their flags), else the one that `holon network use` chose, else the running network
of .holon here or above, else the one started last that still runs. --mu-url, --cu-url,
--gateway-url and --uploader-url win over all of these, each for its unit. NO_COLOR switches colours
off.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "holon", version, about = ABOUT, after_help = AFTER, max_term_width = 110)]
pub struct Arguments {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// Reads a command line.
    ///
    /// Every 64th id begins with a hyphen, so all arguments that take ids allow one (`allow_hyphen_values`). Unless the
    /// line holds such an id, leading arguments lose that leave again: a mistyped flag must not pass for a process.
    pub fn read(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let line: Vec<OsString> = line.into_iter().collect();
        let is_hyphen_id = |text: &str| text.starts_with('-') && text.parse::<ItemId>().is_ok();
        let mut command = Self::command();
        if !line.iter().any(|argument| argument.to_str().is_some_and(is_hyphen_id)) {
            command = command.mut_subcommands(|command| {
                command.mut_args(|argument| match argument.is_positional() && argument.get_id() != "code" {
                    true => argument.allow_hyphen_values(false),
                    false => argument,
                })
            });
        }
        let matches = command.try_get_matches_from(line)?;
        let mut arguments = Self::from_arg_matches(&matches)?;
        arguments.global.settle(&matches);
        Ok(arguments)
    }

    /// The command with the whole command lines of the units in it, for manuals and completions.
    ///
    /// Units have flags of their own, some with the names of ours. So here the flags of every command are given to each of
    /// the other commands by hand.
    pub fn documented() -> clap::Command {
        fn with(command: clap::Command, flags: &[clap::Arg]) -> clap::Command {
            command.args(flags).mut_subcommands(|command| with(command, flags))
        }
        let command = Self::command();
        let flags: Vec<clap::Arg> = command.get_arguments().cloned().map(|flag| flag.global(false)).collect();
        let units = service::UNITS;
        command.mut_args(|flag| flag.global(false)).mut_subcommands(|command| {
            match units.iter().find(|(name, _)| *name == command.get_name()) {
                Some((_, unit)) => service::command(*unit),
                None => with(command, &flags),
            }
        })
    }
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Write JSON, one value a line
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Messenger unit
    #[arg(
        long,
        global = true,
        env = "MU_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub mu_url: Option<Url>,
    /// Compute unit
    #[arg(
        long,
        global = true,
        env = "CU_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub cu_url: Option<Url>,
    /// Arweave gateway
    #[arg(
        long,
        global = true,
        env = "GATEWAY_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub gateway_url: Option<Url>,
    /// Where modules are uploaded [default: the gateway]
    #[arg(
        long,
        global = true,
        env = "UPLOADER_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub uploader_url: Option<Url>,
    /// A network: its name (`holon network`), or the data folder of one that `holon up` runs
    #[arg(
        long,
        global = true,
        env = "HOLON_NETWORK",
        value_name = "NETWORK",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub network: Option<PathBuf>,
    /// Wallet that signs [default: the one in the configuration folder, made when needed]
    #[arg(
        long,
        global = true,
        env = "HOLON_WALLET",
        value_name = "FILE",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub wallet: Option<PathBuf>,
}

impl Global {
    /// The name of a network, given by flag or variable, goes before URLs of the environment; URLs given by flags stay, and
    /// replace that network's own.
    fn settle(&mut self, matches: &ArgMatches) {
        let is_flag = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let urls = [
            (&mut self.mu_url, is_flag("mu_url")),
            (&mut self.cu_url, is_flag("cu_url")),
            (&mut self.gateway_url, is_flag("gateway_url")),
            (&mut self.uploader_url, is_flag("uploader_url")),
        ];
        if self.network.is_some() {
            urls.into_iter().filter(|(_, is_flag)| !is_flag).for_each(|(url, _)| *url = None);
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole network: local Arweave, scheduler, compute and messenger unit
    #[command(after_help = up::EXAMPLES)]
    Up(up::Arguments),
    /// Begin a process of your own, in Rust
    #[command(after_help = init::EXAMPLES)]
    Init(init::Arguments),
    /// Compile a process to a Wasm module
    #[command(after_help = build::EXAMPLES)]
    Build(build::Arguments),
    /// Run the tests of a process, natively
    #[command(after_help = test::EXAMPLES)]
    Test(test::Arguments),
    /// Build, publish and spawn a process, and remember its ids
    #[command(after_help = deploy::EXAMPLES)]
    Deploy(deploy::Arguments),
    /// Talk to a process line by line, and see what happens to it meanwhile
    #[command(after_help = console::EXAMPLES)]
    Console(console::Arguments),
    /// Name networks, and choose the one that commands talk to
    #[command(after_help = network::EXAMPLES)]
    Network(network::Arguments),
    /// Make or show a wallet
    #[command(after_help = wallet::EXAMPLES)]
    Wallet(wallet::Arguments),
    /// Publish a Wasm file as a module
    #[command(after_help = publish::EXAMPLES)]
    Publish(publish::Arguments),
    /// Spawn a process of a module
    #[command(after_help = spawn::EXAMPLES)]
    Spawn(spawn::Arguments),
    /// Send a message and show its result
    #[command(after_help = send::EXAMPLES)]
    Send(send::Arguments),
    /// Show the result of a message
    #[command(after_help = result::EXAMPLES)]
    Result(result::Arguments),
    /// List the results of a process
    #[command(after_help = results::EXAMPLES)]
    Results(results::Arguments),
    /// Show the results of a process as they come
    #[command(after_help = watch::EXAMPLES)]
    Watch(watch::Arguments),
    /// Show what a process has put out over time
    #[command(after_help = logs::EXAMPLES)]
    Logs(logs::Arguments),
    /// Show what is known of a process, a message or a module
    #[command(after_help = inspect::EXAMPLES)]
    Inspect(inspect::Arguments),
    /// Show what became of a message and of everything that follows from it
    #[command(after_help = trace::EXAMPLES)]
    Trace(trace::Arguments),
    /// List what the messenger gave up, with reasons
    #[command(after_help = dead_letters::EXAMPLES)]
    DeadLetters(dead_letters::Arguments),
    /// Have the messenger take up again what it gave up
    #[command(after_help = retry::EXAMPLES)]
    Retry(retry::Arguments),
    /// Have the compute unit try again what used up what it may
    #[command(after_help = resume::EXAMPLES)]
    Resume(resume::Arguments),
    /// Ask a process without leaving a trace
    #[command(after_help = dry_run::EXAMPLES)]
    DryRun(dry_run::Arguments),
    /// Evaluate code in a process that has a console (aos)
    #[command(after_help = eval::EXAMPLES)]
    Eval(eval::Arguments),
    /// Rebuild a process from Arweave alone and show its state root
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Arguments),
    /// Show the state of a process at a slot
    #[command(after_help = state::EXAMPLES)]
    State(state::Arguments),
    /// Go on with a process of another network in a local one, from a slot on
    #[command(after_help = fork::EXAMPLES)]
    Fork(fork::Arguments),
    /// Print the environment variables of the running network
    #[command(after_help = env::EXAMPLES)]
    Env(env::Arguments),
    /// Run a messenger unit
    #[command(disable_help_flag = true)]
    Mu(UnitLine),
    /// Run a scheduler unit
    #[command(disable_help_flag = true)]
    Su(UnitLine),
    /// Run a compute unit
    #[command(disable_help_flag = true)]
    Cu(UnitLine),
    /// Run a local Arweave
    #[command(disable_help_flag = true)]
    Weave(UnitLine),
    /// Tell everybody where a scheduler unit is
    #[command(after_help = announce::EXAMPLES)]
    Announce(announce::Arguments),
    /// Print what makes a shell complete this command
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Arguments),
    /// Print the manual page, or write a page for each command
    #[command(after_help = man::EXAMPLES)]
    Man(man::Arguments),
}

/// The command line of a unit, which the unit reads itself; see [`service`].
#[derive(Debug, Args)]
pub struct UnitLine {
    /// What the unit takes: see `--help` behind its name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    pub line: Vec<OsString>,
}

/// Tags on the command line: `--action A --tag N=V`.
#[derive(Debug, Clone, Args)]
pub struct TagArguments {
    /// Value of the Action tag, by which most processes choose what to do
    #[arg(short, long, value_name = "ACTION")]
    pub action: Option<String>,
    /// Another tag; may be repeated
    #[arg(short, long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    pub tags: Vec<Tag>,
}

impl TagArguments {
    /// The tags in order, the action first.
    pub fn into_tags(self) -> impl Iterator<Item = Tag> {
        self.action.map(|action| Tag::new("Action", action)).into_iter().chain(self.tags)
    }
}

/// Data on the command line: text, or a file.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub struct DataArguments {
    /// Data as text
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub data: Option<String>,
    /// Data from a file; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// A process: its id, the name of one that `holon up` spawned, or that of the project around.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessName {
    /// An id.
    Id(holon_protocol::ProcessId),
    /// The counter of the running network.
    Counter,
    /// The process of the project in this folder.
    Project,
}

/// Reads a process argument.
pub fn parse_process(text: &str) -> Result<ProcessName, String> {
    match text {
        "counter" => Ok(ProcessName::Counter),
        text => match text.parse() {
            Ok(id) => Ok(ProcessName::Id(id)),
            Err(_) if matches!(Project::nearby(), Ok(Some(project)) if project.process.name == text) => {
                Ok(ProcessName::Project)
            }
            Err(_) => {
                Err("a process id has 43 characters; or write `counter` for the one that `holon up` spawned, or, in \
                           the folder of a project, its name"
                    .into())
            }
        },
    }
}

/// Reads `NAME=VALUE`.
pub fn parse_tag(text: &str) -> Result<Tag, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Tag::new(name, value)),
        _ => Err("write NAME=VALUE".into()),
    }
}

/// Reads a module id.
pub fn parse_module(text: &str) -> Result<ModuleId, String> {
    text.parse().map_err(|_| "a module id has 43 characters; `holon publish` prints one".into())
}

/// Reads a wallet address.
pub fn parse_address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|_| "a wallet address has 43 characters; `holon up` prints those of its units".into())
}

/// Reads a message id.
pub fn parse_message(text: &str) -> Result<MessageId, String> {
    text.parse().map_err(|_| "a message id has 43 characters; `holon send` prints one".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::read(["holon"].iter().chain(line).map(OsString::from))
    }

    #[test]
    fn ids_may_begin_with_hyphens_and_look_like_flags() {
        for start in ["--M42", "-M42d", "-help", "-data", "-a-a-", "--dat", "-V-V-"] {
            let id = format!("{start}{}", "x9_-z".repeat(8))[..42].to_owned() + "E";
            let lines: [&[&str]; 6] = [
                &["send", &id, "--action", "Get"],
                &["dry-run", "--action", "Get", &id, "--at", &id, "--owner", &id],
                &["eval", &id, "-1"],
                &["results", "-l", "3", &id],
                &["result", &id, "--process", &id],
                &["spawn", "--module", &id, "--scheduler", &id, "--authority", &id],
            ];
            for line in lines {
                let parsed = read(line);
                assert!(parsed.is_ok(), "{line:?}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn flags_are_still_flags() {
        for line in [["send", "--help"], ["send", "-h"]] {
            let error = read(&line).unwrap_err();
            assert_eq!(error.kind(), clap::error::ErrorKind::DisplayHelp, "{line:?}");
        }
        let typo = read(&["send", "--actoin", "Get", "counter"]).unwrap_err();
        assert!(typo.to_string().contains("--action"), "the right flag is suggested: {typo}");
        assert!(read(&["eval", "counter", "-1"]).is_ok());
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
        Arguments::documented().debug_assert();
    }

    #[test]
    fn urls_beside_the_name_of_a_network_replace_its_own() {
        let global = read(&["env", "--network", "team", "--cu-url", "http://one.example"]).unwrap().global;
        assert!(global.network.is_some() && global.cu_url.is_some());
    }
}
