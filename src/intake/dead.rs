//! What is in `dead`, and how it says why.
//!
//! A message that the service refuses is copied there with these headers (all texts, UTF-8); its body is what
//! arrived, up to 128 KiB of it:
//!
//! | header | meaning |
//! |---|---|
//! | `x-bellwether-reason` | `refused`: the guard said no. `malformed`: it was no job, or no registration |
//! | `x-bellwether-code` | refused: the ids of the rules that refuse, comma separated. malformed: the kind of mistake |
//! | `x-bellwether-field` | the path of the field (of the first finding that refuses) |
//! | `x-bellwether-problem` | malformed: what is wrong with the field, and what would mend it |
//! | `x-bellwether-findings` | refused: the findings as a JSON array, without the matched text |
//! | `x-bellwether-findings-left-out` | how many findings had no room, if any |
//! | `x-bellwether-producer` | who enqueued it; absent if nobody vouches for that |
//! | `x-bellwether-lane` | `direct`, `campaign`, or `devices` for a registration |
//! | `x-bellwether-size` | how many bytes arrived |
//! | `x-bellwether-truncated` | `true` if the body here is only their beginning |
//! | `x-bellwether-time` | when it was put here (RFC 3339, UTC) |
//! | `traceparent` | the W3C trace context that it brought |
//!
//! A message that the broker itself puts there, after 20 deliveries that nobody acknowledged, has none of these: its
//! `x-death` header says so, and its `user_id` is still its producer's. Copies made here carry the service's `user_id`.

use jiff::Timestamp;

use super::{DeadLetter, DeadReason};
use crate::model::{FindingNote, MAX_JOB_BYTES};

/// How much of a body is kept. Larger ones are cut on arrival, so that what is held is bounded by this times the
/// prefetch (200 × 128 KiB = 25 MiB), not by what a producer may publish (RabbitMQ allows 128 MiB a message).
pub const KEPT_BODY_BYTES: usize = 128 * 1024;

const _: () = assert!(KEPT_BODY_BYTES > MAX_JOB_BYTES, "a cut body must still be refused as too large");

/// All headers of a message must fit into one frame (128 KiB as RabbitMQ negotiates it). Findings are the only ones
/// that grow with the job.
const FINDINGS_BYTES: usize = 64 * 1024;

/// Paths and problems may quote a producer's field names, which have no length limit below that of the job.
const QUOTED_BYTES: usize = 1024;

/// The names of the headers.
#[expect(missing_docs, reason = "the module's table says what each means")]
pub mod header_names {
    pub const REASON: &str = "x-bellwether-reason";
    pub const CODE: &str = "x-bellwether-code";
    pub const FIELD: &str = "x-bellwether-field";
    pub const PROBLEM: &str = "x-bellwether-problem";
    pub const FINDINGS: &str = "x-bellwether-findings";
    pub const FINDINGS_LEFT_OUT: &str = "x-bellwether-findings-left-out";
    pub const PRODUCER: &str = "x-bellwether-producer";
    pub const LANE: &str = "x-bellwether-lane";
    pub const SIZE: &str = "x-bellwether-size";
    pub const TRUNCATED: &str = "x-bellwether-truncated";
    pub const TIME: &str = "x-bellwether-time";
    pub const TRACEPARENT: &str = "traceparent";
}

use header_names as name;

/// The headers of a dead letter, as the table above has them.
#[must_use]
pub fn headers(letter: &DeadLetter, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut headers = match &letter.reason {
        DeadReason::Refused(findings) => refused(findings),
        DeadReason::Malformed { code, field, problem } => vec![
            (name::REASON, "malformed".into()),
            (name::CODE, (*code).to_owned()),
            (name::FIELD, quoted(field)),
            (name::PROBLEM, quoted(problem)),
        ],
    };
    headers.extend([
        (name::LANE, letter.queue.key().to_owned()),
        (name::SIZE, letter.size.to_string()),
        (name::TIME, now.to_string()),
    ]);
    if letter.body.len() < letter.size {
        headers.push((name::TRUNCATED, "true".into()));
    }
    headers.extend(letter.producer.iter().map(|producer| (name::PRODUCER, producer.to_string())));
    headers.extend(letter.traceparent.iter().map(|parent| (name::TRACEPARENT, parent.clone())));
    headers
}

