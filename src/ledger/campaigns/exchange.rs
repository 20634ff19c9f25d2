//! The exchange: outcomes in, next intents out, in one statement on PostgreSQL and one transaction on SQLite.
//!
//! - **I5 halt-is-now**: the rollout's row is share-locked first. A halt waits for the exchanges under way, and every later
//!   one finds another epoch. Nobody holds that lock across a round trip.
//! - **I6 once**: a segment's outcomes are recorded once, by whoever still holds its intent.
//! - **I9 nothing-late**: the expiry is judged on the database's clock, behind the lock.

mod postgres;
mod sqlite;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Exchange, Exchanged, NoIntent, OpenSegment, SegmentAsk, SegmentEnd, coordinator::MARGIN, found::Found,
};
use crate::{
    ledger::{Ledger, LedgerError, Validity, tx::Gone},
    model::{Device, FrozenDevice, Outcome, OutcomeCode, Provider},
};

/// A provider that asks for more than a day has made a mistake; the rollout's expiry would end the wait anyway.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// What the engine answered, before any device is read.
struct Answer {
    /// For each ask, how many of its devices are intended, or why none.
    granted: Vec<Result<usize, NoIntent>>,
    /// For each held chunk, what is left of its claim.
    held: Vec<Option<Duration>>,
    /// The database's clock.
    now: Timestamp,
    /// How long until the expiry.
    left: Duration,
    /// For each end, whether it was recorded.
    recorded: Vec<bool>,
}

impl Ledger {
    /// Records what is over and opens what is next, at once: claims are renewed, tallies move, words are kept, chunks that
    /// are done are marked done with what was deferred.
    pub async fn exchange(&self, exchange: &Exchange<'_>) -> Result<Exchanged, LedgerError> {
        let answer = match self {
            Self::Postgres(store) => postgres::exchange(&store.pool, exchange).await?,
            Self::Sqlite(_) => sqlite::exchange(self.begin().await?, exchange).await?,
        };
        let keys: Vec<FrozenDevice> = exchange
            .asks
            .iter()
            .zip(&answer.granted)
            .flat_map(|(ask, granted)| ask.devices.iter().take(*granted.as_ref().unwrap_or(&0)).copied())
            .collect();
        // Behind the intent: whoever left before it is left out.
        let mut found = self.find_frozen(&keys, exchange.zones).await?.into_iter();
        // I9: whatever this process's own clock says, an intent is worth nothing after the expiry on the database's.
        let until = |left: &Duration| exchange.asked + left.saturating_sub(MARGIN).min(answer.left);
        let until: Vec<_> = answer.held.iter().map(|left| left.as_ref().map(until)).collect();
        let segment = |(ask, granted): (&SegmentAsk<'_>, &Result<usize, NoIntent>)| {
            let n = (*granted)?;
            let held = exchange.held.iter().position(|(chunk, _)| *chunk == ask.chunk);
            let until = held.and_then(|place| *until.get(place)?).ok_or(NoIntent::ClaimLost)?;
            let validity = Validity { until, stopped: Arc::clone(exchange.stopped) };
            let found: Vec<Found> = found.by_ref().take(n).collect();
            Ok(OpenSegment::new(exchange, ask.first, found, answer.now, validity))
        };
        let segments = exchange.asks.iter().zip(&answer.granted).map(segment).collect();
        Ok(Exchanged { segments, until, recorded: answer.recorded })
    }

    /// Marks tokens gone that their provider called dead. Apart from the exchange: should it be lost with its worker, the
    /// provider says so again next time.
    pub async fn mark_gone(&self, gone: &[(Device, Outcome)]) -> Result<(), LedgerError> {
        let gone: Vec<Gone> = gone
            .iter()
            .filter_map(|(device, outcome)| match outcome {
                Outcome::TokenGone { since, .. } => Some(Gone { device: device.id, since: *since }),
                _ => None,
            })
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        tx.mark_gone(&gone, now).await?;
        tx.commit().await
    }
}

fn stored(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn stored_place(first: u16) -> i16 {
    i16::try_from(first).unwrap_or(i16::MAX)
}

/// One byte a device, by position.
fn bytes(end: &SegmentEnd) -> Vec<u8> {
    let code = |outcome: &Option<(Device, Outcome)>| {
        outcome.as_ref().map_or(OutcomeCode::LeftOut, |(_, outcome)| outcome.code()).byte()
    };
    end.outcomes.iter().map(code).collect()
}

/// At whom, and how it ended. Of whoever left since, the provider is not known any more.
fn counted(outcome: Option<&(Device, Outcome)>) -> (Provider, OutcomeCode) {
    outcome.map_or((Provider::Apns, OutcomeCode::LeftOut), |(device, outcome)| {
        (device.platform.provider(), outcome.code())
    })
}

/// The outcomes that need a word, by position in the chunk. Throttles and the like are tried again, and would be many.
fn worded(end: &SegmentEnd) -> impl Iterator<Item = (usize, OutcomeCode, String)> {
    let word = |(place, outcome): (usize, &Option<(Device, Outcome)>)| {
        let (_, outcome) = outcome.as_ref()?;
        let code = outcome.code();
        let stays = matches!(
            code,
            OutcomeCode::Rejected
                | OutcomeCode::TokenGone
                | OutcomeCode::CredentialStop
                | OutcomeCode::Unknown
        );
        let reason = outcome.reason().filter(|_| stays)?;
        Some((usize::from(end.first) + place, code, reason.as_str().to_owned()))
    };
    end.outcomes.iter().enumerate().filter_map(word)
}

/// The longest wait that a provider asked for.
fn longest_wait(end: &SegmentEnd) -> Option<Duration> {
    let asked = end.outcomes.iter().flatten().filter_map(|(_, outcome)| outcome.retry_after()).max();
    asked.map(|asked| asked.min(LONGEST_WAIT))
}

/// When the first of those who sleep may be rung.
fn first_morning(end: &SegmentEnd) -> Option<Timestamp> {
    let mornings = end.outcomes.iter().flatten().filter_map(|(_, outcome)| match outcome {
        Outcome::QuietHours { until } => Some(*until),
        _ => None,
    });
    mornings.min()
}
