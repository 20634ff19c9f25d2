//! The pacer: hands out slots of fleet-wide rates to this process's sends.
//!
//! Each rate is leased from the ledger a twentieth of a second at a time, when somebody needs a slot and none is left. A
//! request that two rates limit (its rollout's and its provider's) waits for a slot of the one, then for one of the other.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use super::patience::Patience;
use crate::{
    clock::Clock,
    ledger::{LeaseAsk, LeaseKey, Ledger, LedgerError},
    model::{AppId, Provider},
    pace::{
        Slot,
        lease::{Held, Reserved},
    },
};

/// How far ahead slots are leased: less than the grace of a slot, so that a request that has waited for one rate's slot can
/// still wait for the other's.
const HORIZON: Duration = Duration::from_millis(100);

/// What is asked for at once, in time: less than the horizon, so that several workers find room in it.
const STRETCH: Duration = Duration::from_millis(50);

/// Google asks senders to FCM not to go from nothing to full speed at once: above this rate it takes [`RAMP`].
/// <https://firebase.google.com/docs/cloud-messaging/scale-fcm>
const FCM_AT_ONCE: u32 = 1_000;

/// How long FCM's ramp takes.
const RAMP: Duration = Duration::from_mins(1);

/// After such a pause a burst to FCM begins anew.
const PAUSE: Duration = Duration::from_mins(1);

/// A rate that a request has to respect.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    key: LeaseKey,
    per_second: NonZeroU32,
    /// What it falls to while nobody says what a signal allows, if it follows one.
    least: Option<NonZeroU32>,
    /// Whose turn it is to ask, in the order of their coming.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// How many wait for their turn. Whoever comes now comes after them.
    queue: Arc<AtomicUsize>,
    held: Arc<Mutex<State>>,
}

/// A place in a rate's queue.
struct Place<'r>(&'r AtomicUsize);

impl<'r> Place<'r> {
    fn in_queue(queue: &'r AtomicUsize) -> Self {
        queue.fetch_add(1, Ordering::AcqRel);
        Self(queue)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug, Default)]
struct State {
    held: Held,
    /// When the present burst began, and when it was last leased.
    burst: Option<(std::time::Instant, std::time::Instant)>,
}

/// Shared by everything that sends campaigns in this process.
#[derive(Debug)]
pub(super) struct Pacer {
    ledger: Arc<Ledger>,
    patience: Patience,
    clock: Clock,
    rates: Mutex<HashMap<LeaseKey, Rate>>,
}

impl Pacer {
    pub(super) fn new(ledger: Arc<Ledger>, patience: Patience, clock: Clock) -> Self {
        Self { ledger, patience, clock, rates: Mutex::default() }
    }

    /// One rate, the same for everyone in this process who names it. With `least`, it follows a signal between the two.
    pub(super) fn rate(&self, key: &LeaseKey, per_second: NonZeroU32, least: Option<NonZeroU32>) -> Rate {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Rate {
            key: key.clone(),
            per_second,
            least,
            turn: Arc::default(),
            queue: Arc::default(),
            held: Arc::default(),
        };
        let rate = rates.entry(key.clone()).or_insert_with(fresh);
        // The policy of a stage may differ from the one before.
        (rate.per_second, rate.least) = (per_second, least);
        rate.clone()
    }

    /// A provider's rate, of which campaigns are leased what the direct lane's reserve leaves.
    pub(super) fn provider(&self, provider: Provider, app: &AppId, whole: u32) -> Rate {
        let whole = NonZeroU32::new(whole).unwrap_or(NonZeroU32::MIN);
        self.rate(&LeaseKey::Provider(provider, app.clone()), whole, None)
    }

