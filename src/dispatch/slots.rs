//! Slots of the providers' rates for the direct lane.
//!
//! - **I11 paced**: every slot is leased from the ledger, of the same row that campaigns lease of; see
//!   [`crate::pace::shared`].
//! - **I3 unknown-is-no**: without the ledger there is no slot, and nothing is sent.
//!
//! While the lane is busy the next lease is asked for in the background, before the last one is used up, so that nobody
//! waits for it. After a pause the first job waits for one lease, and whoever comes meanwhile for the same one. Nobody has
//! a ceiling of its own in the process: the row is the limit, and a lease is as much as may be sent at once.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    audience::Policy,
    clock::Clock,
    ledger::{Ledger, LedgerError},
    model::{AppId, NotSent, Provider},
    pace::{
        Slot,
        shared::DIRECT_HORIZON,
        stock::{Stock, Taken},
    },
};

/// How long a job waits for a ledger that is away; then it is deferred, and tried again by the ladder. Shorter than any
/// claim on a job.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long one question to the ledger may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Between two questions that were not answered.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Where all slots are leased: so long until some of the horizon has gone by, at least.
const LEAST_WAIT: Duration = Duration::from_millis(2);

/// The slots of every app and provider.
#[derive(Debug)]
pub(super) struct DirectSlots {
    rates: HashMap<AppId, Rates>,
}

#[derive(Debug, Default)]
struct Rates {
    apns: Option<Arc<Rate>>,
    fcm: Option<Arc<Rate>>,
}

/// What this process has of one app's rate at one provider.
#[derive(Debug)]
struct Rate {
    ledger: Arc<Ledger>,
    clock: Clock,
    /// What the stock's times count from.
    origin: Instant,
    provider: Provider,
    app: AppId,
    per_second: NonZeroU32,
    stock: Mutex<Stock>,
    /// Held by whoever asks the ledger; the others wait in order for what it gets.
    queue: tokio::sync::Mutex<()>,
    /// Set when the process is to stop: it has no patience then.
    stop: CancellationToken,
    waiting: AtomicU32,
    renewing: AtomicBool,
    /// When the ledger last did not answer, in microseconds since the origin; 0 once it has.
    failed: AtomicU64,
}

impl DirectSlots {
    /// Of the rates that the policy names.
    pub(super) fn new(
        policy: &Policy,
        ledger: &Arc<Ledger>,
        clock: &Clock,
        stop: &CancellationToken,
    ) -> Self {
        let rate = |app: &AppId, provider, per_second: Option<u32>| {
            Some(Arc::new(Rate {
                ledger: Arc::clone(ledger),
                clock: clock.clone(),
                origin: clock.monotonic(),
                provider,
                app: app.clone(),
                per_second: NonZeroU32::new(per_second?)?,
                stock: Mutex::new(Stock::new(Duration::ZERO)),
                queue: tokio::sync::Mutex::default(),
                stop: stop.clone(),
                waiting: AtomicU32::new(0),
                renewing: AtomicBool::new(false),
                failed: AtomicU64::new(0),
            }))
        };
        let rates = |app: &crate::audience::App| Rates {
            apns: rate(&app.id, Provider::Apns, app.apns.as_ref().map(|apns| apns.max_rate.per_second())),
            fcm: rate(&app.id, Provider::Fcm, app.fcm.as_ref().map(|fcm| fcm.max_rate.per_second())),
        };
        Self { rates: policy.apps().map(|app| (app.id.clone(), rates(app))).collect() }
    }

    /// Waits for a slot, or says why nothing may be sent.
    pub(super) async fn slot(&self, app: &AppId, provider: Provider) -> Result<Slot, NotSent> {
        let rates = self.rates.get(app).ok_or(NotSent::NotConfigured)?;
        let rate = match provider {
            Provider::Apns => &rates.apns,
            Provider::Fcm => &rates.fcm,
        };
        let rate = rate.as_ref().ok_or(NotSent::NotConfigured)?;
        // Whoever waits comes first.
        if rate.waiting.load(Ordering::Acquire) == 0
            && let Taken::Now(slot) = rate.take()
        {
            return Ok(slot);
        }
        // Boxed: the exception. Every send's future would carry the room for it.
        Box::pin(rate.wait()).await
    }
}

