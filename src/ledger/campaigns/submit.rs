//! A campaign arrives, and is read back.

use jiff::Timestamp;
use serde_json::json;
use sqlx::FromRow;
use uuid::Uuid;

use super::{past::PastAsk, told::RolloutTold};
use crate::{
    audience::{Audience, Class},
    guard::{Fingerprint, Past, is_flagged},
    ledger::{
        Ledger, LedgerError, on_pool,
        rows::{column, digest, instant, micros},
        stored::Stored,
        tx::{Tx, on_either},
    },
    model::{
        AppId, AudienceName, CampaignId, Digest, Event, EventBody, FindingNote, Intent, Job, JobId, JobKey,
        Mend, Mends, OperatorName, ProducerId, RolloutId, RolloutState,
    },
    rollout::{FrozenPlan, Rollout},
};

/// A campaign that the guard cleared (or will hold for people), as it is put on record.
#[derive(Debug)]
pub struct NewCampaign<'a> {
    /// Which job.
    pub key: &'a JobKey,
    /// What was enqueued.
    pub job: &'a Job,
    /// Whose devices.
    pub app: &'a AppId,
    /// What the job claims to be.
    pub intent: Intent,
    /// Whom it is for.
    pub audience: &'a AudienceName,
    /// What that audience is.
    pub class: Class,
    /// The producer's own upper bound.
    pub at_most: u64,
    /// The policy that cleared it.
    pub policy: Digest,
    /// The plan, as it stands now.
    pub plan: &'a FrozenPlan,
    /// What the guard had to say; whatever of it holds must be accepted by a person.
    pub findings: &'a [FindingNote],
    /// W3C trace context, if the job brought one.
    pub traceparent: Option<&'a str>,
    /// Who submitted it by hand; `None`: it came by AMQP.
    pub requester: Option<&'a OperatorName>,
    /// The campaign whose unsent devices it takes; `None`: it is frozen from its audience.
    pub retry_of: Option<RolloutId>,
    /// The campaign whose words it mends; without `retry_of` it takes those whom that one reached.
    pub mends: Option<Mends>,
    /// What the guard was told of the past, and how to ask for it again; `None`: a person repeats or mends another campaign,
    /// and the past is why.
    pub judged_by: Option<(PastAsk<'a>, Past)>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Nothing is sent after this.
    pub expires_at: Timestamp,
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// On record now, as a Draft that the coordinator freezes.
    Stored(CampaignId),
    /// It was on record already, with the same content.
    Known(CampaignId),
    /// The same key is another campaign's, or a direct job's: refuse it.
    Conflict,
    /// Something has happened since the guard was told of the past: nothing is stored, and it is to be asked again.
    JudgeAgain,
}

/// A campaign on record, whole.
#[derive(Debug, Clone)]
pub struct CampaignRecord {
    /// As people know it.
    pub id: CampaignId,
    /// Its row.
    pub rollout: RolloutId,
    /// Which job asked for it.
    pub key: JobKey,
    /// The digest of what was enqueued.
    pub digest: Digest,
    /// The job; `None` once its text is forgotten.
    pub job: Option<Job>,
    /// Whose devices.
    pub app: AppId,
    /// Whom it is for.
    pub audience: AudienceName,
    /// What that audience was.
    pub class: Class,
    /// What the job claims to be.
    pub intent: Intent,
    /// The policy that cleared it.
    pub policy: Digest,
    /// The plan as it stood.
    pub plan: FrozenPlan,
    /// The producer's own upper bound.
    pub at_most: u64,
    /// Unknown outcomes are left alone.
    pub at_most_once: bool,
    /// W3C trace context, if the job brought one.
    pub traceparent: Option<String>,
    /// Who submitted it by hand; `None`: it came by AMQP, and its producer is the requester.
    pub requester: Option<OperatorName>,
    /// The campaign whose lists it was frozen from, if that is another's.
    pub retry_of: Option<RolloutId>,
    /// The campaign whose words it mends. A retry of one that mends does so too.
    pub mends: Option<Mends>,
    /// The guard held it when it arrived: a person must have accepted each finding that does.
    pub held: bool,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Nothing is sent before this.
    pub not_before: Option<Timestamp>,
    /// Nothing is sent after this.
    pub expires_at: Timestamp,
}

