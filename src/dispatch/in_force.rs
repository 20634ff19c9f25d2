//! Whether the policy of this process is the one in force.
//!
//! - **I3 unknown-is-no**: while it is not, or while nobody knows, this process takes no jobs (they wait in RabbitMQ), claims
//!   no chunks, and coordinates nothing. It says so once, in `/readyz`, and as `bellwether_policy_active`.

use std::{sync::Arc, time::Duration};

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::{control::ControlMessage, patience::Patience};
use crate::{audience::Policy, ledger::Ledger, metrics::Metrics};

/// How often the ledger is asked which policy is in force, unless somebody has news.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A rule that stays in shadow is told of again each day: whoever overlooks one line finds another.
const SHADOWS_AGAIN: Duration = Duration::from_hours(24);

/// What is known of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct InForce(watch::Receiver<bool>);

impl InForce {
    /// Nothing is known yet; [`Watch::run`] finds out.
    #[must_use]
    pub fn unknown() -> (Self, Watch) {
        let (tell, hear) = watch::channel(false);
        (Self(hear), Watch(tell))
    }

    /// True while the policy here is the one in force.
    #[must_use]
    pub fn is(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it is in force: true; or false when `stop` is set first.
    pub async fn comes(&self, stop: &CancellationToken) -> bool {
        if self.is() {
            return true;
        }
        let mut hear = self.0.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            came = hear.wait_for(|is| *is) => came.is_ok(),
        }
    }

    /// Returns once it is not in force any more.
    pub async fn goes(&self) {
        let mut hear = self.0.clone();
        // An error says that nobody watches any more: the process stops.
        let _over = hear.wait_for(|is| !*is).await;
    }
}

/// Finds out, and tells every [`InForce`].
#[derive(Debug)]
pub struct Watch(watch::Sender<bool>);

impl Watch {
    /// Asks the ledger again and again until `stop`. The first policy of a fresh ledger comes into force here.
    pub async fn run(
        self,
        ledger: Arc<Ledger>,
        policy: Arc<Policy>,
        mut news: broadcast::Receiver<ControlMessage>,
        metrics: Metrics,
        stop: CancellationToken,
    ) {
        let patience = Patience::until(stop.clone(), metrics.clone());
        let mut said = None;
        let mut daily = tokio::time::interval(SHADOWS_AGAIN);
        daily.reset();
        loop {
            match patience.answer(ledger.initialise_policy(&policy)).await {
                Ok(in_force) => {
                    let is = in_force.hash == policy.hash();
                    if said != Some(in_force.hash) {
                        if is {
                            tell_shadows(&ledger, &metrics).await;
                        }
                        said = Some(in_force.hash);
                        let (hash, here, by) = (in_force.hash, policy.hash(), in_force.actor);
                        if is {
                            tracing::info!(policy = %hash, by, "the policy of this process is in force");
                        } else {
                            tracing::error!(
                                policy = %here, in_force = %hash, by,
                                "another policy is in force: this process takes nothing and sends nothing; \
                                 restart it with that policy, or see `bellwether policy diff`"
                            );
                        }
                    }
                    metrics.set_policy_active(is);
                    self.0.send_if_modified(|known| std::mem::replace(known, is) != is);
                }
                // What was known stays so: nothing is recorded, and so nothing is sent, without the ledger anyway.
                Err(error) => tracing::debug!(%error, "which policy is in force cannot be asked now"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = policy_news(&mut news) => {}
                _ = daily.tick() => tell_shadows(&ledger, &metrics).await,
            }
        }
    }
}

/// Says which rules only report, and which have for too long.
async fn tell_shadows(ledger: &Ledger, metrics: &Metrics) {
    let asked = async { Ok::<_, crate::ledger::LedgerError>((ledger.shadows().await?, ledger.now().await?)) };
    match asked.await {
        Ok((shadows, now)) => {
            metrics.set_shadows(&shadows);
            for shadow in shadows.iter().filter(|shadow| shadow.is_long(now)) {
                let (app, rule, since) = (&shadow.app, &shadow.rule, shadow.since);
                tracing::warn!(%app, rule, %since, "a rule of the guard has been in shadow for longer than 14 days");
            }
        }
        Err(error) => tracing::warn!(%error, "which rules are in shadow cannot be asked now"),
    }
}

/// Returns when somebody has put another policy in force, or when messages were missed.
async fn policy_news(news: &mut broadcast::Receiver<ControlMessage>) {
    loop {
        match news.recv().await {
            Ok(ControlMessage::Policy) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Ok(ControlMessage::Work | ControlMessage::Halted(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
