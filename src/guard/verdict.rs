//! Verdicts and the findings that explain them.

use std::{fmt, ops::Range};

use super::{Cleared, Rule};
use crate::model::FindingNote;

/// Byte offsets into a field's text.
pub type Span = Range<usize>;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The rule is in shadow for the app: it says what it would have answered, and decides nothing.
    Shadow,
    /// Worth knowing; the job goes on.
    Note,
    /// A person must look first. Direct jobs are never held: they are refused.
    Hold,
    /// Never.
    Refuse,
}

impl Severity {
    /// As told in events and metrics: `shadow`, `clear`, `hold`, `refuse`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Note => "clear",
            Self::Hold => "hold",
            Self::Refuse => "refuse",
        }
    }
}

/// One reason of a verdict, with its evidence.
#[derive(Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule that found it.
    pub rule: Rule,
    /// How much it weighs.
    pub severity: Severity,
    /// The path of the field, such as `notification.body`.
    pub field: String,
    /// Where in the field.
    pub span: Option<Span>,
    /// The text at the span. Shown only to authorised operators, never logged or published (I12).
    pub matched: Option<String>,
    /// Why; safe to log.
    pub reason: String,
    /// What would mend it; safe to log.
    pub fix: String,
    /// The rule did not find this: it broke.
    pub broken: bool,
}

impl Finding {
    /// A finding about a whole field. Neither `reason` nor `fix` nor `field` may quote the notification.
    pub(super) fn new(
        (rule, severity): (Rule, Severity),
        field: impl Into<String>,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (field, reason, fix) = (field.into(), reason.into(), fix.into());
        Self { rule, severity, field, span: None, matched: None, reason, fix, broken: false }
    }

    /// The same, with the text that gave rise to it.
    pub(super) fn matching(self, text: impl Into<String>) -> Self {
        Self { matched: Some(text.into()), ..self }
    }

    /// The same of a rule that is in shadow: its would-be verdict is told, and decides nothing.
    pub(super) fn shadowed(self) -> Self {
        let reason = match self.severity {
            Severity::Refuse => format!("would refuse: {}", self.reason),
            Severity::Hold => format!("would hold: {}", self.reason),
            Severity::Note | Severity::Shadow => return self,
        };
        Self { severity: Severity::Shadow, reason, ..self }
    }

    /// The same, of a rule that broke.
    pub(super) fn of_broken(self) -> Self {
        Self { broken: true, ..self }
    }

    /// The finding as it may be told: without the matched text.
    #[must_use]
    pub fn note(&self) -> FindingNote {
        FindingNote {
            rule: self.rule.id().to_owned(),
            verdict: self.severity.as_str().to_owned(),
            field: self.field.clone(),
            span: self.span.as_ref().map(|span| (span.start, span.end)),
            reason: self.reason.clone(),
            fix: self.fix.clone(),
        }
    }
}

impl fmt::Debug for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, severity, field, span, matched: _, reason, .. } = self;
        write!(f, "{}({severity:?}, {field}, {span:?}, {reason})", rule.id())
    }
}

/// The guard's answer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every verdict is Clear, and none is kept")]
#[must_use = "a verdict that nobody reads guards nothing"]
pub enum Verdict {
    /// May be sent, as far as the guard is concerned; the findings are notes.
    Clear(Cleared, Vec<Finding>),
    /// A person must look first.
    Hold(Vec<Finding>),
    /// Must not be sent.
    Refuse(Vec<Finding>),
}

impl Verdict {
    /// Every finding, whatever the verdict.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        match self {
            Self::Clear(_, findings) | Self::Hold(findings) | Self::Refuse(findings) => findings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_what_was_matched_is_in_neither_a_note_nor_a_log() {
        let finding = Finding::new(
            (Rule::StagingLink, Severity::Refuse),
            "notification.body",
            "a host of ours for tests",
            "link to production",
        )
        .matching("secret.example");
        let logged = format!("{finding:?}");
        assert_eq!(logged, "staging-link(Refuse, notification.body, None, a host of ours for tests)");
        let note = format!("{:?}", finding.note());
        assert!(note.contains("a host of ours for tests") && !note.contains("secret.example"), "{note}");
    }
}
