//! Deliver: one notification to one device, over APNs or FCM.
//!
//! **I2 no-send-without-permit**: [`Deliver::send`] takes a [`Permit`] and a [`crate::pace::Slot`] by value, and sends to the
//! permit's device, never to a token passed apart.
//!
//! **I9 nothing-late**: a message's expiry is looked at again after every wait, right before it is written.
//!
//! The way of a request: `gate` lets it pass, `credentials` opens the door, `h2pool` carries it, `apns` or `fcm` words
//! it and reads the answer, and the `sender` does what the answer asks for.

mod answer;
mod apns;
mod bench;
mod check;
mod config;
mod credentials;
mod fcm;
mod gate;
mod h2pool;
mod horizon;
mod permit;
mod sender;
mod tls;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;
use tokio::sync::Notify;

pub(crate) use self::bench::cpu_micros;
pub use self::{
    bench::{
        ReferenceRequest, SendBench, SendBenchError, SendBenchReport, bench_send_path, reference_request,
    },
    check::{Check, CheckFailed},
    config::{
        ApnsConfig, AppSenders, DeliverConfig, Endpoint, FcmConfig, InvalidEndpoint, MIN_REQUEST_TIMEOUT,
        Transport,
    },
    credentials::CredentialError,
    permit::{Permit, PermitRefused},
    tls::TrustError,
};
use self::{
    credentials::{AccessToken, ProviderToken},
    horizon::Horizon,
    sender::{Delivered, Parcel, Sender},
};
use crate::{
    clock::Clock,
    model::{AppId, Device, Environment, Message, NotSent, Outcome, Platform, Provider},
    pace::Slot,
};

/// What became of a permit.
#[derive(Debug)]
#[must_use = "a permit that was not taken can be sent again, and must be recorded either way"]
pub enum Sent<'s> {
    /// The permit is spent: this is the outcome.
    Done(Outcome),
    /// The provider did not take the stream (GOAWAY, `REFUSED_STREAM`) or none could be opened: the same
    /// permit may be sent again.
    NotTaken(Permit<'s>),
}

/// Sends permits to their providers. Shared by reference; it owns every provider socket of the process.
#[derive(Debug)]
pub struct Deliver {
    apps: HashMap<AppId, Senders>,
    clock: Clock,
    horizon: Horizon,
    draining: AtomicBool,
    apns_in_flight: AtomicUsize,
    fcm_in_flight: AtomicUsize,
    idle: Notify,
}

#[derive(Debug, Default)]
struct Senders {
    apns: Option<Sender>,
    sandbox: Option<Sender>,
    fcm: Option<Sender>,
}

/// An app's credentials cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("app {app}, {provider}: {error}")]
pub struct DeliverError {
    /// Which app.
    pub app: AppId,
    /// Its credentials at whom.
    pub provider: Provider,
    /// Why.
    #[source]
    pub error: CredentialError,
}

/// Provider tokens by (key file, key id, team): one for all connections that use the key.
type ProviderTokens = BTreeMap<(PathBuf, String, String), Arc<ProviderToken>>;

impl Deliver {
    /// Reads and checks every credential. Nothing is connected yet: that happens with the first send.
    pub fn new(config: DeliverConfig, clock: Clock) -> Result<Self, DeliverError> {
        let mut tokens = ProviderTokens::new();
        let mut apps = HashMap::new();
        for (app, senders) in config.apps {
            let failed = |provider| {
                let app = app.clone();
                move |error| DeliverError { app, provider, error }
            };
            let mut built = Senders::default();
            if let Some(apns) = &senders.apns {
                let made = Senders::apns(&app, apns, &mut tokens, config.transport, &clock);
                (built.apns, built.sandbox) = made.map_err(failed(Provider::Apns))?;
            }
            if let Some(fcm) = &senders.fcm {
                let made = Senders::fcm(&app, fcm, config.transport, &clock);
                built.fcm = Some(made.map_err(failed(Provider::Fcm))?);
            }
            apps.insert(app, built);
        }
        Ok(Self {
            apps,
            horizon: Horizon::new(&clock),
            clock,
            draining: AtomicBool::new(false),
            apns_in_flight: AtomicUsize::new(0),
            fcm_in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
        })
    }

