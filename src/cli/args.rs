//! The arguments.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    admin::wire::{EndpointVerb, ReportFormat},
    demo::Scenario,
};

/// A reverse proxy that splits traffic between a blue and a green backend, measures both, and moves the weights.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 65 refused, 69 no proxy answers, 71 cannot bind, \
                          78 bad configuration.";

const ENDPOINT_HELP: &str = "\
A drained endpoint stays out over reloads, until `ready` or the end of the process; `ready` also ends
an ejection, but an endpoint that its health checks find unhealthy stays out until they find it well.

Examples: tidegate endpoint blue 10.0.0.1:8080 drain --reason \"new disk\"
          tidegate endpoint blue unix:/run/app.sock ready";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve in the foreground until TERM or INT; HUP reloads, USR1 reopens the access log, USR2 upgrades
    Run(ConfigFile),
    /// Check the configuration and explain what it means
    Check(ConfigFile),
    /// Show it at work: sample blue and green servers, Tidegate, load, and a rollout in seconds
    Demo {
        /// What happens to green: healthy, errors, slow, down, masked or thin
        #[arg(long, value_name = "NAME", default_value_t = Scenario::default())]
        scenario: Scenario,
        /// End with the rollout: 0 when all was as the scenario wants it, else 1
        #[arg(long)]
        once: bool,
        /// Port to listen on; by default a free one
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        port: u16,
    },
    /// Show routes, weights and their source, rollouts, backends and endpoints
    Status {
        #[command(flatten)]
        proxy: Proxy,
        /// Show it again every second, until Ctrl-C
        #[arg(short, long)]
        watch: bool,
        /// As JSON, one object a line when watching
        #[arg(long)]
        json: bool,
    },
    /// Set a route's split by hand, until the file's value for it changes
    #[command(after_help = "Example: tidegate split api blue=50 green=50")]
    Split {
        #[command(flatten)]
        proxy: Proxy,
        /// Name of the route
        route: String,
        /// Percent by backend; backends left out get nothing
        #[arg(required = true, value_name = "BACKEND=PERCENT")]
        shares: Vec<String>,
        /// Why, for the audit trail
        #[arg(long)]
        reason: Option<String>,
    },
    /// Begin a rollout: its checks, then its first step
    Start(Operation),
    /// Hold a rollout where it is: nothing moves by itself but a rollback
    Pause(Operation),
    /// Go on after a pause
    Resume(Operation),
    /// Pass a gate, or skip what is left of a step
    Advance(Operation),
    /// All requests to the canary, now
    Promote(Operation),
    /// All requests to the baseline, now
    Rollback(Operation),
    /// Change a threshold of a running rollout
    #[command(after_help = "Example: tidegate set api rollback.0.for 5s")]
    Set {
        #[command(flatten)]
        proxy: Proxy,
        /// Name of the rollout
        rollout: String,
        /// Which threshold; a wrong one is answered with those that there are
        key: String,
        /// Its new value, as the configuration would write it
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// Why, for the audit trail
        #[arg(long)]
        reason: Option<String>,
    },
    /// Look at everything that a rollout will need: PROCEED, HOLD or STOP
    #[command(after_help = "Ends with 0 for PROCEED, and with 1 for HOLD and STOP")]
    Preflight {
        #[command(flatten)]
        proxy: Proxy,
        /// Name of the rollout
        rollout: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell how a rollout went, or goes
    Report {
        #[command(flatten)]
        proxy: Proxy,
        /// Name of the rollout
        rollout: String,
        /// As Markdown, as a page with charts, or as JSON
        #[arg(long, value_name = "md|html|json", value_parser = format, default_value = "md")]
        format: ReportFormat,
        /// Write it to a file
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take an endpoint out of use, or back
    #[command(after_help = ENDPOINT_HELP)]
    Endpoint {
        #[command(flatten)]
        proxy: Proxy,
        /// Name of the backend
        backend: String,
        /// Address as the configuration writes it, and `tidegate status` shows it
        address: String,
        /// `drain`: no new requests, running ones finish; `ready`: new requests again
        #[arg(value_parser = verb)]
        verb: EndpointVerb,
        /// Why, for the audit trail
        #[arg(long)]
        reason: Option<String>,
    },
    /// Show the audit trail
    Events {
        #[command(flatten)]
        proxy: Proxy,
        /// Go on with events as they happen, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
        /// How many to begin with, the newest
        #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Read the configuration again
    Reload {
        #[command(flatten)]
        proxy: Proxy,
    },
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print shell completions
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// What to do with a rollout.
#[derive(Debug, ClapArgs)]
pub(super) struct Operation {
    #[command(flatten)]
    pub(super) proxy: Proxy,
    /// Name of the rollout
    pub(super) rollout: String,
    /// Why, for the audit trail
    #[arg(long)]
    pub(super) reason: Option<String>,
}

/// Where the configuration is.
#[derive(Debug, ClapArgs)]
pub(super) struct ConfigFile {
    /// Configuration file
    #[arg(
        short = 'c',
        long = "config",
        env = "TIDEGATE_CONFIG",
        value_name = "FILE",
        default_value = "/etc/tidegate/tidegate.toml"
    )]
    pub(super) path: PathBuf,
}

/// Where the running proxy is.
#[derive(Debug, ClapArgs)]
pub(super) struct Proxy {
    /// Admin socket of the running proxy
    #[arg(
        long,
        env = "TIDEGATE_SOCKET",
        value_name = "PATH",
        default_value = "/run/tidegate/admin.sock"
    )]
    pub(super) socket: PathBuf,
}

fn verb(text: &str) -> Result<EndpointVerb, &'static str> {
    match text {
        "drain" => Ok(EndpointVerb::Drain),
        "ready" => Ok(EndpointVerb::Ready),
        _ => Err("it is either drain or ready"),
    }
}

fn format(text: &str) -> Result<ReportFormat, &'static str> {
    match text {
        "md" => Ok(ReportFormat::Md),
        "html" => Ok(ReportFormat::Html),
        "json" => Ok(ReportFormat::Json),
        _ => Err("it is md, html or json"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }
}