impl Rate {
    fn stock(&self) -> std::sync::MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.clock.monotonic().duration_since(self.origin)
    }

    fn take(self: &Arc<Self>) -> Taken {
        let (taken, is_low) = {
            let mut stock = self.stock();
            (stock.take(self.now()), stock.is_low())
        };
        if is_low && matches!(taken, Taken::Now(_)) && !self.renewing.swap(true, Ordering::AcqRel) {
            tokio::spawn(Arc::clone(self).renew());
        }
        taken
    }

    /// Leases in the background. Whoever needs a slot and finds none asks again, and tells what is wrong.
    async fn renew(self: Arc<Self>) {
        let turn = self.queue.lock().await;
        if self.stock().is_low()
            && let Err(error) = self.lease().await
        {
            tracing::debug!(app = %self.app, provider = %self.provider, %error, "no slots are leased ahead");
        }
        drop(turn);
        self.renewing.store(false, Ordering::Release);
    }

    async fn wait(self: &Arc<Self>) -> Result<Slot, NotSent> {
        let began = self.now();
        let give_up = began + PATIENCE;
        let _waiting = Waiting::new(&self.waiting);
        let _turn = self.queue.lock().await;
        loop {
            match self.take() {
                Taken::Now(slot) => return Ok(slot),
                Taken::At(at) => sleep(at.saturating_sub(self.now())).await,
                // Whoever had the turn before has just asked in vain: a ledger that hangs is not asked by each in turn.
                Taken::Nothing if self.is_over(give_up) && self.has_failed_since(began) => {
                    return Err(NotSent::Throttled);
                }
                Taken::Nothing => match self.lease().await {
                    Ok(None) => {}
                    Ok(Some(room_in)) => sleep(room_in).await,
                    Err(error) => self.bear(&error, give_up).await?,
                },
            }
        }
    }

    fn is_over(&self, give_up: Duration) -> bool {
        self.now() >= give_up || self.stop.is_cancelled()
    }

    fn has_failed_since(&self, began: Duration) -> bool {
        u128::from(self.failed.load(Ordering::Acquire)) > began.as_micros()
    }

    /// The ledger is away: a moment's rest, or the end of patience.
    async fn bear(&self, error: &LedgerError, give_up: Duration) -> Result<(), NotSent> {
        if self.is_over(give_up) {
            let (app, provider) = (&self.app, self.provider);
            tracing::warn!(%app, %provider, %error, "no slots are to be had; the job is deferred");
            return Err(NotSent::Throttled);
        }
        sleep(ASK_AGAIN).await;
        Ok(())
    }

    /// Asks the ledger once. If everything is leased already: when there is room again.
    async fn lease(&self) -> Result<Option<Duration>, LedgerError> {
        let waiting = self.waiting.load(Ordering::Acquire);
        let want = self.stock().want(self.now(), waiting, self.per_second.get());
        let asked = self.ledger.lease_direct(self.provider, &self.app, self.per_second, want);
        let answer = timeout(ANSWER_WITHIN, asked).await;
        let answer = answer.unwrap_or_else(|_| Err(LedgerError::no_answer(ANSWER_WITHIN)));
        let failed = if answer.is_err() { self.now().as_micros() } else { 0 };
        self.failed.store(u64::try_from(failed).unwrap_or(u64::MAX), Ordering::Release);
        let leased = answer?;
        self.stock().add(&leased, self.now());
        let [own, borrowed] = leased;
        if own.slots + borrowed.slots > 0 {
            return Ok(None);
        }
        Ok(Some(own.start.saturating_sub(DIRECT_HORIZON).max(LEAST_WAIT)))
    }
}

/// Counts one who waits, however its future ends.
struct Waiting<'r>(&'r AtomicU32);

impl<'r> Waiting<'r> {
    fn new(waiting: &'r AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::AcqRel);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
