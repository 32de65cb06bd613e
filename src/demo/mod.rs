//! The demo: two sample servers, Tidegate in front of them, a modest load, and a rollout that takes seconds instead of hours.
//!
//! Everything is real and in this process: requests go over sockets of the loopback, and what happens is seen through the
//! admin socket. When the demo ends, the load ends first, then Tidegate drains, then the servers go, then the folder.

mod backstage;
mod cast;
mod director;
mod error;
mod folder;
mod load;
mod operator;
mod picture;
mod program;
mod proof;
mod sample;
mod scenario;
mod side;
mod tally;
mod view;

use std::{net::SocketAddr, pin::pin, time::Duration};

use self::{
    cast::Cast,
    director::Director,
    folder::{Folder, Scene},
    picture::Camera,
    sample::Sample,
    side::Sides,
    view::{Frame, View},
};
pub use self::{error::Error, scenario::Scenario};
use crate::{
    app::App,
    lifecycle::{Signal, Signals, clock},
};

/// Time between two pictures on a terminal, and between two lines elsewhere.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for the answers under way when the demo ends.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// What is wanted of the demo.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What happens to green.
    pub scenario: Scenario,
    /// Hold the rollout against what it should do, and end with it.
    pub once: bool,
    /// Port of the listener; 0 for a free one.
    pub port: u16,
}

/// How the demo came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Somebody stopped it.
    Stopped,
    /// All was as it should be.
    Proven,
    /// Something was not, and has been printed.
    Refuted,
}

/// Plays the demo to its end.
///
/// # Errors
/// [`Error`] when it cannot begin or go on.
pub fn run(options: Options) -> Result<Ending, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before there is anything that a signal could leave behind.
        let signals = Signals::catch()?;
        let folder = Folder::make()?;
        let samples = Sides::try_of(Sample::start)?;
        let addresses = Sides::of(|side| samples[side].address);
        let Options { scenario, port, once } = options;
        folder.write_config(&Scene { port, samples: addresses, scenario })?;
        let app = App::build(&folder.config())?;
        let Some(&proxy) = app.addresses().first() else { return Ok(Ending::Stopped) };
        let volume = if once { proof::volume(scenario) } else { director::volume(scenario) };
        let cast = Cast::start(samples, proxy, app.socket(), volume)?;
        let frame = frame(proxy, &app, &folder, scenario);
        let ending = play(app, signals, &cast, act(&cast, options, frame)).await?;
        let tally = cast.load.tally();
        let text = format!("{} requests, {} failed\n", tally.requests(), tally.failures);
        view::print(&text)?;
        Ok(ending)
    })
}

/// Runs Tidegate until the act or a signal ends the demo.
async fn play(
    app: App,
    mut signals: Signals,
    cast: &Cast,
    act: impl Future<Output = Result<Ending, Error>>,
) -> Result<Ending, Error> {
    let mut act = pin!(act);
    let mut ending = None;
    app.run(async || {
        if ending.is_some() {
            return match signals.next().await {
                Signal::Stop | Signal::StopNow => Signal::StopNow,
                other @ (Signal::Reload | Signal::Upgrade | Signal::Other(_)) => other,
            };
        }
        let ended = tokio::select! {
            ended = &mut act => ended,
            signal = signals.next() => match signal {
                Signal::Stop | Signal::StopNow => Ok(Ending::Stopped),
                other @ (Signal::Reload | Signal::Upgrade | Signal::Other(_)) => return other,
            },
        };
        // A load that does not end must not keep the demo from ending.
        let _ = tokio::time::timeout(LAST_ANSWERS, cast.load.end()).await;
        ending = Some(ended);
        Signal::Stop
    })
    .await;
    ending.unwrap_or(Ok(Ending::Stopped))
}

async fn act(cast: &Cast, options: Options, frame: Frame) -> Result<Ending, Error> {
    if options.once {
        let proven = proof::prove(cast, options.scenario).await?;
        return Ok(if proven { Ending::Proven } else { Ending::Refuted });
    }
    let view = View::open(frame)?;
    let mut camera = Camera::new(cast.reading());
    let mut director = Director::new(options.scenario);
    loop {
        tokio::time::sleep(SHOW_EVERY).await;
        let standing = cast.operator.standing().await?;
        director.direct(cast, &standing, clock::now());
        view.show(&camera.picture(cast.reading(), standing))?;
    }
}

fn frame(proxy: SocketAddr, app: &App, folder: &Folder, scenario: Scenario) -> Frame {
    let socket = format!("--socket {}", program::quoted(app.socket()));
    let config = folder.config().display().to_string();
    Frame { proxy, program: program::in_a_shell(), socket, config, scenario }
}