#[derive(Debug, FromRow)]
pub(super) struct CampaignRow {
    id: i64,
    public_id: Uuid,
    producer: String,
    job_id: String,
    digest: Vec<u8>,
    app: String,
    audience: String,
    class: String,
    intent: String,
    at_most: i64,
    at_most_once: bool,
    job: Option<String>,
    policy: Vec<u8>,
    plan: String,
    traceparent: Option<String>,
    requester: Option<String>,
    retry_of: Option<i64>,
    after_of: Option<i64>,
    after_how: Option<String>,
    held: bool,
    received_at: i64,
    not_before: Option<i64>,
    expires_at: i64,
}

impl TryFrom<CampaignRow> for CampaignRecord {
    type Error = LedgerError;

    fn try_from(row: CampaignRow) -> Result<Self, LedgerError> {
        const TABLE: &str = "campaign";
        let id = row.id;
        let class = match row.class.as_str() {
            "test" => Some(Class::Test),
            "internal" => Some(Class::Internal),
            "production" => Some(Class::Production),
            _ => None,
        };
        let intent = match row.intent.as_str() {
            "test" => Some(Intent::Test),
            "production" => Some(Intent::Production),
            _ => None,
        };
        let job = row.job.as_ref().map(|json| Job::parse(json.as_bytes())).transpose();
        Ok(Self {
            id: CampaignId::from_uuid(row.public_id),
            rollout: RolloutId::new(id),
            key: JobKey {
                producer: column(TABLE, id, "producer", ProducerId::parse(&row.producer))?,
                id: column(TABLE, id, "job_id", JobId::parse(&row.job_id))?,
            },
            digest: digest(TABLE, id, "digest", &row.digest)?,
            job: column(TABLE, id, "job", job)?,
            app: column(TABLE, id, "app", AppId::parse(&row.app))?,
            audience: column(TABLE, id, "audience", AudienceName::parse(&row.audience))?,
            class: column(TABLE, id, "class", class.ok_or(()))?,
            intent: column(TABLE, id, "intent", intent.ok_or(()))?,
            policy: digest(TABLE, id, "policy", &row.policy)?,
            plan: column(TABLE, id, "plan", serde_json::from_str(&row.plan))?,
            at_most: column(TABLE, id, "at_most", u64::try_from(row.at_most))?,
            at_most_once: row.at_most_once,
            traceparent: row.traceparent,
            requester: column(
                TABLE,
                id,
                "requester",
                row.requester.as_deref().map(OperatorName::parse).transpose(),
            )?,
            retry_of: row.retry_of.map(RolloutId::new),
            mends: match (row.after_of, row.after_how.as_deref()) {
                (Some(of), Some(how)) => {
                    let how = column(TABLE, id, "after_how", Mend::from_word(how).ok_or(()))?;
                    Some(Mends { how, of: RolloutId::new(of) })
                }
                _ => None,
            },
            held: row.held,
            received_at: instant(TABLE, id, row.received_at)?,
            not_before: row.not_before.map(|at| instant(TABLE, id, at)).transpose()?,
            expires_at: instant(TABLE, id, row.expires_at)?,
        })
    }
}

/// Takes the campaign's key where direct jobs have theirs, so that whoever comes second finds it taken, in whichever lane
/// and in whichever process. False if a direct job has it.
async fn take_key(tx: &mut Tx, new: &NewCampaign<'_>, now: Timestamp) -> Result<bool, LedgerError> {
    const SQL: &str = "update direct_job set campaign = (1 = 1) where producer = $1 and job_id = $2";
    let taken = Stored::of_campaign(new.key, new.job, new.received_at, new.expires_at);
    if !tx.insert_jobs(&[taken], now).await?.contains(&true) {
        return Ok(false);
    }
    let (producer, id) = (new.key.producer.as_str(), new.key.id.as_str());
    on_either!(tx, c => {
        sqlx::query(SQL).bind(producer).bind(id).execute(c).await?;
    });
    Ok(true)
}

