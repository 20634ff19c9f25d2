//! What an approver is shown before they approve.

use std::num::NonZeroU32;

use super::{
    estimate, guards, phone,
    rollout::{Seen, seen},
    words,
};
use crate::{
    api::wire::{
        AudienceInWords, FindingView, Opens, PhoneText, PlanPreview, Preview, PreviewFinding, PreviewStage,
    },
    audience::{self, App, Audience, Plan, Policy},
    dispatch::{
        Watched, outlook,
        watched::{Asking, Question},
    },
    guard::{Finding, Past},
    ledger::{CampaignRecord, Ledger, LedgerError},
    model::{AudienceName, Bucket, CampaignId, Notification, StageNumber},
    rollout::{FrozenPlan, FrozenTake, downstream::Looks},
};

/// What a campaign is, in words and numbers, under the policy in force and with numbers that are made and looked at as `looks`
/// says; `None` if there is no such campaign.
pub async fn preview(
    ledger: &Ledger,
    guard: &Watched,
    looks: Looks,
    id: CampaignId,
) -> Result<Option<Preview>, LedgerError> {
    let policy = guard.policy();
    let Some(seen) = seen(ledger, policy, id).await? else { return Ok(None) };
    let drift = drift(ledger, policy, &seen.campaign).await?;
    let findings = findings(guard, &seen).await;
    Ok(Some(Preview { findings, drift, ..shown(policy, looks, seen) }))
}

/// How the policy here differs from the one that the campaign was cleared under.
async fn drift(
    ledger: &Ledger,
    policy: &Policy,
    campaign: &CampaignRecord,
) -> Result<Vec<String>, LedgerError> {
    if campaign.policy == policy.hash() {
        return Ok(Vec::new());
    }
    let before = ledger.policy_files(&campaign.policy).await?;
    let unknown =
        || vec![format!("the policy that it was cleared under is not on record: {}", campaign.policy)];
    Ok(before.map_or_else(unknown, |before| audience::diff(&before, policy.files())))
}

fn shown(policy: &Policy, looks: Looks, seen: Seen) -> Preview {
    let Seen { campaign, stages, view, .. } = seen;
    let app = policy.app(&campaign.app);
    let counts: Vec<u64> = stages.facts.iter().map(|stage| stage.devices).collect();
    let stages = preview_stages(&campaign.plan, &counts, app);
    Preview {
        intent: campaign.intent.as_str().to_owned(),
        texts: campaign.job.as_ref().map(|job| texts(job.notification())).unwrap_or_default(),
        audience: in_words(policy, &campaign, view.summary.frozen),
        opens: estimate::opens(&stages, estimate::assumed(app)),
        guards: guards::previewed(&campaign.plan, &stages, looks),
        stages,
        findings: Vec::new(),
        drift: Vec::new(),
        rollout: view,
    }
}

/// How many people would open the app at once, of a campaign whose stages were frozen to these devices.
pub async fn opens(
    ledger: &Ledger,
    policy: &Policy,
    campaign: &CampaignRecord,
) -> Result<Opens, LedgerError> {
    let mut counts = vec![0; campaign.plan.stages.len()];
    for stage in ledger.stages(campaign.rollout).await? {
        if let Some(count) = counts.get_mut(usize::from(stage.stage)) {
            *count = stage.devices;
        }
    }
    let app = policy.app(&campaign.app);
    Ok(estimate::opens(&preview_stages(&campaign.plan, &counts, app), estimate::assumed(app)))
}

/// What a plan would come to for an audience as it is now: before there is a campaign. Whoever is in the first stage as one of
/// our own, and in the audience as well, is counted in both: it is exact only once it is frozen.
pub async fn planned(
    ledger: &Ledger,
    policy: &Policy,
    looks: Looks,
    (audience, plan): (&Audience, &Plan),
) -> Result<PlanPreview, LedgerError> {
    let plan = FrozenPlan::of(plan, policy);
    let whole = ledger.count_audience(audience).await?.devices;
    let (mut taken, mut counts) = (0, Vec::new());
    for stage in &plan.stages {
        let here = match &stage.take {
            FrozenTake::Audience(name) => {
                let own = AudienceName::parse(name).ok().and_then(|name| policy.audience(&name));
                counts.push(match own {
                    Some(own) => ledger.count_audience(own).await?.devices,
                    None => 0,
                });
                continue;
            }
            FrozenTake::Devices(count) => (*count).min(whole.saturating_sub(taken)),
            FrozenTake::Buckets(share) => {
                (whole * u64::from(*share) / u64::from(Bucket::COUNT)).saturating_sub(taken)
            }
        };
        taken += here;
        counts.push(here);
    }
    let app = policy.app(audience.app());
    let stages = preview_stages(&plan, &counts, app);
    Ok(PlanPreview {
        audience: audience.name.to_string(),
        app: audience.app().to_string(),
        plan: plan.name.clone(),
        devices: whole,
        opens: estimate::opens(&stages, estimate::assumed(app)),
        guards: guards::previewed(&plan, &stages, looks),
        stages,
    })
}

