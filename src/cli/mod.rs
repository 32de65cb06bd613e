//! The command line: `run` and `check` work on a configuration, the rest talks to a running proxy's admin socket.

mod args;
mod check;
mod events;
mod exit;
mod operate;
mod output;
mod preflight;
mod rollout;
mod status;
mod words;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::{
    args::{Args, Command, Operation},
    exit::Failure,
};
use crate::{
    admin::{client::Client, wire::Verb},
    demo,
};

/// Parses the arguments and does what they ask.
pub fn main() -> ExitCode {
    // Help and version end in 0, a wrong argument in 2, by clap's own hand.
    let done = dispatch(Args::parse().command);
    done.unwrap_or_else(|failure| failure.report())
}

fn dispatch(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(config) => crate::app::run(&config.path)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| Failure::new(error.exit_code(), error.to_string())),
        Command::Check(config) => check::check(&config.path),
        Command::Demo { scenario, once, port } => {
            let options = demo::Options { scenario, once, port };
            demo::run(options).map(exit::of_demo).map_err(Failure::from)
        }
        Command::Schema => {
            let schema = serde_json::to_string_pretty(&crate::config::schema())?;
            output::print(&format!("{schema}\n"))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "tidegate", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
        Command::Status { proxy, watch, json } => {
            view(async { status::status(&Client::new(proxy.socket), watch, json).await })
        }
        Command::Split { proxy, route, shares, reason } => {
            ask(async { operate::split(&Client::new(proxy.socket), &route, &shares, reason).await })
        }
        Command::Start(wish) => operate_rollout(Verb::Start, wish),
        Command::Pause(wish) => operate_rollout(Verb::Pause, wish),
        Command::Resume(wish) => operate_rollout(Verb::Resume, wish),
        Command::Advance(wish) => operate_rollout(Verb::Advance, wish),
        Command::Promote(wish) => operate_rollout(Verb::Promote, wish),
        Command::Rollback(wish) => operate_rollout(Verb::Rollback, wish),
        Command::Set { proxy, rollout, key, value, reason } => ask(async {
            rollout::set(&Client::new(proxy.socket), &rollout, key, value, reason).await
        }),
        Command::Preflight { proxy, rollout, json } => {
            ask(async { preflight::preflight(&Client::new(proxy.socket), &rollout, json).await })
        }
        Command::Report { proxy, rollout, format, output } => ask(async {
            let client = Client::new(proxy.socket);
            rollout::report(&client, &rollout, format, output.as_deref()).await
        }),
        Command::Endpoint { proxy, backend, address, verb, reason } => ask(async {
            let client = Client::new(proxy.socket);
            operate::endpoint(&client, &backend, &address, verb, reason).await
        }),
        Command::Events { proxy, follow, json, limit } => {
            view(async { events::events(&Client::new(proxy.socket), follow, json, limit).await })
        }
        Command::Reload { proxy } => {
            ask(async { operate::reload(&Client::new(proxy.socket)).await })
        }
    }
}

fn operate_rollout(verb: Verb, wish: Operation) -> Result<ExitCode, Failure> {
    let Operation { proxy, rollout, reason } = wish;
    ask(async { rollout::operate(&Client::new(proxy.socket), verb, &rollout, reason).await })
}

/// Waits for the answer of a running proxy.
fn ask(answer: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(answer)
}

/// [`ask`] where Ctrl-C is the way to end it; elsewhere it ends the program with the answer unknown.
fn view(answer: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    ask(async {
        tokio::select! {
            done = answer => done,
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
        }
    })
}
