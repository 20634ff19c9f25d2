//! `bellwether audit`: the log of decisions, and whether anybody rewrote it. Through the operators' API, or without it straight
//! from the ledger.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
    time::Duration,
};

use super::{Exit, Output, api, ledger, operator::in_path, output};
use crate::{
    api::{
        client::{Client, ClientError},
        views,
        wire::{AuditEntryView, AuditHeadView, AuditList, AuditVerification, Code},
    },
    ledger::{AuditFilter, AuditHead, Ledger},
};

/// Entries read at once: whatever is asked for goes by in this much memory.
const PAGE: u32 = 500;

/// The API lets so many pages by in a second; whoever reads all of a long log waits for it.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What can be asked about the audit.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Audit {
    /// Who did what, when; the oldest first
    List(List),
    /// Follow the chain of hashes; exit code 1 if an entry was changed, removed or inserted
    Verify {
        /// A head that was kept outside, as `audit.head` events tell it; may be given several times
        #[arg(long = "head", value_name = "NUMBER:HASH", value_delimiter = ',')]
        heads: Vec<AuditHead>,
    },
}

/// Which entries.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// From this number on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..))]
    from: i64,
    /// Only among the last so many
    #[arg(long, value_name = "N", conflicts_with = "from", value_parser = clap::value_parser!(i64).range(1..))]
    last: Option<i64>,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only of this kind, such as halt.set
    #[arg(long, value_name = "KIND", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    kind: Option<String>,
    /// Only what this one did: an operator, a producer, or bellwether itself
    #[arg(long, value_name = "ACTOR", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    actor: Option<String>,
}

/// Where the answers come from.
enum Source {
    Api(Client),
    Ledger(Box<Ledger>),
}

impl Source {
    async fn open(config: &Path) -> anyhow::Result<Self> {
        if api::is_configured() {
            return Ok(Self::Api(api::client()?));
        }
        Ok(Self::Ledger(Box::new(ledger::open(config).await?)))
    }

    async fn page(&self, filter: &AuditFilter, limit: u32) -> anyhow::Result<AuditList> {
        let client = match self {
            Self::Ledger(ledger) => return Ok(views::audit_list(ledger, filter, limit).await?),
            Self::Api(client) => client,
        };
        let mut path = format!("audit?from={}&limit={limit}", filter.from);
        for (name, word) in [("kind", &filter.kind), ("actor", &filter.actor)] {
            if let Some(word) = word {
                path = format!("{path}&{name}={}", in_path(word));
            }
        }
        loop {
            match client.get(&path).await {
                Err(ClientError::Problem(problem)) if problem.code == Code::TooMany => {
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                }
                answer => return Ok(answer?),
            }
        }
    }

    async fn verify(&self, heads: &[AuditHead]) -> anyhow::Result<AuditVerification> {
        match self {
            Self::Ledger(ledger) => Ok(ledger.audit_verify_against(heads).await?.into()),
            Self::Api(client) => {
                let heads: Vec<_> = heads.iter().map(AuditHead::to_string).collect();
                let asked =
                    if heads.is_empty() { String::new() } else { format!("?head={}", heads.join(",")) };
                Ok(client.get(&format!("audit/verify{asked}")).await?)
            }
        }
    }
}

