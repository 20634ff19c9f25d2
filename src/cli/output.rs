//! Results on standard output: a table for people, JSON or YAML for programs.

use std::io::{self, IsTerminal as _, Write};

use anyhow::Context;
use unicode_width::UnicodeWidthStr as _;

/// What is printed for people is no wider than this: the width of a terminal that nobody has touched.
pub(super) const COLUMNS: usize = 80;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For programs; only ever gains fields
    Json,
    /// The same fields as JSON, for people who read configuration
    Yaml,
}

impl Output {
    /// Prints one value for programs. As a table a value has no form of its own: whoever has one prints it instead.
    pub(super) fn print(self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        match self {
            Self::Table | Self::Json => print_json(value),
            Self::Yaml => {
                // By way of JSON, so that both have the same fields in the same form.
                let value = serde_json::to_value(value).context("this result has no JSON form")?;
                let text = serde_saphyr::to_string(&value).context("this result has no YAML form")?;
                line(text.trim_end())
            }
        }
    }
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

/// Text from outside, safe on a terminal: control characters are shown, not obeyed; nor are those that turn the direction
/// of writing, with which a text could be made to read as another.
pub(super) fn visible(text: &str) -> String {
    let show = |c: char| if is_obeyed(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(show).collect()
}

/// True if a terminal does something at this character, rather than show it.
pub(super) fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether colour is for this reader: a terminal is there, and <https://no-color.org> is not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint(bool);

impl Paint {
    /// For standard output, as it is.
    pub(super) fn stdout() -> Self {
        Self::on(io::stdout().is_terminal())
    }

    /// For standard error, as it is.
    pub(super) fn stderr() -> Self {
        Self::on(io::stderr().is_terminal())
    }

    fn on(is_terminal: bool) -> Self {
        let asked_not_to = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(is_terminal && !asked_not_to)
    }

    /// None, for what is compared with a golden file.
    #[cfg(test)]
    pub(super) const NONE: Self = Self(false);

    /// Always, to see where it goes.
    #[cfg(test)]
    pub(super) const ALWAYS: Self = Self(true);

    /// In this colour, if any.
    pub(super) fn with(self, colour: Colour, text: &str) -> String {
        if self.0 { format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8) } else { text.to_owned() }
    }
}

/// A colour, by its number in ECMA-48.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// What is stopped.
    Red = 31,
    /// What is well.
    Green = 32,
    /// What waits for somebody.
    Yellow = 33,
}

/// A text in lines of [`COLUMNS`], broken between words; every line but the first begins with `indent` blanks. A word that is
/// longer than a line is left whole: it is an id that somebody will copy.
pub(super) fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("it begins with one line");
        if line.width() + 1 + word.width() > COLUMNS && !line.trim().is_empty() {
            lines.push(format!("{}{word}", " ".repeat(indent)));
            continue;
        }
        // The first word of the first line has no blank before it.
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.join("\n")
}

/// The same, with every line behind so many blanks.
pub(super) fn indented(text: &str, blanks: usize) -> String {
    // Underscores are no blanks, which breaking would swallow.
    let lines = wrapped(&format!("{}{text}", "_".repeat(blanks)), blanks);
    format!("{}{}", " ".repeat(blanks), &lines[blanks..])
}

/// Cut to so many columns, with the sign that something is missing.
pub(super) fn shortened(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if format!("{short}{c}…").width() > columns {
            break;
        }
        short.push(c);
    }
    format!("{short}…")
}

/// Rows under a header, in columns as wide as their widest cell.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let render = |cells: &mut dyn Iterator<Item = &str>| {
        let pad = |(cell, width): (&str, &usize)| format!("{cell}{}", " ".repeat(width - cell.width()));
        let padded: Vec<_> = cells.zip(&widths).map(pad).collect();
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
    fn hostile_text_cannot_move_the_cursor_nor_turn_the_line_around() {
        assert_eq!(visible("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(visible("\u{202e}gnp.exe"), "\\u{202e}gnp.exe");
        assert_eq!(visible("שלום 👨‍👩‍👧"), "שלום 👨‍👩‍👧", "what people write is left as it is");
    }

    #[test]
    fn wide_letters_take_two_columns() {
        let rows = [vec!["東京".to_owned(), "1".to_owned()], vec!["ios".to_owned(), "2".to_owned()]];
        assert_eq!(table(&["of", "n"], &rows), "of    n\n東京  1\nios   2");
    }

    #[test]
    fn long_text_is_broken_between_words_and_ids_are_left_whole() {
        let text = format!("cause: {} {}", "word ".repeat(20).trim(), "x".repeat(90));
        let lines = wrapped(&text, 2);
        assert!(lines.lines().all(|line| line.len() <= COLUMNS || line.trim() == "x".repeat(90)), "{lines}");
        assert!(lines.lines().skip(1).all(|line| line.starts_with("  ")), "{lines}");
        assert_eq!(shortened("東京都", 5), "東京…");
        assert_eq!(shortened("short", 5), "short");
    }

    #[test]
    fn colour_is_only_for_who_asked() {
        assert_eq!(Paint::NONE.with(Colour::Red, "halted"), "halted");
        assert_eq!(Paint::ALWAYS.with(Colour::Red, "halted"), "\u{1b}[31mhalted\u{1b}[0m");
    }
}
