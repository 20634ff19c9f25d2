//! `bellwether man`: the manual, from the same types as the command line itself.

use std::io::{self, Write as _};

use anyhow::Context as _;

use super::{Exit, exit::With, output};

/// Prints the page of the program, or of one of its commands.
pub(super) fn run(root: clap::Command, command: &[String]) -> anyhow::Result<Exit> {
    let page = page(root, command)?;
    match io::stdout().write_all(&page) {
        // A reader that has seen enough is no error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(Exit::Ok),
    }
}

fn page(mut root: clap::Command, command: &[String]) -> anyhow::Result<Vec<u8>> {
    // So that each command knows its whole name, and what every command understands.
    root.build();
    let mut found = &root;
    for word in command {
        found = found.find_subcommand(word).ok_or_else(|| {
            let known: Vec<&str> = found.get_subcommands().map(clap::Command::get_name).collect();
            let word = output::visible(word);
            With(Exit::NotFound, format!("no such command: {word}; known here: {}", known.join(", ")))
        })?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(found.clone()).render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn text(command: &[&str]) -> anyhow::Result<String> {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        Ok(String::from_utf8(page(Cli::command(), &command)?)?)
    }

    #[test]
    fn every_command_has_a_page() {
        let whole = text(&[]).expect("a page");
        assert!(whole.contains(".TH bellwether 1") && whole.contains("rollout"), "{whole}");
        let approve = text(&["rollout", "approve"]).expect("a page");
        assert!(approve.contains("confirm\\-count") && approve.contains("typing its count"), "{approve}");
        let error = text(&["rollout", "aprove"]).expect_err("no such command").to_string();
        assert!(error.starts_with("no such command: aprove; known here: list, show"), "{error}");
    }
}
