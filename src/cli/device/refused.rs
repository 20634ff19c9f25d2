//! The lines that an import refused: by number, field and reason, and never what stood there (I12).

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

use crate::{cli::output, ledger::RefusedLine};

/// Refused lines that are named on standard error; a person reads no more. The rest is counted, and is in the file if
/// there is one.
const SHOWN: u64 = 100;

/// Counts what was refused, and tells of it.
pub(super) struct Refused {
    file: PathBuf,
    count: u64,
    report: Option<Report>,
}

struct Report {
    path: PathBuf,
    rows: csv::Writer<BufWriter<File>>,
}

impl Refused {
    /// `report` is made anew, and gets every refused line of `file`.
    pub(super) fn new(file: &Path, report: Option<&Path>) -> anyhow::Result<Self> {
        let report = report.map(|path| Report::new(file, path)).transpose()?;
        Ok(Self { file: file.to_owned(), count: 0, report })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn add(&mut self, line: &RefusedLine, remark: &dyn Fn(&str)) -> anyhow::Result<()> {
        self.count += 1;
        if self.count <= SHOWN {
            remark(&format!("{}: {}", self.file.display(), output::visible(&line.to_string())));
        } else if self.count == SHOWN + 1 {
            remark("further refused lines are only counted here");
        }
        self.report.as_mut().map_or(Ok(()), |report| report.add(&self.file, line))
    }

    /// The last line of an import with refusals.
    pub(super) fn finish(self) -> anyhow::Result<String> {
        let what = match self.count {
            1 => "1 line was refused".to_owned(),
            count => format!("{count} lines were refused"),
        };
        match self.report {
            Some(Report { path, mut rows }) => {
                rows.flush().with_context(|| unwritable(&path))?;
                Ok(format!("{what}; all others are in; see {}", path.display()))
            }
            None if self.count <= SHOWN => Ok(format!("{what}, as named above; all others are in")),
            None => {
                let more = format!("the first {SHOWN} are named above, --refused FILE has all");
                Ok(format!("{what}; {more}; all others are in"))
            }
        }
    }
}

impl Report {
    fn new(file: &Path, path: &Path) -> anyhow::Result<Self> {
        let is_the_input =
            matches!((fs::canonicalize(file), fs::canonicalize(path)), (Ok(a), Ok(b)) if a == b);
        ensure!(
            !is_the_input,
            "{}: the refused lines would overwrite what is to be imported",
            path.display()
        );
        let create = || {
            let mut rows = csv::Writer::from_writer(BufWriter::new(File::create(path)?));
            rows.write_record(["file", "line", "field", "reason"])?;
            // So that the header is there even if nothing is refused, and an unwritable place shows before the import.
            rows.flush()?;
            Ok::<_, std::io::Error>(rows)
        };
        Ok(Self { path: path.to_owned(), rows: create().with_context(|| unwritable(path))? })
    }

    fn add(&mut self, file: &Path, line: &RefusedLine) -> anyhow::Result<()> {
        let (file, number) = (file.to_string_lossy(), line.line.to_string());
        self.rows
            .write_record([&file[..], &number, &line.field, &line.reason])
            .with_context(|| unwritable(&self.path))
    }
}

fn unwritable(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