/// Runs the verb.
pub(super) async fn run(config: &Path, format: Output, verb: Audit) -> anyhow::Result<Exit> {
    let source = Source::open(config).await?;
    match verb {
        Audit::List(asked) => {
            match list(&source, format, asked).await {
                // A reader that has seen enough (`| head`) is no error.
                Err(error) if is_broken_pipe(&error) => Ok(Exit::Ok),
                written => written.map(|()| Exit::Ok),
            }
        }
        Audit::Verify { heads } => verified(format, &source.verify(&heads).await?),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Page by page, so that a long log needs no more memory than a short one.
async fn list(source: &Source, format: Output, asked: List) -> anyhow::Result<()> {
    let List { from, last, limit, kind, actor } = asked;
    let mut filter = AuditFilter { from, kind, actor };
    if let Some(last) = last {
        let head = source.page(&AuditFilter { from: 1, ..AuditFilter::default() }, 1).await?.head;
        filter.from = head.map_or(1, |head| (head.sequence.saturating_sub(last) + 1).max(1));
    }
    let mut left = limit.unwrap_or(u64::MAX);
    let mut out = BufWriter::new(io::stdout());
    if format == Output::Table {
        writeln!(out, "{}", row("entry", "at (UTC)", "by", "what"))?;
    }
    while left > 0 {
        let page = source.page(&filter, PAGE.min(u32::try_from(left).unwrap_or(PAGE))).await?;
        left = left.saturating_sub(page.entries.len() as u64);
        for entry in &page.entries {
            write_entry(&mut out, format, entry)?;
        }
        out.flush()?;
        match page.next {
            Some(next) => filter.from = next,
            None => break,
        }
    }
    Ok(())
}

/// For people two lines: who did what, and the particulars, cut to a line. For programs all of it.
fn write_entry(out: &mut impl Write, format: Output, entry: &AuditEntryView) -> anyhow::Result<()> {
    match format {
        Output::Table => {
            let at = entry.at.strftime("%Y-%m-%d %H:%M:%S").to_string();
            writeln!(out, "{}", row(&entry.sequence.to_string(), &at, &entry.actor, &entry.kind))?;
            let body = output::shortened(&output::visible(&entry.body), output::COLUMNS - INDENT);
            writeln!(out, "{:INDENT$}{body}", "")?;
        }
        Output::Json => writeln!(out, "{}", json_line(entry)?)?,
        // JSON is YAML, and only quoted can every character be escaped.
        Output::Yaml => writeln!(out, "- {}", json_line(entry)?)?,
    }
    Ok(())
}

/// By how much the particulars stand in.
const INDENT: usize = 8;

/// Columns of a fixed width, because what comes later is not known yet: 80 in all.
fn row(entry: &str, at: &str, actor: &str, kind: &str) -> String {
    let cell = |text: &str, columns| output::shortened(&output::visible(text), columns);
    let (actor, kind) = (cell(actor, 24), cell(kind, 25));
    let pad = " ".repeat(24_usize.saturating_sub(unicode_width::UnicodeWidthStr::width(actor.as_str())));
    format!("{entry:>6}  {at:<19}  {actor}{pad}  {kind}").trim_end().to_owned()
}

/// One line of JSON. Control characters are escaped in it too: a terminal may be what reads it.
fn json_line(entry: &AuditEntryView) -> anyhow::Result<String> {
    let line = serde_json::to_string(entry)?;
    // Everything that a terminal obeys is in Unicode's first plane, and stands in a text: there this is the same character.
    let escaped = |c: char| if output::is_obeyed(c) { format!("\\u{:04x}", c as u32) } else { c.to_string() };
    Ok(line.chars().map(escaped).collect())
}

fn verified(format: Output, found: &AuditVerification) -> anyhow::Result<Exit> {
    let exit = if found.whole { Exit::Ok } else { Exit::Error };
    if format != Output::Table {
        format.print(found)?;
        return Ok(exit);
    }
    let head = |head: &AuditHeadView| format!("{}:{}", head.sequence, head.hash);
    match &found.broken {
        None => {
            output::line(&format!("the audit is whole: {} entries", found.head.sequence))?;
            output::line(&format!("head  {}", head(&found.head)))?;
        }
        Some(broken) => {
            output::line(&format!("the audit is BROKEN at entry {}: {}", broken.sequence, broken.why))?;
            output::line(&format!("right up to  {}", head(&found.head)))?;
        }
    }
    if let Some(fits) = &found.fits {
        output::line(&format!("as told outside up to  {}", head(fits)))?;
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::*;

    fn entry(actor: &str, body: &str) -> AuditEntryView {
        AuditEntryView {
            sequence: 100_000,
            at: jiff::Timestamp::from_microsecond(1_795_000_000_123_456).expect("an instant"),
            actor: actor.to_owned(),
            kind: "rollout.approve".to_owned(),
            body: body.to_owned(),
            prev: "0".repeat(64),
            hash: "1".repeat(64),
        }
    }

    fn written(format: Output, entry: &AuditEntryView) -> String {
        let mut out = Vec::new();
        write_entry(&mut out, format, entry).expect("a vector takes it");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_table_is_eighty_columns_wide_whatever_stands_in_it() {
        let long = format!("{{\"reason\":\"{}\"}}", "東京".repeat(80));
        let hostile = entry(&"ż\u{202e}".repeat(40), &long);
        for line in written(Output::Table, &hostile).lines() {
            assert!(line.width() <= output::COLUMNS, "{} columns: {line}", line.width());
        }
    }

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        let hostile = entry("ada\u{1b}[2J", "{\"reason\":\"\u{9b}1m\u{7f}\u{202e}\"}");
        for format in [Output::Table, Output::Json, Output::Yaml] {
            let text = written(format, &hostile);
            let obeyed = text.chars().find(|c| *c != '\n' && output::is_obeyed(*c));
            assert_eq!(obeyed, None, "{format:?}: {text:?}");
        }
        let back: AuditEntryView =
            serde_json::from_str(&written(Output::Json, &hostile)).expect("one line of JSON");
        assert_eq!(back, hostile, "and a program reads what stands there");
    }
}
