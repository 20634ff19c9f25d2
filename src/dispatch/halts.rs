//! Halts as this process hears of them.
//!
//! - **I5 halt-is-now**: what a halt covers and was not handed to a connection when it was heard is not sent. What was,
//!   arrives: each such request is counted when it ends.
//!
//! The ledger stays the truth: a halt that is not heard is read there, by the direct lane with its next batch, by a
//! worker with its next exchange. One that is heard and does not stand there any more defers a job once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::control::ControlMessage;
use crate::{
    clock::Clock,
    ledger::{HaltScope, Ledger},
    metrics::Metrics,
    model::AppId,
};

/// So many halts are remembered. A job that more of them have been heard over is taken for halted.
const REMEMBERED: usize = 64;

/// The halts that were heard since the process began.
#[derive(Debug, Default)]
pub(super) struct HaltsHeard {
    count: AtomicU64,
    scopes: Mutex<VecDeque<(u64, HaltScope)>>,
    /// What those who send now look at, by app; set by the next halt, and then not given to anybody else.
    watched: Mutex<HashMap<AppId, Arc<AtomicBool>>>,
}

/// Up to where halts had been heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HaltMark(u64);

/// When a batch of jobs was taken up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    pub(super) at: Instant,
    pub(super) halts: HaltMark,
}

impl HaltsHeard {
    /// From here on.
    pub(super) fn mark(&self) -> HaltMark {
        HaltMark(self.count.load(Ordering::Acquire))
    }

    fn hear(&self, scope: HaltScope) {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.count.load(Ordering::Acquire) + 1;
        scopes.push_back((number, scope));
        if scopes.len() > REMEMBERED {
            scopes.pop_front();
        }
        self.count.store(number, Ordering::Release);
        self.watched().retain(|app, flag| {
            let covered = scopes.back().is_some_and(|(_, scope)| scope.covers(Some(app)));
            flag.fetch_or(covered, Ordering::AcqRel);
            !covered
        });
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<AppId, Arc<AtomicBool>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A flag that is set as soon as a halt of `app` is heard; set already if one was heard since `mark`.
    pub(super) fn watch(&self, mark: HaltMark, app: &AppId) -> Arc<AtomicBool> {
        let flag = {
            let mut watched = self.watched();
            match watched.get(app) {
                Some(flag) => Arc::clone(flag),
                None => Arc::clone(watched.entry(app.clone()).or_default()),
            }
        };
        // Looked at after the flag was taken: whatever is heard in between is in one of the two.
        if self.covers_since(mark, app) { Arc::new(AtomicBool::new(true)) } else { flag }
    }

    /// True if a halt that covers `app` was heard since `mark`.
    fn covers_since(&self, mark: HaltMark, app: &AppId) -> bool {
        if self.count.load(Ordering::Acquire) == mark.0 {
            return false;
        }
        let scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = scopes.front().is_some_and(|(number, _)| *number > mark.0 + 1);
        forgotten || scopes.iter().any(|(number, scope)| *number > mark.0 && scope.covers(Some(app)))
    }
}

/// Listens for the direct lane, until it is dropped.
pub(super) async fn listen(halts: Arc<HaltsHeard>, mut control: broadcast::Receiver<ControlMessage>) {
    loop {
        match control.recv().await {
            Ok(ControlMessage::Halted(scope)) => {
                halts.hear(scope.clone());
                tracing::info!(%scope, "a halt was heard: no job that it covers is begun here");
            }
            Ok(ControlMessage::Work | ControlMessage::Policy) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Measures how long a halt was on record when this process heard of it, each halt once. Runs until told to stop.
pub async fn measure(
    ledger: Arc<Ledger>,
    mut control: broadcast::Receiver<ControlMessage>,
    metrics: Metrics,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut measured = HashMap::new();
    loop {
        let heard = tokio::select! {
            () = stop.cancelled() => return,
            heard = control.recv() => heard,
        };
        let scope = match heard {
            Ok(ControlMessage::Halted(scope)) => scope,
            Ok(ControlMessage::Work | ControlMessage::Policy) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let heard = clock.monotonic();
        let answer = tokio::select! {
            () = stop.cancelled() => return,
            answer = async { Ok::<_, crate::ledger::LedgerError>((ledger.halts().await?, ledger.now().await?)) } => answer,
        };
        // Without the ledger there is nothing to measure from, and nothing is sent.
        let Ok((halts, now)) = answer else { continue };
        let since = clock.monotonic().duration_since(heard);
        let Some(halt) = halts.into_iter().find(|halt| halt.scope == scope) else { continue };
        if measured.insert(scope, halt.at) != Some(halt.at) {
            let age = now.duration_since(halt.at).as_secs_f64() - since.as_secs_f64();
            metrics.halt_heard(age.max(0.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_a_halt_covers_what_began_before_it_was_heard_and_nothing_else() {
        let app = |name| AppId::parse(name).expect("an app");
        let (bank, shop) = (app("pl.example.bank"), app("pl.example.shop"));
        let halts = HaltsHeard::default();
        let before = halts.mark();
        assert!(!halts.covers_since(before, &bank));
        halts.hear(HaltScope::App(bank.clone()));
        assert!(halts.covers_since(before, &bank) && !halts.covers_since(before, &shop));
        let between = halts.mark();
        assert!(!halts.covers_since(between, &bank), "it was known then");
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        let (late, watching) = (halts.watch(before, &bank), halts.watch(between, &bank));
        assert!(is_set(&late) && !is_set(&watching));
        halts.hear(HaltScope::All);
        assert!(is_set(&watching) && !is_set(&halts.watch(halts.mark(), &bank)));
        assert!(halts.covers_since(before, &shop) && halts.covers_since(between, &shop));
    }

    #[test]
    fn i3_whoever_missed_too_many_halts_is_taken_for_halted() {
        let (halts, bank) = (HaltsHeard::default(), AppId::parse("pl.example.bank").expect("an app"));
        let before = halts.mark();
        let other = HaltScope::App(AppId::parse("pl.example.shop").expect("an app"));
        for _ in 0..REMEMBERED {
            halts.hear(other.clone());
        }
        assert!(!halts.covers_since(before, &bank));
        halts.hear(other);
        assert!(halts.covers_since(before, &bank));
    }
}
