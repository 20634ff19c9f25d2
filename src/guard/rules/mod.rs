//! The rules in their order, and the two entry points.

mod audience_above_limit;
mod blast_radius;
mod broadcast_in_disguise;
mod contagion;
mod duplicate_campaign;
mod environment;
mod expired;
mod flagging;
mod label_missing;
mod language_mismatch;
mod payload_limits;
mod plan_missing;
mod producer_scope;
mod production_to_test;
mod proof_missing;
mod staging_link;
mod test_audience_too_big;
mod test_to_production;
mod unfilled_template;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod sample;
#[cfg(test)]
pub(crate) use sample::policy as sample_policy;
#[cfg(test)]
pub(crate) mod stuck;

pub use flagging::is_flagged;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use jiff::Timestamp;

use super::{Cleared, Facts, Finding, Progress, Severity, Verdict, case::Case, cleared::Reach, watch::Watch};
use crate::{
    audience::Policy,
    model::{Intent, Job, JobKey},
};

/// A rule of the guard, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// No or unknown intent, app, recipients, audience or producer.
    LabelMissing,
    /// The producer may not use this app, intent, audience or size.
    ProducerScope,
    /// A test job that could reach somebody who is no registered tester (I1).
    TestToProduction,
    /// A production job to a test-class audience.
    ProductionToTest,
    /// A test job that comes to more devices than testers may have.
    TestAudienceTooBig,
    /// A campaign that expects more devices than its audience may come to.
    AudienceAboveLimit,
    /// A production job that meets development builds.
    Environment,
    /// Past its expiry, or too far ahead.
    Expired,
    /// Beyond what a provider takes.
    PayloadLimits,
    /// A placeholder that nobody filled in.
    UnfilledTemplate,
    /// A link or an image of a host that the app has not declared.
    StagingLink,
    /// A campaign without a plan, or with one that does not fit.
    PlanMissing,
    /// A campaign that closely follows a notification that was stopped.
    Contagion,
    /// A direct text that has reached as many people as it may.
    BroadcastInDisguise,
    /// A campaign that says to an audience what another has just said to it.
    DuplicateCampaign,
    /// A campaign of words that nobody has seen on a phone.
    ProofMissing,
    /// A producer that would reach more devices in a day than it may.
    BlastRadius,
    /// A text in a script that its readers do not read.
    LanguageMismatch,
}

/// One line of the guard's table.
struct Entry {
    rule: Rule,
    /// As told in events, metrics and dead letters.
    id: &'static str,
    /// What it answers if it breaks: closed, unless all it could ever say is a note.
    broken: Severity,
    /// Asked again before every later send of a stored job.
    again: bool,
    check: fn(&Case<'_>) -> Vec<Finding>,
}

/// The guard, in one table. Structural rules come first: they are about who and when, and no text can
/// argue with them. Refuse beats Hold beats a note, whatever the order.
#[rustfmt::skip]
const TABLE: [Entry; 18] = {
    use Severity::{Hold, Note, Refuse};
    [
        Entry { rule: Rule::LabelMissing,        id: "label-missing",         broken: Refuse, again: true,  check: label_missing::check },
        Entry { rule: Rule::ProducerScope,       id: "producer-scope",        broken: Refuse, again: true,  check: producer_scope::check },
        Entry { rule: Rule::TestToProduction,    id: "test-to-production",    broken: Refuse, again: true,  check: test_to_production::check },
        Entry { rule: Rule::ProductionToTest,    id: "production-to-test",    broken: Note,   again: false, check: production_to_test::check },
        Entry { rule: Rule::TestAudienceTooBig,  id: "test-audience-too-big", broken: Refuse, again: true,  check: test_audience_too_big::check },
        // Not again: what was frozen is held against the limit then.
        Entry { rule: Rule::AudienceAboveLimit,  id: "audience-above-limit",  broken: Refuse, again: false, check: audience_above_limit::check },
        Entry { rule: Rule::Environment,         id: "environment",           broken: Note,   again: false, check: environment::check },
        Entry { rule: Rule::Expired,             id: "expired",               broken: Refuse, again: true,  check: expired::check },
        Entry { rule: Rule::PayloadLimits,       id: "payload-limits",        broken: Refuse, again: true,  check: payload_limits::check },
        Entry { rule: Rule::UnfilledTemplate,    id: "unfilled-template",     broken: Refuse, again: false, check: unfilled_template::check },
        Entry { rule: Rule::StagingLink,         id: "staging-link",          broken: Refuse, again: false, check: staging_link::check },
        // Not again: the plan is frozen with its campaign.
        Entry { rule: Rule::PlanMissing,         id: "plan-missing",          broken: Refuse, again: false, check: plan_missing::check },
        // Not again: a person has looked at it, or nothing had happened when it came.
        Entry { rule: Rule::Contagion,           id: "contagion",             broken: Hold,   again: false, check: contagion::check },
        Entry { rule: Rule::BroadcastInDisguise, id: "broadcast-in-disguise", broken: Refuse, again: true,  check: broadcast_in_disguise::check },
        Entry { rule: Rule::DuplicateCampaign,   id: "duplicate-campaign",    broken: Hold,   again: false, check: duplicate_campaign::check },
        Entry { rule: Rule::ProofMissing,        id: "proof-missing",         broken: Hold,   again: false, check: proof_missing::check },
        // Not again: a day is counted once, and a person has looked at a campaign.
        Entry { rule: Rule::BlastRadius,         id: "blast-radius",          broken: Hold,   again: false, check: blast_radius::check },
        Entry { rule: Rule::LanguageMismatch,    id: "language-mismatch",     broken: Note,   again: false, check: language_mismatch::check },
    ]
};

/// What to do about a defect of the guard itself.
const REPORT: &str = "report this job's digest to whoever runs the service";

impl Rule {
    /// Every rule, in order.
    pub const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::LabelMissing; TABLE.len()];
        let mut n = 0;
        while n < TABLE.len() {
            all[n] = TABLE[n].rule;
            n += 1;
        }
        all
    };

    /// As told in events, metrics and dead letters, such as `test-to-production`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        TABLE[self as usize].id
    }
}