fn refused(findings: &[FindingNote]) -> Vec<(&'static str, String)> {
    let refusing = || findings.iter().filter(|finding| finding.verdict != "clear");
    let mut rules: Vec<&str> = Vec::new();
    for finding in refusing() {
        if !rules.contains(&finding.rule.as_str()) {
            rules.push(&finding.rule);
        }
    }
    let (told, left_out) = array(findings);
    let mut headers = vec![
        (name::REASON, "refused".into()),
        (name::CODE, rules.join(",")),
        (name::FINDINGS, told),
        (name::FIELD, refusing().next().map_or_else(String::new, |finding| quoted(&finding.field))),
    ];
    if left_out > 0 {
        headers.push((name::FINDINGS_LEFT_OUT, left_out.to_string()));
    }
    headers
}

/// The findings as a JSON array, as many from the first on as have room, and how many have not.
fn array(findings: &[FindingNote]) -> (String, usize) {
    let mut text = String::from("[");
    for (place, finding) in findings.iter().enumerate() {
        let finding = serde_json::to_string(finding).expect("a finding has only string keys");
        if text.len() + finding.len() + 2 > FINDINGS_BYTES {
            return (text + "]", findings.len() - place);
        }
        if place > 0 {
            text.push(',');
        }
        text.push_str(&finding);
    }
    (text + "]", 0)
}

fn quoted(text: &str) -> String {
    text[..text.floor_char_boundary(QUOTED_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::{intake::WorkQueue, model::ProducerId};

    fn finding(rule: &str, verdict: &str) -> FindingNote {
        FindingNote {
            rule: rule.into(),
            verdict: verdict.into(),
            field: format!("field of {rule}"),
            span: Some((0, 4)),
            reason: "because".into(),
            fix: "mend it".into(),
        }
    }

    fn letter(reason: DeadReason) -> DeadLetter {
        DeadLetter {
            body: Bytes::from_static(b"body"),
            size: 4,
            producer: Some(ProducerId::parse("cards").expect("a producer")),
            queue: WorkQueue::Direct,
            reason,
            traceparent: None,
        }
    }

    fn of(letter: &DeadLetter) -> BTreeMap<&'static str, String> {
        headers(letter, Timestamp::UNIX_EPOCH).into_iter().collect()
    }

    #[test]
    fn a_refusal_names_the_rules_that_refuse_and_not_the_notes() {
        let findings = [
            ("expired", "refuse"),
            ("environment", "clear"),
            ("payload-limits", "hold"),
            ("expired", "refuse"),
        ];
        let headers =
            of(&letter(DeadReason::Refused(findings.map(|(rule, verdict)| finding(rule, verdict)).to_vec())));
        assert_eq!(headers[name::REASON], "refused");
        assert_eq!(headers[name::CODE], "expired,payload-limits");
        assert_eq!(headers[name::FIELD], "field of expired");
        assert_eq!(headers[name::PRODUCER], "cards");
        let told: Vec<serde_json::Value> =
            serde_json::from_str(&headers[name::FINDINGS]).expect("a JSON array");
        assert_eq!(told.len(), 4);
        assert!(!headers.contains_key(name::TRUNCATED));
    }

    #[test]
    fn hostile_lengths_stay_within_a_frame() {
        let field = "é".repeat(60_000);
        let mut malformed = letter(DeadReason::Malformed {
            code: "unknown-field",
            field: field.clone(),
            problem: field.clone(),
        });
        malformed.size = 10_000_000;
        let total = |headers: &BTreeMap<&str, String>| headers.values().map(String::len).sum::<usize>();
        let headers = of(&malformed);
        assert!(total(&headers) < 4 * QUOTED_BYTES);
        assert_eq!(headers[name::TRUNCATED], "true");
        assert_eq!(headers[name::SIZE], "10000000");

        let findings = vec![finding("unfilled-template", "refuse"); 5_000];
        let headers = of(&letter(DeadReason::Refused(findings)));
        let told: Vec<serde_json::Value> =
            serde_json::from_str(&headers[name::FINDINGS]).expect("a JSON array");
        let left_out: usize = headers[name::FINDINGS_LEFT_OUT].parse().expect("a number");
        assert_eq!(told.len() + left_out, 5_000);
        assert!(total(&headers) < 100 * 1024, "{}", total(&headers));
        assert_eq!(headers[name::CODE], "unfilled-template");
    }
}