    /// Waits for a slot of every rate. `waiting` is how many requests of this process want one: nobody leases more than
    /// is needed.
    ///
    /// The rate with the longer queue comes first, and a slot that lapsed while another was waited for is reserved anew by
    /// itself: what is scarce is never given back for want of what is not.
    pub(super) async fn slot(&self, rates: [Option<&Rate>; 2], waiting: u32) -> Result<Slot, LedgerError> {
        let mut wanted = rates;
        wanted.sort_by_key(|rate| std::cmp::Reverse(rate.map(Rate::queued)));
        let mut held: [Option<Reserved>; 2] = [None, None];
        loop {
            for (rate, held) in wanted.into_iter().zip(&mut held) {
                let Some(rate) = rate else { continue };
                if held.as_ref().is_some_and(|held| !held.has_lapsed(self.clock.monotonic())) {
                    continue;
                }
                let next = self.reserve(rate, waiting).await?;
                // One after the other: reserved together, the earlier slot would lapse before the later one's time.
                let wait = next.at().saturating_duration_since(self.clock.monotonic());
                if !wait.is_zero() {
                    sleep(wait).await;
                }
                *held = Some(next);
            }
            let now = self.clock.monotonic();
            if held.iter().flatten().any(|held| held.has_lapsed(now)) {
                continue;
            }
            let all = held.iter_mut().filter_map(Option::take).reduce(|one, other| one.with(&other));
            let Some(all) = all else {
                // Every app names a rate for each of its providers, so this is a device that cannot be sent to.
                return Err(LedgerError::no_answer(HORIZON));
            };
            if let Some(slot) = all.slot(now) {
                return Ok(slot);
            }
        }
    }

    async fn reserve(&self, rate: &Rate, waiting: u32) -> Result<Reserved, LedgerError> {
        // Slots go to who has waited longest: a segment that is nearly over must not wait for those that were begun after it,
        // because until it is over none of its outcomes is on record.
        if rate.queued() == 0
            && let Some(reserved) = rate.take(&self.clock)
        {
            return Ok(reserved);
        }
        // Boxed: seldom, and large. Every send's future would carry the room for it.
        Box::pin(self.lease(rate, waiting)).await
    }

    async fn lease(&self, rate: &Rate, waiting: u32) -> Result<Reserved, LedgerError> {
        let _place = Place::in_queue(&rate.queue);
        // One asks; the others wait for what it gets.
        let _turn = rate.turn.lock().await;
        loop {
            if let Some(reserved) = rate.take(&self.clock) {
                return Ok(reserved);
            }
            let asked = self.clock.monotonic();
            let now = rate.now(asked);
            let stretch =
                u64::from(now.get()) * u64::try_from(STRETCH.as_millis()).unwrap_or(u64::MAX) / 1_000;
            let want = u32::try_from(stretch).unwrap_or(u32::MAX).clamp(1, waiting.max(1));
            let ask =
                LeaseAsk { key: rate.key.clone(), rate: now, least: rate.least, want, horizon: HORIZON };
            let leased = self.patience.answer(self.ledger.lease_slots(&ask)).await?;
            rate.add(leased, self.clock.monotonic());
            if leased.slots == 0 {
                // The horizon is full: until some of it has gone by.
                let room_in = leased.start.saturating_sub(HORIZON.saturating_sub(STRETCH / 2));
                sleep(room_in.max(Duration::from_millis(2))).await;
            }
        }
    }
}

impl Rate {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait for it in this process.
    fn queued(&self) -> usize {
        self.queue.load(Ordering::Acquire)
    }

    fn take(&self, clock: &Clock) -> Option<Reserved> {
        self.lock().held.take(clock.monotonic())
    }

    fn add(&self, leased: crate::pace::lease::Leased, answered: std::time::Instant) {
        self.lock().held.add(leased, answered);
    }

    /// The rate at this moment: on FCM's ramp, less than the whole.
    fn now(&self, now: std::time::Instant) -> NonZeroU32 {
        let mut state = self.lock();
        let whole = f64::from(self.per_second.get());
        let mut rate = whole;
        if matches!(self.key, LeaseKey::Provider(Provider::Fcm, _)) && self.per_second.get() > FCM_AT_ONCE {
            let begun = match state.burst {
                Some((begun, last)) if now.saturating_duration_since(last) < PAUSE => begun,
                _ => now,
            };
            state.burst = Some((begun, now));
            let part = now.saturating_duration_since(begun).as_secs_f64() / RAMP.as_secs_f64();
            let at_once = f64::from(FCM_AT_ONCE);
            rate = rate.min(at_once + (whole - at_once) * part.min(1.0));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a rate that is a u32"
        )]
        NonZeroU32::new(rate as u32).unwrap_or(NonZeroU32::MIN)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{ledger::LedgerOptions, metrics::Metrics, pace::lease::Leased};