/// May this job reach these people? Pure; most of its cost is rendering the message, which is done once:
/// the verdict's proof carries it. Nothing in a finding but its matched text
/// quotes the notification.
pub fn clear(job: &Job, key: &JobKey, policy: &Policy, facts: &Facts<'_>, now: Timestamp) -> Verdict {
    let watch = Watch { progress: &Progress::default(), left_out: &[] };
    Rules::ALL.clear((job, key), policy, facts, now, watch)
}

/// Asks the structural rules again, before a later send of a job that is on record: the policy may have
/// changed, an hour may have passed. Content does not change, and is not read again.
pub fn recheck(job: &Job, key: &JobKey, policy: &Policy, facts: &Facts<'_>, now: Timestamp) -> Verdict {
    let watch = Watch { progress: &Progress::default(), left_out: &[] };
    Rules::ALL.recheck((job, key), policy, facts, now, watch)
}

/// The rules that are asked.
#[derive(Clone, Copy)]
pub struct Rules(&'static [Entry]);

impl Rules {
    /// Every rule, in order.
    pub const ALL: Self = Self(&TABLE);

    /// [`clear`], while somebody watches.
    pub fn clear(
        self,
        (job, key): (&Job, &JobKey),
        policy: &Policy,
        facts: &Facts<'_>,
        now: Timestamp,
        watch: Watch<'_>,
    ) -> Verdict {
        watch.progress.begin(None);
        judge(Case::new(job, key, policy, facts, now), self.0.iter(), watch)
    }

    /// [`recheck`], while somebody watches.
    pub fn recheck(
        self,
        (job, key): (&Job, &JobKey),
        policy: &Policy,
        facts: &Facts<'_>,
        now: Timestamp,
        watch: Watch<'_>,
    ) -> Verdict {
        watch.progress.begin(None);
        let again = self.0.iter().filter(|entry| entry.again);
        judge(Case::new(job, key, policy, facts, now), again, watch)
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|entry| entry.id)).finish()
    }
}

/// What is said of a job on which the guard did not come back, and not because of a rule that could be left out.
pub fn not_come_back() -> Verdict {
    let reason = "the guard did not come back on this job, so nobody knows what it would have said";
    let finding = Finding::new((Rule::LabelMissing, Severity::Refuse), "job", reason, REPORT);
    Verdict::Refuse(vec![finding.of_broken()])
}

fn judge<'e>(case: Case<'_>, table: impl Iterator<Item = &'e Entry>, watch: Watch<'_>) -> Verdict {
    let mut findings = Vec::new();
    for entry in table {
        watch.progress.begin(Some(entry.rule));
        findings.append(&mut run(entry, &case, watch.left_out));
    }
    watch.progress.begin(None);
    match heaviest(&findings) {
        Some(Severity::Hold) if case.is_campaign() => Verdict::Hold(findings),
        // A direct job is for now: nobody looks at it first, so what would hold it refuses it.
        Some(Severity::Hold | Severity::Refuse) => Verdict::Refuse(findings),
        Some(Severity::Note | Severity::Shadow) | None => prove(case, findings),
    }
}