    /// Sends `message` to the permit's device, and waits for the provider's answer.
    ///
    /// An expired provider token is renewed and the request repeated under the same permit. What the provider did not take
    /// comes back as [`Sent::NotTaken`], to be sent again with another slot.
    pub async fn send<'s>(&self, permit: Permit<'s>, slot: Slot, message: &Message) -> Sent<'s> {
        // Spent now: a slot is permission for this moment.
        drop(slot);
        let device = permit.device();
        let in_flight = InFlight::new(self, device.platform.provider());
        if self.draining.load(Ordering::Acquire) {
            return Sent::Done(Outcome::NotSent(NotSent::Draining));
        }
        let Some(sender) = self.apps.get(&device.app).and_then(|senders| senders.for_device(device)) else {
            return Sent::Done(Outcome::NotSent(NotSent::NotConfigured));
        };
        let until = self.horizon.until(message.expires_at(), &self.clock);
        let now = self.clock.monotonic();
        if let Err(why) = permit.is_valid(now) {
            return Sent::Done(Outcome::NotSent(why));
        }
        if now >= until {
            return Sent::Done(Outcome::Expired);
        }
        let parcel = Parcel { message, until, permit: &permit };
        let delivered = sender.send(&parcel).await;
        drop(in_flight);
        match delivered {
            Delivered::Done(outcome) => Sent::Done(outcome),
            Delivered::NotTaken => Sent::NotTaken(permit),
        }
    }

    /// How many sends to `provider` are under way.
    pub fn in_flight(&self, provider: Provider) -> usize {
        self.gauge(provider).load(Ordering::Relaxed)
    }

    /// When the tokens at hand stop being valid. Senders that have none yet are left out.
    pub fn credential_expiry(&self) -> Vec<(AppId, Provider, Timestamp)> {
        let expiry =
            |sender: &Sender| Some((sender.app().clone(), sender.provider(), sender.credential_expiry()?));
        self.senders().filter_map(expiry).collect()
    }

    /// Takes no more permits, waits until what is under way is answered (each send has its own time limit), and
    /// closes every connection.
    pub async fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if Provider::ALL.into_iter().all(|provider| self.in_flight(provider) == 0) {
                break;
            }
            idle.await;
        }
        self.senders().for_each(|sender| sender.pool().retire_all());
    }

    fn gauge(&self, provider: Provider) -> &AtomicUsize {
        match provider {
            Provider::Apns => &self.apns_in_flight,
            Provider::Fcm => &self.fcm_in_flight,
        }
    }

    fn senders(&self) -> impl Iterator<Item = &Sender> {
        self.apps.values().flat_map(|app| [&app.apns, &app.sandbox, &app.fcm]).flatten()
    }
}

impl Senders {
    fn apns(
        app: &AppId,
        config: &ApnsConfig,
        tokens: &mut ProviderTokens,
        transport: Transport,
        clock: &Clock,
    ) -> Result<(Option<Sender>, Option<Sender>), CredentialError> {
        let key = (config.key_file.clone(), config.key_id.clone(), config.team.clone());
        let token = if let Some(token) = tokens.get(&key) {
            Arc::clone(token)
        } else {
            let token = ProviderToken::load(&config.key_file, &config.key_id, &config.team, clock.clone())?;
            Arc::clone(tokens.entry(key).or_insert(Arc::new(token)))
        };
        let build = |endpoint: Endpoint| {
            Sender::apns(app.clone(), config, endpoint, Arc::clone(&token), transport, clock.clone())
        };
        let sandbox = config.sandbox_endpoint.clone().map(build).transpose()?;
        Ok((Some(build(config.endpoint.clone())?), sandbox))
    }

    fn fcm(
        app: &AppId,
        config: &FcmConfig,
        transport: Transport,
        clock: &Clock,
    ) -> Result<Sender, CredentialError> {
        let token =
            AccessToken::load(&config.service_account_file, config.ca_file.as_deref(), clock.clone())?;
        Sender::fcm(app.clone(), config, Arc::new(token), transport, clock.clone())
    }

    const fn for_device(&self, device: &Device) -> Option<&Sender> {
        match (device.platform, device.environment) {
            (Platform::Ios, Environment::Production) => self.apns.as_ref(),
            (Platform::Ios, Environment::Sandbox) => self.sandbox.as_ref(),
            (Platform::Android, _) => self.fcm.as_ref(),
        }
    }
}

/// Counts a send as under way, however its future ends.
struct InFlight<'d> {
    deliver: &'d Deliver,
    provider: Provider,
}

impl<'d> InFlight<'d> {
    fn new(deliver: &'d Deliver, provider: Provider) -> Self {
        deliver.gauge(provider).fetch_add(1, Ordering::AcqRel);
        Self { deliver, provider }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.deliver.gauge(self.provider).fetch_sub(1, Ordering::AcqRel);
        if self.deliver.draining.load(Ordering::Acquire) {
            self.deliver.idle.notify_waiters();
        }
    }
}
