//! One line of CSV (RFC 4180, without line breaks in a field).

/// Splits lines into fields, with the same memory for each.
#[derive(Debug)]
pub(super) struct CsvLine {
    core: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Default for CsvLine {
    fn default() -> Self {
        Self { core: csv_core::Reader::new(), text: Vec::new(), ends: Vec::new() }
    }
}

impl CsvLine {
    /// The line's fields, without their quotes and the blanks around them; or what is wrong with it.
    pub(super) fn read(&mut self, line: &[u8]) -> Result<impl ExactSizeIterator<Item = &[u8]>, &'static str> {
        let line = line.trim_ascii_end();
        check_quotes(line)?;
        self.core.reset();
        // No field is longer than the line, and there are no more of them than bytes.
        self.text.resize(line.len(), 0);
        self.ends.resize(line.len() + 1, 0);
        let (_, _, written, ended) = self.core.read_record(line, &mut self.text, &mut self.ends);
        // Without more input the last field ends.
        let (_, _, _, last) = self.core.read_record(&[], &mut self.text[written..], &mut self.ends[ended..]);
        let ends = &self.ends[..ended + last];
        Ok(ends.iter().enumerate().map(|(place, end)| {
            let start = if place == 0 { 0 } else { ends[place - 1] };
            self.text[start..*end].trim_ascii()
        }))
    }
}

/// Every quote that opens a field closes at the field's end: what the parser would forgive may be another field than was
/// meant.
fn check_quotes(line: &[u8]) -> Result<(), &'static str> {
    let mut rest = line;
    loop {
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let mut after = quoted;
            loop {
                let Some(close) = after.iter().position(|byte| *byte == b'"') else {
                    return Err("opens a quote that it does not close");
                };
                after = &after[close + 1..];
                match after.strip_prefix(b"\"") {
                    Some(escaped) => after = escaped,
                    None => break,
                }
            }
            match after.first() {
                None => return Ok(()),
                Some(b',') => rest = &after[1..],
                Some(_) => return Err("has something behind a closing quote"),
            }
        } else {
            match rest.iter().position(|byte| *byte == b',') {
                None => return Ok(()),
                Some(comma) => rest = &rest[comma + 1..],
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Vec<String>, &'static str> {
        let mut split = CsvLine::default();
        let fields = split.read(line.as_bytes())?;
        Ok(fields.map(|field| String::from_utf8_lossy(field).into_owned()).collect())
    }

    #[test]
    fn a_line_is_split_at_its_commas_and_quotes_are_taken_off() {
        assert_eq!(read("a,b,,d\n"), Ok(vec!["a".into(), "b".into(), String::new(), "d".into()]));
        assert_eq!(read("\"a,b\", c \r\n"), Ok(vec!["a,b".into(), "c".into()]));
        assert_eq!(read("\"say \"\"hi\"\"\",x"), Ok(vec!["say \"hi\"".into(), "x".into()]));
        assert_eq!(read("a,"), Ok(vec!["a".into(), String::new()]));
        assert_eq!(read("\"\""), Ok(vec![String::new()]));
    }

    #[test]
    fn what_a_lenient_parser_would_make_something_else_of_is_refused() {
        assert_eq!(read("a,\"b,c"), Err("opens a quote that it does not close"));
        assert_eq!(read("\"a\"\""), Err("opens a quote that it does not close"));
        assert_eq!(read("\"user\"x,b"), Err("has something behind a closing quote"));
    }
}