fn heaviest(findings: &[Finding]) -> Option<Severity> {
    findings.iter().map(|finding| finding.severity).max()
}

/// Runs one rule. A rule that panics has not cleared anything, nor has one that did not come back: it counts as what its
/// line in the table says, and the job goes on to the next rule, so that all reasons are told.
fn run(entry: &Entry, case: &Case<'_>, left_out: &[Rule]) -> Vec<Finding> {
    let of_broken = |how: &str| {
        let reason = format!("the rule {how} on this job, so nobody knows what it would have said");
        vec![Finding::new((entry.rule, broken(entry, case)), "job", reason, REPORT).of_broken()]
    };
    let findings = if left_out.contains(&entry.rule) {
        of_broken("did not come back")
    } else {
        catch_unwind(AssertUnwindSafe(|| (entry.check)(case))).unwrap_or_else(|_| of_broken("broke"))
    };
    if !findings.is_empty() && case.app.is_some_and(|app| app.guard.in_shadow(entry.id)) {
        return findings.into_iter().map(Finding::shadowed).collect();
    }
    findings
}

/// What a broken rule says. A campaign is not sent. A direct job is: a defect in a reader of texts must not keep one-time
/// codes from people, and what one job can harm is bounded. Unless the broken rule is one of those bounds.
fn broken(entry: &Entry, case: &Case<'_>) -> Severity {
    if case.is_campaign() || bounds_direct(entry.rule) { entry.broken } else { Severity::Note }
}

/// The rules that hold whatever else breaks: who may ring whom, I1, the direct limits, I9.
const fn bounds_direct(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::LabelMissing
            | Rule::ProducerScope
            | Rule::TestToProduction
            | Rule::TestAudienceTooBig
            | Rule::Expired
            | Rule::BroadcastInDisguise
            | Rule::BlastRadius
    )
}

/// Makes the proof. Every `None` and `Err` here has been refused by a rule before; should a rule have
/// failed to, the answer is still no.
fn prove(case: Case<'_>, mut findings: Vec<Finding>) -> Verdict {
    let reach = match case.job.intent() {
        Some(Intent::Test) => Some(Reach::Testers(case.testers.clone())),
        Some(Intent::Production) => Some(Reach::Named),
        None => None,
    };
    let (key, digest, expires_at) = (case.key.clone(), case.job.digest(), case.expires_at);
    let app = case.app_id().cloned();
    let message = catch_unwind(AssertUnwindSafe(|| case.into_message().ok())).ok().flatten();
    if let (Some(reach), Some(app), Some(message)) = (reach, app, message) {
        return Verdict::Clear(Cleared { key, digest, app, expires_at, reach, message }, findings);
    }
    let reason = "nothing can be proven about a job without intent, app and message";
    findings.push(Finding::new((Rule::LabelMissing, Severity::Refuse), "job", reason, REPORT));
    Verdict::Refuse(findings)
}

#[cfg(test)]
mod tests {
    use super::{sample::Sample, *};

    #[test]
    fn the_table_has_each_rule_in_its_place() {
        for (n, rule) in Rule::ALL.into_iter().enumerate() {
            assert_eq!(rule as usize, n);
        }
        let ids: std::collections::BTreeSet<_> = Rule::ALL.into_iter().map(Rule::id).collect();
        assert_eq!(ids.len(), Rule::ALL.len());
    }

    #[test]
    fn the_policy_knows_of_each_rule_whether_it_may_be_in_shadow() {
        let (may, never) = crate::audience::rules_by_shadow();
        let mut known: Vec<_> = may.iter().chain(&never).copied().collect();
        let mut rules: Vec<_> = Rule::ALL.into_iter().map(Rule::id).collect();
        known.sort_unstable();
        rules.sort_unstable();
        assert_eq!(known, rules);
        for i1 in [Rule::LabelMissing, Rule::ProducerScope, Rule::TestToProduction, Rule::TestAudienceTooBig]
        {
            assert!(never.contains(&i1.id()), "{}", i1.id());
        }
    }

    #[test]
    fn a_rule_in_shadow_says_what_it_would_have_answered_and_decides_nothing() {
        let link = |app: &str| {
            Sample::direct().by("shadowed").change(|job| {
                job["app"] = app.into();
                job["notification"]["link"] = "https://staging.example.pl/".into();
            })
        };
        assert_eq!(link("bank").by("cards").refused_by(Rule::StagingLink), "notification.link");
        let Verdict::Clear(_, findings) = link("shadow").clear() else { panic!("must be clear") };
        let [finding] = &findings[..] else { panic!("one finding: {findings:?}") };
        assert_eq!((finding.rule, finding.severity), (Rule::StagingLink, Severity::Shadow));
        assert!(finding.reason.starts_with("would refuse: "), "{}", finding.reason);
        assert_eq!(finding.note().verdict, "shadow");
    }

