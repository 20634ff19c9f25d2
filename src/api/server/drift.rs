//! Drift: what people approved is not what is in force, loaded, or in the folder any more.
//!
//! - **I8 approved-is-what-is-sent**: whoever approves, starts or promotes asks first whether the policy in force, the one
//!   that this process was started with, and the files in its folder are still what the rollout was approved under. If one
//!   of them is not, the approvals are void, at once, and whoever asked is shown what changed.
//!
//! The coordinator voids as well, when another policy is in force; it does not read the folder.

use serde_json::{Value, json};

use super::{Api, ApiError};
use crate::{
    api::wire::{Code, Problem},
    audience::{self, Policy, PolicyFile},
    dispatch::{
        control::ControlMessage,
        outlook,
        watched::{Asking, Question},
    },
    guard::{Finding, Past, Verdict},
    ledger::{CampaignRecord, PolicyInForce, RolloutRecord},
    model::{Digest, OperatorName},
};

/// The policies that must be one: in force, loaded, in the folder.
struct Found {
    in_force: PolicyInForce,
    /// Of the policy in force.
    files: Vec<PolicyFile>,
    /// What stands in the folder now, or why it cannot be read.
    folder: Result<Vec<PolicyFile>, String>,
}

/// One of them, and that it is another than the one that was approved.
struct Differs {
    what: &'static str,
    policy: Option<Digest>,
    files: Option<Vec<PolicyFile>>,
}

/// Refuses if anything differs from what the rollout was approved under; the approvals that it has are void then. Before
/// the first approval nothing may differ from the policy in force.
pub(super) async fn refuse(
    api: &Api,
    by: &OperatorName,
    known: &CampaignRecord,
    stands: &RolloutRecord,
) -> Result<(), ApiError> {
    // I4: what nobody must approve goes on under whatever policy is in force.
    if stands.electorate.people == 0 {
        return Ok(());
    }
    let found = look(api).await?;
    let holds = stands.holds_approvals();
    let base = if holds { stands.approved_under(known) } else { found.in_force.hash };
    let differs = compare(api, &found, &base);
    if differs.is_empty() {
        return Ok(());
    }
    let before = match api.ledger().policy_files(&base).await? {
        Some(files) => files,
        None if base == api.policy().hash() => api.policy().files().to_vec(),
        None => Vec::new(),
    };
    if holds {
        void(api, by, (known, stands), (&base, &found, &differs)).await?;
    }
    let mut problem = Problem::new(Code::StaleDigest, told(&differs, holds));
    // What stands in the folder is what somebody is about to put in force: the last that differs.
    let after = differs.into_iter().rev().find_map(|differs| differs.files);
    let diff = tokio::task::spawn_blocking(move || after.map(|after| audience::diff(&before, &after)));
    problem.diff = diff.await.ok().flatten().unwrap_or_default();
    Err(problem.into())
}

/// The guard must still clear what is on record, under the policy in force: nobody approves what would be refused.
pub(super) async fn guarded(api: &Api, known: &CampaignRecord) -> Result<(), ApiError> {
    let Some(job) = &known.job else {
        let detail = "its text is forgotten, so nobody can approve it; send it again with a new id";
        return Err(ApiError::new(Code::RefusedByGuard, detail));
    };
    let now = api.ledger().now().await?;
    let question = Question::of_campaign(Asking::All, (&known.key, job), known.received_at, Past::default());
    let Verdict::Refuse(findings) = api.guard().ask_one(question, now).await else {
        return Ok(());
    };
    let told = |finding: &Finding| {
        format!("{} ({}): {}; {}", finding.field, finding.rule.id(), finding.reason, finding.fix)
    };
    let told: Vec<_> = findings.iter().map(told).collect();
    Err(ApiError::new(Code::RefusedByGuard, told.join("\n")))
}

async fn look(api: &Api) -> Result<Found, ApiError> {
    let Some(in_force) = api.ledger().policy_in_force().await? else {
        let detail = "no policy is in force yet; try again in a moment";
        return Err(ApiError::new(Code::Unavailable, detail).after(1));
    };
    let files = api.ledger().policy_files(&in_force.hash).await?.unwrap_or_default();
    let folder = api.folder().to_owned();
    let folder = tokio::task::spawn_blocking(move || audience::read_folder(&folder)).await;
    let folder = match folder {
        Ok(Ok(files)) => Ok(files),
        Ok(Err(problems)) => Err(problems.to_string()),
        Err(_) => Err("it cannot be read".to_owned()),
    };
    Ok(Found { in_force, files, folder })
}

fn compare(api: &Api, found: &Found, base: &Digest) -> Vec<Differs> {
    let mut differs = Vec::new();
    if found.in_force.hash != *base {
        let (policy, files) = (Some(found.in_force.hash), Some(found.files.clone()));
        differs.push(Differs { what: "the policy in force", policy, files });
    }
    let loaded = api.policy();
    if loaded.hash() != *base {
        let (policy, files) = (Some(loaded.hash()), Some(loaded.files().to_vec()));
        differs.push(Differs { what: "the policy that this process was started with", policy, files });
    }
    let policy = found.folder.as_ref().ok().map(|files| audience::hash_of(files));
    if policy != Some(*base) {
        differs.push(Differs { what: "the policy folder", policy, files: found.folder.clone().ok() });
    }
    differs
}

/// Voids the approvals. Those who must approve it anew are read from the policy in force.
async fn void(
    api: &Api,
    by: &OperatorName,
    (known, stands): (&CampaignRecord, &RolloutRecord),
    (base, found, differs): (&Digest, &Found, &[Differs]),
) -> Result<(), ApiError> {
    let in_force = Policy::parse(&found.files).map_err(|_| {
        tracing::error!(policy = %found.in_force.hash, "the policy in force cannot be read from the ledger");
        ApiError::new(Code::Internal, "the policy in force cannot be read from the ledger")
    })?;
    let electorate = outlook::electorate(&in_force, known, stands.frozen);
    let particulars: Vec<Value> =
        differs.iter().map(|differs| json!({ "what": differs.what, "policy": differs.policy })).collect();
    let particulars = Value::Array(particulars);
    if api.ledger().void_for_drift(known, base, electorate, (by, &cause(differs), &particulars)).await? {
        tracing::warn!(campaign = %known.id, "a rollout's approvals are void: the policy is not what was approved");
        api.control().tell(&ControlMessage::Work);
    }
    Ok(())
}

/// Why the approvals are void, beside the rollout's state: which of them it was.
fn cause(differs: &[Differs]) -> String {
    let what: Vec<_> =
        differs.iter().map(|differs| differs.what.replace("this process", "a process")).collect();
    let are = if differs.len() == 1 { "is" } else { "are" };
    format!(
        "policy-changed: {} {are} not what was approved; see `bellwether policy diff`",
        what.join(" and ")
    )
}

fn told(differs: &[Differs], voided: bool) -> String {
    let what: Vec<_> = differs.iter().map(|differs| differs.what).collect();
    let (what, are) = (what.join(" and "), if differs.len() == 1 { "is" } else { "are" });
    if voided {
        format!(
            "{what} {are} not what it was approved under, so its approvals are void; it can be approved again once \
             the policy in force, every process and the folder agree: see `bellwether policy diff`"
        )
    } else {
        format!(
            "{what} {are} not the policy in force; nothing is approved until they agree: see `bellwether policy diff`"
        )
    }
}