    fn pacer(ledger: Ledger) -> Pacer {
        let patience = Patience::until(CancellationToken::new(), Metrics::new());
        Pacer::new(Arc::new(ledger), patience, Clock::system())
    }

    /// With a rate that many wait for beside one that nobody waits for: each wait for the one is longer than a slot of the other
    /// lasts, and still every slot of the one is used.
    #[tokio::test]
    async fn a_slot_of_a_slow_rate_is_not_lost_for_one_of_a_fast_rate() {
        let ledger = Ledger::connect("sqlite::memory:", LedgerOptions::default()).await.expect("it opens");
        ledger.migrate().await.expect("a schema");
        let pacer = pacer(ledger);
        let app = AppId::parse("pl.example.bank").expect("an app");
        let fast = pacer.rate(
            &LeaseKey::Provider(Provider::Apns, app.clone()),
            NonZeroU32::new(20_000).expect("a rate"),
            None,
        );
        let slow =
            pacer.rate(&LeaseKey::Provider(Provider::Fcm, app), NonZeroU32::new(500).expect("a rate"), None);
        for rates in [[Some(&fast), Some(&slow)], [Some(&slow), Some(&fast)]] {
            let wait = async |number: usize| {
                let _used = pacer.slot(rates, 500).await.expect("a slot");
                number
            };
            let waiting: FuturesUnordered<_> = (0..500).map(wait).collect();
            // A second's worth. Whoever loses its slot again and again never gets one.
            let all = tokio::time::timeout(Duration::from_mins(1), waiting.count()).await;
            assert_eq!(all.expect("every slot is used"), 500);
        }
    }

    #[tokio::test]
    async fn slots_go_to_who_has_waited_longest() {
        let options = LedgerOptions::default();
        let ledger = Ledger::connect("sqlite::memory:", options).await.expect("it opens");
        ledger.migrate().await.expect("a schema");
        let pacer = pacer(ledger);
        let key = LeaseKey::Provider(Provider::Apns, AppId::parse("pl.example.bank").expect("an app"));
        let rate = pacer.rate(&key, NonZeroU32::new(2_000).expect("a rate"), None);
        let wait = async |number: usize| {
            let _used = pacer.slot([Some(&rate), None], 40).await.expect("a slot");
            number
        };
        let mut waiting: FuturesUnordered<_> = (0..40).map(&wait).collect();
        // All of them are in the queue, in their order.
        assert!(waiting.next().now_or_never().is_none());
        let first = waiting.next().await;
        // Whoever comes while slots are at hand comes last, as often as it looks.
        waiting.extend((40..80).map(&wait));
        let mut order: Vec<usize> = first.into_iter().collect();
        while let Some(number) = waiting.next().await {
            order.push(number);
        }
        assert_eq!(order.len(), 80);
        let last_of_the_first = order.iter().rposition(|number| *number < 40);
        let first_of_the_others = order.iter().position(|number| *number >= 40);
        assert!(last_of_the_first < first_of_the_others, "{order:?}");
    }

    #[test]
    fn a_slot_is_good_from_its_time_to_the_end_of_its_lease() {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH, 1);
        let asked = clock.monotonic();
        let leased = Leased { start: Duration::from_millis(10), apart: Duration::from_millis(2), slots: 2 };
        let mut held = Held::default();
        held.add(leased, asked);
        let slot = held.take(asked).expect("a slot");
        assert!(slot.slot(asked).is_none(), "before its time");
        let slot = held.take(asked).expect("a slot");
        assert!(slot.slot(asked + Duration::from_millis(12)).is_some());
        assert!(held.take(asked).is_none());
        held.add(leased, asked);
        assert!(held.take(asked + Duration::from_secs(1)).is_none(), "not caught up with");
    }
}
