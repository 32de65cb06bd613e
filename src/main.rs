//! The `tidegate` program: arguments in, exit code out.

use std::process::ExitCode;

// Many small, short-lived allocations from several threads: half the cost of the system's allocator.
#[global_allocator]
<<<<<<< HEAD
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::main()
=======
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let path = std::env::args().last().unwrap();
    let config = config::load(path.as_ref()).unwrap().config;
    let n = config.process.workers.unwrap_or(1);
    let recorder = Arc::new(telemetry::Recorder::new(n));
    let mut series = |r: &domain::RouteName, b: &domain::BackendName| {
        recorder.series(r, b).map_err(|e| e.to_string())
    };
    let table = routing::build(
        &config,
        routing::Ingredients {
            splits: &HashMap::new(),
            secret: &mut |_| Ok(vec![1; 32]),
            series: &mut series,
            previous: None,
            workers: n,
        },
    )
    .unwrap();
    let publisher = routing::TablePublisher::new(table);
    let (events, _rx) = telemetry::EventSink::new(recorder.clone());
    let tasks = lifecycle::Tasks::new(|f| eprintln!("{f}"));
    let mut workers = proxy::Workers::start(&proxy::WorkersParts {
        count: n,
        table: publisher.view(),
        recorder: recorder.clone(),
        events,
        tasks,
    })
    .unwrap();
    println!("{:?}", workers.listen(&config.listeners).unwrap());
    loop {
        std::thread::sleep(std::time::Duration::from_secs(5));
        let s = recorder.snapshot();
        for s in s.live() {
            println!("{} {} {:?}", s.route, s.backend, s.totals.attempts());
        }
    }
>>>>>>> main
}