    fn judged<'e>(case: Case<'_>, table: impl Iterator<Item = &'e Entry>) -> Verdict {
        judge(case, table, Watch { progress: &Progress::default(), left_out: &[] })
    }

    fn entry(broken: Severity) -> Entry {
        Entry { rule: Rule::TestToProduction, id: "x", broken, again: true, check: |_| panic!("on purpose") }
    }

    #[test]
    fn what_is_printed_of_the_rules_and_of_a_proof_are_their_names() {
        assert!(format!("{:?}", Rules::ALL).contains("\"test-to-production\""));
        let Verdict::Clear(cleared, _) = Sample::direct().clear() else { panic!("must be clear") };
        assert!(format!("{cleared:?}").starts_with("Cleared(cards/j-1, production, "), "{cleared:?}");
    }

    #[test]
    fn a_rule_that_panics_refuses_and_is_named() {
        let sample = Sample::direct();
        sample.with_case(|case| {
            let Verdict::Refuse(findings) = judged(case, [&entry(Severity::Refuse)].into_iter()) else {
                panic!("must be refused")
            };
            assert_eq!((findings[0].rule, findings.len()), (Rule::TestToProduction, 1));
        });
    }

    #[test]
    fn a_rule_that_panics_is_closed_for_campaigns_and_open_for_direct_jobs_within_their_bounds() {
        let judged = |rule, sample: Sample| {
            let entry = Entry { rule, ..entry(Severity::Refuse) };
            sample.with_case(|case| {
                let verdict = judged(case, [&entry].into_iter());
                assert!(verdict.findings().iter().all(|finding| finding.broken && finding.rule == rule));
                matches!(verdict, Verdict::Clear(..))
            })
        };
        for rule in Rule::ALL {
            assert!(!judged(rule, Sample::campaign("production", "customers")), "{}", rule.id());
        }
        let open: Vec<_> = Rule::ALL.into_iter().filter(|rule| judged(*rule, Sample::direct())).collect();
        let others = |rule: &Rule| !bounds_direct(*rule);
        assert_eq!(open, Rule::ALL.into_iter().filter(others).collect::<Vec<_>>());
        assert!(open.contains(&Rule::UnfilledTemplate) && !open.contains(&Rule::TestToProduction));
    }

    #[test]
    fn a_rule_that_could_only_note_does_not_stop_a_one_time_code() {
        let sample = Sample::direct();
        sample.with_case(|case| {
            let verdict = judged(case, [&entry(Severity::Note)].into_iter());
            assert!(matches!(verdict, Verdict::Clear(_, ref findings) if findings.len() == 1));
        });
    }

    #[test]
    fn a_hold_refuses_as_long_as_nobody_can_look_at_it() {
        let sample = Sample::direct();
        sample.with_case(|case| {
            let verdict = judged(case, [&entry(Severity::Hold)].into_iter());
            assert!(matches!(verdict, Verdict::Refuse(_)));
        });
    }

    #[test]
    fn without_an_intent_no_proof_is_made_whatever_the_rules_say() {
        let sample = Sample::direct().change(|job| {
            job.as_object_mut().expect("an object").remove("intent");
        });
        sample.with_case(|case| assert!(matches!(judged(case, [].iter()), Verdict::Refuse(_))));
    }

    #[test]
    fn the_proof_carries_the_bytes_that_were_measured() {
        let sample = Sample::direct();
        let Verdict::Clear(cleared, findings) = sample.clear() else { panic!("must be clear") };
        assert_eq!(findings, []);
        let rendered = crate::model::Message::render(
            sample.job().notification(),
            &sample.key(),
            cleared.expires_at(),
            sample.now(),
        );
        assert_eq!(cleared.message(), &rendered.expect("renders"));
        assert_eq!(cleared.digest(), sample.job().digest());
    }

    #[test]
    fn a_stored_job_is_judged_again_by_what_can_change() {
        let sample = Sample::direct();
        assert!(sample.recheck().is_ok());
        let late = sample.at("2026-11-21T13:00:00Z");
        let findings = late.recheck().expect_err("has expired");
        assert_eq!(findings[0].rule, Rule::Expired);
        let unlisted = Sample::test_to("u-1");
        assert_eq!(unlisted.recheck().expect_err("no tester")[0].rule, Rule::TestToProduction);
        let elsewhere = Sample::direct().change(|job| job["app"] = "other".into());
        assert_eq!(elsewhere.recheck().expect_err("out of scope")[0].rule, Rule::ProducerScope);
    }
}