fn texts(notification: &Notification) -> Vec<PhoneText> {
    let locales = std::iter::once(None).chain(notification.localized.keys().map(Some));
    let text = |locale: Option<&crate::model::Locale>| {
        let (title, body) = notification.text(locale);
        PhoneText {
            locale: locale.map(ToString::to_string),
            ios: phone::IOS.show(title, body),
            android: phone::ANDROID.show(title, body),
        }
    };
    locales.map(text).collect()
}

fn in_words(policy: &Policy, campaign: &CampaignRecord, frozen: u64) -> AudienceInWords {
    let audience = policy.audience(&campaign.audience);
    let missing = || vec!["the policy in force does not have this audience any more".to_owned()];
    AudienceInWords {
        name: campaign.audience.to_string(),
        class: audience.map_or(campaign.class, |audience| audience.class).as_str().to_owned(),
        description: audience.and_then(|audience| audience.description.clone()),
        selects: match campaign.mends {
            Some(_) => {
                vec!["of it, exactly those whom another campaign reached, or may have reached".to_owned()]
            }
            None => audience.map_or_else(missing, words::conditions),
        },
        frozen,
        // For those there is no bound: they have the other's words already.
        at_most: if campaign.mends.is_some() { frozen } else { outlook::at_most(policy, campaign) },
    }
}

fn preview_stages(plan: &FrozenPlan, counts: &[u64], app: Option<&App>) -> Vec<PreviewStage> {
    let assumed = estimate::assumed(app);
    let stage = |(number, stage): (usize, &crate::rollout::FrozenStage)| {
        let devices = counts.get(number).copied().unwrap_or_default();
        let number = StageNumber::try_from(number).unwrap_or(StageNumber::MAX);
        let rate = estimate::rate(plan.max_rate(number).map(NonZeroU32::get), app);
        let sending_seconds = estimate::sending_seconds(devices, rate);
        PreviewStage {
            stage: u32::from(number) + 1,
            takes: stage.take.to_string(),
            devices,
            rate,
            sending_seconds,
            bake_seconds: std::time::Duration::from_millis(stage.bake_ms).as_secs_f64(),
            gate: plan.gate(number).to_owned(),
            peak_per_second: estimate::peak(rate, sending_seconds, assumed),
            rate_within: estimate::rate_within(devices, rate, assumed),
        }
    };
    plan.stages.iter().enumerate().map(stage).collect()
}

/// What holds it, and who answers for that; and the guard again, on what is on record, under the policy in force, unless the
/// text is forgotten.
async fn findings(guard: &Watched, seen: &Seen) -> Vec<PreviewFinding> {
    let Seen { campaign, view, now, .. } = seen;
    let holds: Vec<_> = view.findings.iter().filter(|finding| finding.holds).collect();
    let mut all: Vec<_> = holds.iter().copied().map(held).collect();
    let Some(job) = &campaign.job else { return all };
    // What was before it was asked when it arrived; `rollout show` has what came of that.
    let past = Past { proven: true, ..Past::default() };
    let question = Question::of_campaign(Asking::All, (&campaign.key, job), campaign.received_at, past);
    let verdict = guard.ask_one(question, *now).await;
    let is_known = |found: &&Finding| {
        holds.iter().any(|known| known.rule == found.rule.id() && known.field == found.field)
    };
    all.extend(verdict.findings().iter().filter(|found| !is_known(found)).map(told));
    all
}

fn held(finding: &FindingView) -> PreviewFinding {
    let stands = match (&finding.accepted_by, &finding.accepted_reason) {
        (Some(by), Some(why)) => format!("finding {}, accepted by {by}: {why}", finding.number),
        _ => format!("finding {}, which HOLDS it until somebody has accepted it", finding.number),
    };
    PreviewFinding {
        rule: finding.rule.clone(),
        field: finding.field.clone(),
        problem: format!("{}; {stands}", finding.reason),
    }
}

fn told(finding: &Finding) -> PreviewFinding {
    let quoted = finding.matched.as_ref().map(|text| format!(" (“{text}”)")).unwrap_or_default();
    PreviewFinding {
        rule: finding.rule.id().to_owned(),
        field: finding.field.clone(),
        problem: format!("{}: {}{quoted}; {}", finding.severity.as_str(), finding.reason, finding.fix),
    }
}
