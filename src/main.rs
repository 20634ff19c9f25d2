//! The `bellwether` command. Everything it does is in the library; here are the exit code and the edge.

use std::process::ExitCode;

use bellwether::cli;
use clap::Parser;

/// A notification takes many small pieces of memory, and glibc's allocator was a sixth of the service's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
