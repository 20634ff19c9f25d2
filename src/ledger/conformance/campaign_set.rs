//! A campaign of one test's own.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use super::{
    Store,
    fixtures::{APP, app, phone, user},
};
use crate::{
    audience::{Class, Policy, PolicyFile},
    clock::Clock,
    guard::Past,
    ledger::{
        CampaignRecord, Claim, Claimable, Deposed, Exchange, Exchanged, FreezeProgress, FreezeSource, Ledger,
        NewCampaign, PastAsk, RolloutRecord, Ruled, Ruling, SegmentAsk, SegmentEnd, Submitted,
    },
    model::{
        AudienceName, Bucket, CampaignId, Device, FindingNote, FrozenDevice, Intent, Job, JobKey, Outcome,
        OutcomeCode, ProducerId,
    },
    rollout::{Electorate, FrozenPlan, freeze},
};

pub(super) const LEASE: Duration = Duration::from_secs(30);

/// Nobody of these tests is asked for.
const PRODUCER: &str =
    "[producers.marketing]\nowners = [\"lead\"]\napps = [\"APP\"]\nintents = [\"production\"]\n";

/// A policy with an audience that selects, our own people beside it, and a plan.
fn policy(stages: &str) -> Policy {
    let file = |path: &str, text: String| PolicyFile { path: path.to_owned(), text };
    let app_line =
        format!("[apps.\"{APP}\"]\ndefault_locale = \"pl\"\ntimezone = \"Europe/Warsaw\"\nlink_hosts = []\n");
    let apns =
        "apns = { topic = \"t\", team = \"TEAM123456\", environment = \"production\", max_rate = 1000 }\n";
    let everyone = format!(
        "class = \"internal\"\napp = \"{APP}\"\ndefault_plan = \"p\"\n[select]\ncountry = [\"PL\"]\n[limits]\nmax_devices = 10000\n"
    );
    let staff = format!(
        "class = \"internal\"\napp = \"{APP}\"\nmembers_file = \"staff.txt\"\n[limits]\nmax_devices = 100\n"
    );
    let files = [
        file("apps.toml", format!("{app_line}{apns}")),
        file("producers.toml", PRODUCER.replace("APP", APP)),
        file("cohorts/everyone.toml", everyone),
        file("cohorts/staff.toml", staff),
        file("cohorts/staff.txt", "person-1\nperson-2\n".to_owned()),
        file("plans/p.toml", stages.to_owned()),
    ];
    Policy::parse(&files).unwrap_or_else(|errors| panic!("{errors}"))
}

pub(super) const ALL: &str = "[[stage]]\npercent = 100\n";
pub(super) const THREE: &str =
    "[[stage]]\naudience = \"staff\"\n[[stage]]\ndevices = 7\n[[stage]]\npercent = 100\n";

/// A campaign in a store of its own.
pub(super) struct Set<'s> {
    pub(super) ledger: &'s Ledger,
    pub(super) policy: Policy,
    pub(super) clock: Clock,
    pub(super) job: Job,
    pub(super) key: JobKey,
    pub(super) stopped: Arc<AtomicBool>,
}