fn held_event(new: &NewCampaign<'_>, campaign: CampaignId, digest: Digest, now: Timestamp) -> Event {
    let body = EventBody::JobHeld {
        producer: new.key.producer.clone(),
        job: new.key.id.clone(),
        campaign,
        app: new.app.clone(),
        digest,
        findings: new.findings.to_vec(),
    };
    Event::new(now, new.traceparent.map(str::to_owned), digest.as_bytes(), body)
}

impl Ledger {
    /// Puts a campaign on record, with an event and an entry in the audit, in one transaction. When this has returned, its
    /// message may be acknowledged (I7).
    pub async fn submit_campaign(&self, new: &NewCampaign<'_>) -> Result<Submitted, LedgerError> {
        const ROLLOUT: &str = "insert into rollout (id, app, audience, at_most_once, expires_at, state, changed_at) \
             values ($1, $2, $3, $4, $5, 'draft', $6)";
        let (digest, app) = (new.job.digest(), new.app.as_str());
        let id = CampaignId::derive(new.key, &digest);
        let held = new.findings.iter().any(FindingNote::holds);
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        tx.lock_past(&new.key.producer, new.app, new.audience).await?;
        // Two who retry the same campaign wait for each other here, and one of them is refused.
        if let Some(source) = new.retry_of
            && let Some(retry) = tx.standing_retry(source).await?
        {
            return Ok(if retry == id { Submitted::Known(id) } else { Submitted::Conflict });
        }
        // The same goes for two who mend it, and for a retry of what mends it.
        if let Some(mends) = new.mends
            && let Some(mending) = tx.standing_mending(mends.of).await?
        {
            return Ok(if mending == id { Submitted::Known(id) } else { Submitted::Conflict });
        }
        let row = tx.insert_campaign(new, id).await?;
        let Some(row) = row else {
            drop(tx);
            return self.submitted_before(new).await;
        };
        if let Some((ask, told)) = &new.judged_by {
            let past = tx.past(ask, now, Some(row)).await?;
            let is_news = |now: bool, told: bool| now && !told;
            if is_news(past.duplicate.is_some(), told.duplicate.is_some())
                || is_news(past.flagged.is_some(), told.flagged.is_some())
                || is_news(past.over_day.is_some(), told.over_day.is_some())
                || is_news(!past.proven, !told.proven)
            {
                return Ok(Submitted::JudgeAgain);
            }
        }
        if !take_key(&mut tx, new, now).await? {
            return Ok(Submitted::Conflict);
        }
        on_either!(&mut tx, c => {
            sqlx::query(ROLLOUT)
                .bind(row)
                .bind(app)
                .bind(new.audience.as_str())
                .bind(new.job.at_most_once())
                .bind(micros(new.expires_at))
                .bind(micros(now))
                .execute(c)
                .await?;
        });
        let told = RolloutTold {
            campaign: id,
            app: new.app,
            audience: new.audience,
            frozen: 0,
            stands: &Rollout::Draft,
        };
        tx.note_findings(row, new).await?;
        if is_flagged(new.findings) {
            tx.flag_producer(&new.key.producer, now).await?;
        }
        let mut events = vec![told.event(now, 1, RolloutState::Draft, None, None)];
        if held {
            events.push(held_event(new, id, digest, now));
        }
        tx.tell(&events).await?;
        let mut body = json!({
            "campaign": id, "producer": new.key.producer, "job": new.key.id, "digest": digest, "audience": new.audience,
            "class": new.class.as_str(), "plan": new.plan.name, "policy": new.policy, "retry_of": new.retry_of,
        });
        if held {
            body["findings"] = json!(new.findings);
        }
        if let Some(Mends { how, of }) = new.mends {
            body["mends"] = json!({ "how": how.as_str(), "rollout": of });
        }
        let by = new.requester.map_or(new.key.producer.as_str(), OperatorName::as_str);
        tx.append_audit(now, by, "campaign.submitted", &body).await?;
        tx.commit().await?;
        Ok(Submitted::Stored(id))
    }

    async fn submitted_before(&self, new: &NewCampaign<'_>) -> Result<Submitted, LedgerError> {
        let id = CampaignId::derive(new.key, &new.job.digest());
        Ok(match self.campaign_by_job(new.key).await? {
            Some(known) if known == id => Submitted::Known(id),
            _ => Submitted::Conflict,
        })
    }

