//! The commands, as somebody at a terminal runs them against real services.

mod afternoon;
mod audiences;
mod checks;
mod demo;
mod devices;
mod halts;
mod jobs;
mod running;

use std::process::Output;

use crate::harness::service::Stage;

/// Exit code, standard output and standard error, with what differs from run to run masked.
pub(crate) fn told(stage: &Stage, output: &Output) -> String {
    let code = output.status.code().map_or("a signal".to_owned(), |code| code.to_string());
    let (out, err) = (masked(&stage.masked(&output.stdout)), masked(&stage.masked(&output.stderr)));
    let part = |name: &str, text: &str| match text.trim_end() {
        "" => String::new(),
        text => format!("-- {name}\n{text}\n"),
    };
    format!("exit {code}\n{}{}", part("out", &out), part("err", &err))
}

/// Masks what looks like an instant, a uuid, a long hash, a virtual host of a test or a port on loopback. Columns are
/// as wide as what was in them, so that each gap becomes two spaces.
fn masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let ends = |c: char| match first {
            ' ' => c != ' ',
            _ => !c.is_ascii_alphanumeric() && !"-:.".contains(c),
        };
        let word = rest.find(ends).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word.max(first.len_utf8()));
        masked.push_str(match word {
            _ if is_instant(word) => "INSTANT",
            _ if is_uuid(word) => "UUID",
            _ if word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()) => "HASH",
            _ if word.starts_with("127.0.0.1:") => "127.0.0.1:PORT",
            _ if word.starts_with("localhost:") => "localhost:PORT",
            _ if word.starts_with("test-") && word.len() == 37 => "VHOST",
            _ if word.starts_with("  ") => "  ",
            _ => word,
        });
        rest = after;
    }
    masked
}

fn is_instant(word: &str) -> bool {
    word.ends_with('Z') && word.parse::<jiff::Timestamp>().is_ok()
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36 && uuid::Uuid::try_parse(word).is_ok()
}
