//! Opening a job: from the guard's proof to an intent on record.
//!
//! - **I9 nothing-late**, **I5 halt-is-now**: judged on what the batch's read said at the database's clock; a
//!   worker looks again, at its own flag and deadline, before every request.
//! - **I6 once**: a job with `at_most_once` is on record, with its devices, before anything is sent. If its
//!   process dies, the devices are Unknown, and left alone.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    JobState, Ledger, LedgerError, NotStarted, OpenJob, OpenRequest,
    stored::{Packed, Stored},
};
use crate::{
    guard::FoundRecipient,
    model::{Device, OutcomeCode},
};

impl Ledger {
    /// Opens jobs that the guard cleared; an answer for each, in order. `read_now` is the `now` of the read
    /// that the requests' answers are from. No statement, unless a job asks for `at_most_once`: such a job may be in
    /// flight for as long as `claim` before its devices count as Unknown. A late word is still learned.
    pub async fn open_direct(
        &self,
        requests: Vec<OpenRequest<'_>>,
        read_now: Timestamp,
        claim: Duration,
    ) -> Result<Vec<Result<OpenJob, NotStarted>>, LedgerError> {
        let mut opened = Vec::with_capacity(requests.len());
        let (mut intents, mut places) = (Vec::new(), Vec::new());
        for request in requests {
            let judged = judge(&request, read_now);
            if judged.is_ok() && request.job.at_most_once() {
                intents.push(intent(&request, read_now, claim));
                places.push(opened.len());
            }
            opened.push(judged.map(|()| open(request)));
        }
        if !intents.is_empty() {
            for (place, intended) in places.into_iter().zip(self.record_intents(&intents).await?) {
                if let Err(why) = intended {
                    opened[place] = Err(why);
                }
            }
        }
        Ok(opened)
    }

    /// For each intent, in order: on record as this process's, or why not.
    async fn record_intents(&self, intents: &[Stored]) -> Result<Vec<Result<(), NotStarted>>, LedgerError> {
        // The same key twice in a batch: the first is sent.
        let mut seen = std::collections::HashSet::new();
        let is_first: Vec<bool> = intents.iter().map(|intent| seen.insert(&intent.key)).collect();
        let firsts = intents.iter().zip(&is_first).filter(|(_, first)| **first).map(|(intent, _)| intent);
        let firsts: Vec<Stored> = firsts.cloned().collect();
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let mut inserted = tx.insert_jobs(&firsts, now).await?.into_iter();
        let is_ours: Vec<bool> =
            is_first.into_iter().map(|first| first && inserted.next().unwrap_or(false)).collect();
        let taken: Vec<_> =
            intents.iter().zip(&is_ours).filter(|(_, ours)| !**ours).map(|(intent, _)| &intent.key).collect();
        let on_record = tx.lock_jobs(&taken).await?;
        tx.commit().await?;
        let intended = |(intent, is_ours): (&Stored, bool)| match on_record.get(&intent.key) {
            _ if is_ours => Ok(()),
            Some(known) if known.digest != intent.digest => Err(NotStarted::KeyTaken),
            _ => Err(NotStarted::AlreadyKnown),
        };
        Ok(intents.iter().zip(is_ours).map(intended).collect())
    }
}

fn judge(request: &OpenRequest<'_>, now: Timestamp) -> Result<(), NotStarted> {
    match request.job.not_before() {
        _ if request.answer.prior.is_some() => Err(NotStarted::AlreadyKnown),
        _ if request.cleared.expires_at() <= now => Err(NotStarted::Expired),
        Some(start) if start > now => Err(NotStarted::NotYet),
        _ if request.answer.halted => Err(NotStarted::Halted),
        _ => Ok(()),
    }
}

/// The digest is the job's own, not the proof's: should the two differ, no permit can be made of them.
fn open(request: OpenRequest<'_>) -> OpenJob {
    let key = request.cleared.key().clone();
    OpenJob::new(key, request.job.digest(), 1, numbered(request.answer.recipients))
}

/// Every device once, numbered in the order of the recipients.
pub(super) fn numbered(recipients: Vec<FoundRecipient>) -> Vec<(usize, Device)> {
    let devices = recipients.into_iter().flat_map(|recipient| match recipient {
        FoundRecipient::User(_, devices) => devices,
        FoundRecipient::Device(_, device) => device.into_iter().collect(),
    });
    devices.enumerate().collect()
}

/// How many recipients have no device.
pub(super) fn unreachable(recipients: &[FoundRecipient]) -> u32 {
    let count = recipients.iter().filter(|recipient| recipient.devices().is_empty()).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Devices of which only the intent is known.
pub(super) fn to_do<'a>(devices: impl Iterator<Item = &'a Device>) -> Vec<Packed> {
    let packed =
        |device: &Device| Packed { device: device.id, record: device.record, code: OutcomeCode::ToDo };
    devices.map(packed).collect()
}

fn intent(request: &OpenRequest<'_>, now: Timestamp, claim: Duration) -> Stored {
    let state = JobState::Sending { claim_until: now.checked_add(claim).unwrap_or(now) };
    let key = request.cleared.key().clone();
    let mut intent = Stored::new(key, request.job, request.received_at, request.cleared.expires_at(), state);
    let devices = request.answer.recipients.iter().flat_map(FoundRecipient::devices);
    intent.devices = to_do(devices);
    intent.unreachable = unreachable(&request.answer.recipients);
    intent.traceparent = request.traceparent.map(str::to_owned);
    intent
}