impl<'s> Set<'s> {
    pub(super) async fn with(store: &'s Store, people: usize, stages: &str, fields: &str) -> Self {
        // A person has a phone, every third one two.
        let mut phones = Vec::new();
        for person in 1..=people {
            phones.push(phone(&format!("person-{person}"), &format!("first-{person}")));
            if person.is_multiple_of(3) {
                phones.push(phone(&format!("person-{person}"), &format!("second-{person}")));
            }
        }
        store.ledger.import(phones).await.expect("the import is committed");
        let producer = ProducerId::parse("marketing").expect("a producer");
        let buckets = (1..=people).map(|person| Bucket::of(&user(&format!("person-{person}"))).get());
        let lowest = buckets.min().unwrap_or_default();
        let candidate = |n: u32| {
            let json = format!(
                r#"{{"v":1,"id":"c-1","app":"{APP}","intent":"production",{fields}"to":{{"audience":"everyone","at_most":9999}},
                    "expires_at":"2199-01-01T00:00:00Z","notification":{{"body":"News {n}"}}}}"#
            );
            let job = Job::parse(json.as_bytes()).expect("a job");
            let key = job.key(&producer);
            let begins = freeze::offset(CampaignId::derive(&key, &job.digest()));
            (begins <= lowest, job, key)
        };
        // Few people are one chunk only if the ring is not cut between them.
        let fits = (0..1_000).map(candidate).find(|(fits, ..)| *fits);
        let (_, job, key) = fits.unwrap_or_else(|| candidate(0));
        Self {
            ledger: &store.ledger,
            policy: policy(stages),
            clock: Clock::system(),
            job,
            key,
            stopped: Arc::default(),
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.monotonic()
    }

    pub(super) async fn submit_as(&self, job: &Job) -> Submitted {
        self.submit_found(job, &[]).await
    }

    /// The same, with what the guard had to say.
    pub(super) async fn submit_found(&self, job: &Job, findings: &[FindingNote]) -> Submitted {
        let what = (Intent::Production, Class::Internal);
        self.submit_by(self.ledger, (job, &self.key), what, findings, None).await
    }

    /// Any campaign to everyone, by whichever process.
    pub(super) async fn submit_by(
        &self,
        ledger: &Ledger,
        (job, key): (&Job, &JobKey),
        (intent, class): (Intent, Class),
        findings: &[FindingNote],
        judged_by: Option<(PastAsk<'_>, Past)>,
    ) -> Submitted {
        let now = ledger.now().await.expect("the clock");
        let audience = AudienceName::parse("everyone").expect("a name");
        let named = self.policy.audience(&audience).expect("it is there");
        let plan = FrozenPlan::of(self.policy.plan_for(named, None).expect("a plan"), &self.policy);
        let new = NewCampaign {
            key,
            job,
            app: &app(),
            intent,
            audience: &audience,
            class,
            at_most: 9_999,
            policy: self.policy.hash(),
            plan: &plan,
            findings,
            traceparent: None,
            requester: None,
            retry_of: None,
            mends: None,
            judged_by,
            received_at: now,
            expires_at: job.expires_at(now),
        };
        ledger.submit_campaign(&new).await.expect("the ledger answers")
    }

    pub(super) async fn submit(&self) -> CampaignRecord {
        let Submitted::Stored(id) = self.submit_as(&self.job).await else { panic!("it is new") };
        self.ledger.campaign(id).await.expect("an answer").expect("it is there")
    }

    pub(super) async fn rule(&self) -> Ruling {
        self.ledger.rule("a", None, LEASE, self.now()).await.expect("an answer").expect("nobody rules")
    }

    pub(super) fn source(&self) -> FreezeSource<'_> {
        let named = |name: &str| self.policy.audience(&AudienceName::parse(name).expect("a name"));
        let everyone = named("everyone").expect("it is there");
        let plan = self.policy.plan_for(everyone, None).expect("a plan");
        let first = plan.first_audience().and_then(|name| self.policy.audience(name));
        FreezeSource { audience: everyone, first }
    }

    pub(super) async fn freeze(
        &self,
        ruling: &Ruling,
        campaign: &CampaignRecord,
        step: usize,
    ) -> RolloutRecord {
        loop {
            let progress = self
                .ledger
                .freeze_step(ruling, campaign.rollout, self.source(), step, |_| Electorate::default())
                .await
                .expect("it is frozen");
            if progress.done {
                return self.seen(campaign.id).await;
            }
        }
    }

    /// Carries out what was decided for a rollout.
    pub(super) async fn ruled(
        &self,
        ruling: &Ruling,
        seen: &RolloutRecord,
        ruled: Ruled,
    ) -> Result<bool, Deposed> {
        let campaign = self.ledger.campaign_of(seen.rollout).await?.expect("it is there");
        self.ledger.ruled(ruling, seen, &campaign.plan, &ruled).await
    }

    pub(super) async fn seen(&self, id: CampaignId) -> RolloutRecord {
        self.ledger.rollout(id).await.expect("an answer").expect("it is there")
    }

    /// A campaign whose only stage is open.
    pub(super) async fn open(&self) -> (CampaignRecord, Ruling, RolloutRecord) {
        let (campaign, ruling) = (self.submit().await, self.rule().await);
        let seen = self.freeze(&ruling, &campaign, 5_000).await;
        assert!(self.ruled(&ruling, &seen, Ruled::Open(0)).await.expect("it rules"));
        let seen = self.seen(campaign.id).await;
        (campaign, ruling, seen)
    }

    pub(super) async fn claim(&self, campaign: &CampaignRecord, worker: &str, lease: Duration) -> Vec<Claim> {
        self.ledger
            .claim_chunks(campaign.rollout, worker, 10, Claimable::Any, lease, self.now())
            .await
            .expect("an answer")
    }

    pub(super) async fn exchange(
        &self,
        seen: &RolloutRecord,
        claim: &Claim,
        ends: &[SegmentEnd],
        asks: &[SegmentAsk<'_>],
        done: bool,
    ) -> Exchanged {
        let held = [(claim.chunk, claim.number)];
        let exchange = Exchange {
            rollout: seen.rollout,
            epoch: seen.epoch,
            worker: "w",
            lease: LEASE,
            asked: self.now(),
            ends,
            asks,
            done: if done { &held } else { &[] },
            held: &held,
            key: &self.key,
            digest: self.job.digest(),
            stopped: &self.stopped,
            zones: true,
        };
        self.ledger.exchange(&exchange).await.expect("the ledger answers")
    }

    pub(super) fn ask(claim: &Claim, first: usize, n: usize, again: bool) -> SegmentAsk<'_> {
        SegmentAsk {
            chunk: claim.chunk,
            stage: claim.stage,
            claim: claim.number,
            first: u16::try_from(first).expect("small"),
            devices: &claim.devices[first..first + n],
            again,
        }
    }
}

