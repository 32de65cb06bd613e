//! The `tidegate` program: arguments in, exit code out.

use std::process::ExitCode;

// Many small, short-lived allocations from several threads: half the cost of the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::main()
}
