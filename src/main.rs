//! The `bellwether` command. Everything it does is in the library; here are the exit code and the edge.

use std::process::ExitCode;

use bellwether::cli;
use clap::Parser;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
