//! Reading registrations from a file: NDJSON, or CSV with a header. Good lines stay, bad ones are reported.
//!
//! A report names line, field and rule, and never quotes what stood there: it may be a token in the wrong
//! column (I12). In both formats a line of the file is a registration: a quote that somebody forgot to close refuses its own
//! line, and not the rest of the file.

mod csv_line;
mod fields;
mod json;

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Read};

use crate::model::NewDevice;
use csv_line::CsvLine;
use fields::{FIELDS, Fields};

/// How the file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFormat {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated, with a header that names the fields.
    Csv,
}

/// Longest line, in bytes. The longest that can be good, with every character escaped, has a third of it; a file
/// without line ends must not be read into memory as one.
const MAX_LINE: u64 = 64 * 1024;

/// A line that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {field}: {reason}")]
pub struct RefusedLine {
    /// Counting from 1, the header included.
    pub line: u64,
    /// Which field; `line` for the whole.
    pub field: String,
    /// What is wrong, and what would mend it.
    pub reason: String,
}

/// What some editors put before the first line.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads one registration after the other; memory does not grow with the file.
///
/// An I/O error ends the reading. So does a CSV header with an unknown field: a typo must not drop a column.
#[derive(Debug)]
pub struct DeviceReader<R> {
    input: R,
    line: u64,
    buffer: Vec<u8>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Ndjson,
    Csv { columns: Vec<usize>, split: Box<CsvLine> },
}

impl<R: BufRead> DeviceReader<R> {
    /// Begins to read.
    pub fn new(input: R, format: DeviceFormat) -> io::Result<Self> {
        let mut reader = Self { input, line: 0, buffer: Vec::new(), form: Form::Ndjson };
        if format == DeviceFormat::Csv {
            let mut split = Box::<CsvLine>::default();
            let columns = match reader.next_line()? {
                None => Vec::new(),
                Some(Length::TooLong) => return Err(bad_header("the first line is longer than 64 KiB")),
                Some(Length::Fits) => {
                    let names = split.read(&reader.buffer);
                    header(names.map_err(|problem| bad_header(&format!("the header {problem}")))?)?
                }
            };
            reader.form = Form::Csv { columns, split };
        }
        Ok(reader)
    }

    /// Reads the next line with something on it; `None` at the end.
    fn next_line(&mut self) -> io::Result<Option<Length>> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let length = read_line(&mut self.input, &mut self.buffer)?;
            if self.line == 1 && self.buffer.starts_with(BYTE_ORDER_MARK) {
                self.buffer.drain(..BYTE_ORDER_MARK.len());
            }
            match length {
                None => return Ok(None),
                Some(Length::Fits) if self.buffer.trim_ascii().is_empty() => {}
                Some(length) => return Ok(Some(length)),
            }
        }
    }
}

impl<R: BufRead> Iterator for DeviceReader<R> {
    type Item = io::Result<Result<NewDevice, RefusedLine>>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = match self.next_line() {
            Err(error) => return Some(Err(error)),
            Ok(length) => length?,
        };
        Some(Ok(match (length, &mut self.form) {
            (Length::TooLong, _) => Err(refuse(self.line, "line", "is longer than 64 KiB")),
            (Length::Fits, Form::Ndjson) => json::read_line(self.line, &self.buffer),
            (Length::Fits, Form::Csv { columns, split }) => {
                csv_record(self.line, columns, split, &self.buffer)
            }
        }))
    }
}

enum Length {
    Fits,
    TooLong,
}

/// Reads a line into `buffer`, and passes over what is beyond [`MAX_LINE`].
fn read_line(input: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<Option<Length>> {
    let read = input.by_ref().take(MAX_LINE).read_until(b'\n', buffer)?;
    if read == 0 {
        return Ok(None);
    }
    if (read as u64) < MAX_LINE || buffer.ends_with(b"\n") {
        return Ok(Some(Length::Fits));
    }
    input.skip_until(b'\n')?;
    Ok(Some(Length::TooLong))
}

fn refuse(line: u64, field: &str, reason: &str) -> RefusedLine {
    RefusedLine { line, field: field.to_owned(), reason: reason.to_owned() }
}

fn bad_header(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Which field each column is. What stands there is not quoted: in a file without a header it is somebody's.
fn header<'l>(names: impl Iterator<Item = &'l [u8]>) -> io::Result<Vec<usize>> {
    let column = |(place, name): (usize, &[u8])| {
        FIELDS.iter().position(|field| field.as_bytes() == name).ok_or_else(|| {
            let (place, known) = (place + 1, FIELDS.join(", "));
            bad_header(&format!("the first line must name the fields; column {place} is none of {known}"))
        })
    };
    let columns: Vec<usize> = names.enumerate().map(column).collect::<io::Result<_>>()?;
    let twice = columns.iter().enumerate().find(|(place, column)| columns[..*place].contains(column));
    match twice {
        // Which of the two is meant is not for us to guess: a phone would be bound to the wrong person.
        Some((_, column)) => Err(bad_header(&format!("the header names {} twice", FIELDS[*column]))),
        None => Ok(columns),
    }
}

fn csv_record(
    line: u64,
    columns: &[usize],
    split: &mut CsvLine,
    bytes: &[u8],
) -> Result<NewDevice, RefusedLine> {
    let values = split.read(bytes).map_err(|problem| refuse(line, "line", problem))?;
    if values.len() != columns.len() {
        let reason = format!("has {}, the header has {}", counted(values.len()), columns.len());
        return Err(refuse(line, "line", &reason));
    }
    let mut fields = Fields::default();
    for (column, value) in columns.iter().zip(values) {
        let text = std::str::from_utf8(value).map_err(|_| refuse(line, FIELDS[*column], "is not UTF-8"))?;
        fields[*column] = fields::from_text(line, FIELDS[*column], text)?;
    }
    fields::check(line, fields)
}

fn counted(fields: usize) -> String {
    format!("{fields} field{}", if fields == 1 { "" } else { "s" })
}