/// The devices of an open segment, by position.
pub(super) fn devices(answer: &mut Exchanged, place: usize) -> Vec<Option<Device>> {
    let open = answer.segments[place].as_mut().expect("it is open");
    let mut devices = vec![None; open.len()];
    for started in open.start() {
        devices[started.position()] = Some(started.device().clone());
    }
    assert!(open.start().is_empty(), "a second start yields none");
    devices
}

pub(super) fn end(
    claim: &Claim,
    first: usize,
    devices: Vec<Option<Device>>,
    outcome: &Outcome,
) -> SegmentEnd {
    let outcomes = devices.into_iter().map(|device| Some((device?, outcome.clone()))).collect();
    let first = u16::try_from(first).expect("small");
    SegmentEnd { chunk: claim.chunk, stage: claim.stage, claim: claim.number, first, outcomes }
}

/// What an export says, by device.
pub(super) async fn told(
    set: &Set<'_>,
    campaign: &CampaignRecord,
) -> BTreeMap<FrozenDevice, (u16, OutcomeCode, u32)> {
    let state = set.seen(campaign.id).await.state;
    let page = set.ledger.deliveries(campaign, state, 0, 1_000).await.expect("an answer");
    assert_eq!(page.next, None);
    let told = page.deliveries.iter();
    told.map(|delivery| (delivery.key, (delivery.stage, delivery.outcome, delivery.tries))).collect()
}

pub(super) async fn step(
    set: &Set<'_>,
    ruling: &Ruling,
    campaign: &CampaignRecord,
) -> Result<FreezeProgress, Deposed> {
    set.ledger.freeze_step(ruling, campaign.rollout, set.source(), 1_000, |_| Electorate::default()).await
}
