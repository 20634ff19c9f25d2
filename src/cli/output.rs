//! Results on standard output: a table for people, JSON for programs.

use std::io::{self, Write};

use anyhow::Context;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For programs; only ever gains fields
    Json,
}

/// Prints one value as indented JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("this result has no JSON form")?;
    line(&text)
}

/// Prints one line. A reader that has seen enough (`| head`) is no error.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Says something to the person at the terminal, beside the result.
pub(super) fn remark(text: &str) {
    // Nobody is left to tell if standard error is closed.
    writeln!(io::stderr(), "{text}").ok();
}

/// Text from outside, safe on a terminal: control characters are shown, not obeyed.
pub(super) fn visible(text: &str) -> String {
    let show = |c: char| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(show).collect()
}

/// Rows under a header, in columns as wide as their widest cell.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<_> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let head = render(&mut header.iter().copied());
    let body = rows.iter().map(|row| render(&mut row.iter().map(String::as_str)));
    std::iter::once(head).chain(body).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [vec!["ios".to_owned(), "12".to_owned()], vec!["android".to_owned(), "3".to_owned()]];
        assert_eq!(table(&["platform", "n"], &rows), "platform  n\nios       12\nandroid   3");
    }

    #[test]
    fn hostile_text_cannot_move_the_cursor() {
        assert_eq!(visible("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
    }
}
