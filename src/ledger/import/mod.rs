//! Reading registrations from a file: NDJSON, or CSV with a header. Good lines stay, bad ones are reported.
//!
//! A report names line, field and rule, and never quotes what stood there: it may be a token in the wrong
//! column (I12).

mod fields;
mod json;

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Read};

use crate::model::NewDevice;
use fields::{FIELDS, Fields};

/// How the file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFormat {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated, with a header that names the fields.
    Csv,
}

/// Longest line of JSON, in bytes. The longest that can be good, with every character escaped, has a third of it; a file
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

/// Reads one registration after the other; memory does not grow with the file.
///
/// An I/O error ends the reading. So does a CSV header with an unknown field: a typo must not drop a column.
#[derive(Debug)]
pub struct DeviceReader<R> {
    lines: Lines<R>,
}

#[derive(Debug)]
enum Lines<R> {
    Ndjson { input: R, line: u64, buffer: Vec<u8> },
    Csv { reader: Box<csv::Reader<R>>, columns: Vec<usize>, record: csv::ByteRecord },
}

impl<R: BufRead> DeviceReader<R> {
    /// Begins to read.
    pub fn new(input: R, format: DeviceFormat) -> io::Result<Self> {
        let lines = match format {
            DeviceFormat::Ndjson => Lines::Ndjson { input, line: 0, buffer: Vec::new() },
            DeviceFormat::Csv => {
                let mut reader = Box::new(csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input));
                let columns = header(reader.headers()?)?;
                Lines::Csv { reader, columns, record: csv::ByteRecord::new() }
            }
        };
        Ok(Self { lines })
    }
}

impl<R: BufRead> Iterator for DeviceReader<R> {
    type Item = io::Result<Result<NewDevice, RefusedLine>>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.lines {
            Lines::Ndjson { input, line, buffer } => loop {
                buffer.clear();
                *line += 1;
                match read_line(input, buffer) {
                    Err(error) => return Some(Err(error)),
                    Ok(Length::None) => return None,
                    Ok(Length::TooLong) => {
                        return Some(Ok(Err(refuse(*line, "line", "is longer than 64 KiB"))));
                    }
                    Ok(Length::Fits) if buffer.trim_ascii().is_empty() => {}
                    Ok(Length::Fits) => return Some(Ok(json::read_line(*line, buffer))),
                }
            },
            Lines::Csv { reader, columns, record } => match reader.read_byte_record(record) {
                Ok(false) => None,
                Ok(true) => Some(Ok(csv_record(columns, record))),
                Err(error) => match error.kind() {
                    csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
                        let line = pos.as_ref().map_or(0, csv::Position::line);
                        let reason = format!("has {len} fields, the header has {expected_len}");
                        Some(Ok(Err(refuse(line, "line", &reason))))
                    }
                    _ => Some(Err(error.into())),
                },
            },
        }
    }
}

enum Length {
    None,
    Fits,
    TooLong,
}

/// Reads a line into `buffer`, and passes over what is beyond [`MAX_LINE`].
fn read_line(input: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<Length> {
    let read = input.by_ref().take(MAX_LINE).read_until(b'\n', buffer)?;
    if read == 0 {
        return Ok(Length::None);
    }
    if (read as u64) < MAX_LINE || buffer.ends_with(b"\n") {
        return Ok(Length::Fits);
    }
    input.skip_until(b'\n')?;
    Ok(Length::TooLong)
}

fn refuse(line: u64, field: &str, reason: &str) -> RefusedLine {
    RefusedLine { line, field: field.to_owned(), reason: reason.to_owned() }
}

fn header(names: &csv::StringRecord) -> io::Result<Vec<usize>> {
    let column = |name: &str| {
        FIELDS.iter().position(|field| *field == name).ok_or_else(|| {
            let known = FIELDS.join(", ");
            io::Error::new(io::ErrorKind::InvalidData, format!("the header names {name:?}; known: {known}"))
        })
    };
    let columns: Vec<usize> = names.iter().map(column).collect::<io::Result<_>>()?;
    let twice = columns.iter().enumerate().find(|(place, column)| columns[..*place].contains(column));
    match twice {
        // Which of the two is meant is not for us to guess: a phone would be bound to the wrong person.
        Some((_, column)) => {
            let problem = format!("the header names {} twice", FIELDS[*column]);
            Err(io::Error::new(io::ErrorKind::InvalidData, problem))
        }
        None => Ok(columns),
    }
}

fn csv_record(columns: &[usize], record: &csv::ByteRecord) -> Result<NewDevice, RefusedLine> {
    let line = record.position().map_or(0, csv::Position::line);
    let mut fields = Fields::default();
    for (column, value) in columns.iter().zip(record) {
        let text = std::str::from_utf8(value).map_err(|_| refuse(line, FIELDS[*column], "is not UTF-8"))?;
        fields[*column] = fields::from_text(line, FIELDS[*column], text)?;
    }
    fields::check(line, fields)
}