    /// A campaign by its id.
    pub async fn campaign(&self, id: CampaignId) -> Result<Option<CampaignRecord>, LedgerError> {
        const SQL: &str = "select * from campaign where public_id = $1";
        let row: Option<CampaignRow> =
            on_pool!(self, pool => sqlx::query_as(SQL).bind(id.as_uuid()).fetch_optional(pool).await?);
        row.map(CampaignRecord::try_from).transpose()
    }

    /// A campaign by its row.
    pub async fn campaign_of(&self, rollout: RolloutId) -> Result<Option<CampaignRecord>, LedgerError> {
        const SQL: &str = "select * from campaign where id = $1";
        let row: Option<CampaignRow> =
            on_pool!(self, pool => sqlx::query_as(SQL).bind(rollout.get()).fetch_optional(pool).await?);
        row.map(CampaignRecord::try_from).transpose()
    }

    /// A campaign's id by the job that asked for it.
    pub async fn campaign_by_job(&self, key: &JobKey) -> Result<Option<CampaignId>, LedgerError> {
        const SQL: &str = "select public_id from campaign where producer = $1 and job_id = $2";
        let (producer, job) = (key.producer.as_str(), key.id.as_str());
        let id: Option<Uuid> = on_pool!(self, pool => {
            sqlx::query_scalar(SQL).bind(producer).bind(job).fetch_optional(pool).await?
        });
        Ok(id.map(CampaignId::from_uuid))
    }

    /// The latest campaign that an audience was frozen to its end for.
    pub async fn last_frozen(&self, audience: &Audience) -> Result<Option<CampaignRecord>, LedgerError> {
        const SQL: &str = "select k.* from campaign k join rollout r on r.id = k.id \
             where k.app = $1 and k.audience = $2 and r.frozen_digest is not null \
             and k.retry_of is null and k.after_of is null order by k.id desc limit 1";
        let row: Option<CampaignRow> = on_pool!(self, pool => {
            sqlx::query_as(SQL)
                .bind(audience.app().as_str())
                .bind(audience.name.as_str())
                .fetch_optional(pool)
                .await?
        });
        row.map(CampaignRecord::try_from).transpose()
    }
}

impl Tx {
    /// The campaign's row; `None` if its key is taken.
    async fn insert_campaign(
        &mut self,
        new: &NewCampaign<'_>,
        id: CampaignId,
    ) -> Result<Option<i64>, LedgerError> {
        const INSERT: &str = "insert into campaign (public_id, producer, job_id, digest, app, audience, class, \
                 intent, at_most, at_most_once, job, policy, plan, traceparent, received_at, not_before, expires_at, \
                 requester, retry_of, after_of, after_how, held, fingerprint, simhash) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
                 $23, $24) \
             on conflict (producer, job_id) do nothing returning id";
        let (digest, fingerprint) = (new.job.digest(), Fingerprint::of(new.job.notification()));
        Ok(on_either!(self, c => {
            sqlx::query_scalar(INSERT)
                .bind(id.as_uuid())
                .bind(new.key.producer.as_str())
                .bind(new.key.id.as_str())
                .bind(&digest.as_bytes()[..])
                .bind(new.app.as_str())
                .bind(new.audience.as_str())
                .bind(new.class.as_str())
                .bind(new.intent.as_str())
                .bind(i64::try_from(new.at_most).unwrap_or(i64::MAX))
                .bind(new.job.at_most_once())
                .bind(new.job.canonical_json())
                .bind(&new.policy.as_bytes()[..])
                .bind(new.plan.to_json())
                .bind(new.traceparent)
                .bind(micros(new.received_at))
                .bind(new.job.not_before().map(micros))
                .bind(micros(new.expires_at))
                .bind(new.requester.map(OperatorName::as_str))
                .bind(new.retry_of.map(RolloutId::get))
                .bind(new.mends.map(|mends| mends.of.get()))
                .bind(new.mends.map(|mends| mends.how.as_str()))
                .bind(new.findings.iter().any(FindingNote::holds))
                .bind(&fingerprint.exact.as_bytes()[..])
                .bind(fingerprint.simhash.cast_signed())
                .fetch_optional(c)
                .await?
        }))
    }
}
