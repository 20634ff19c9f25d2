//! APNs and FCM at the wire: HTTP/2 over TLS on loopback, for the demo, the tests and the benchmark.
//!
//! The simulator checks what the vendors check and answers in their words, so that a sender meets here
//! what it will meet there. It shares no code with the sender: a mistake in one is not excused by the
//! same mistake in the other. What it counts, it counts on the *phones*: a notification is what a
//! screen shows, not what a sender believes it sent.
//!
//! The way of a request: `listen` takes the socket, `connection` the stream, `world` decides, with the
//! checks of `apns`, `provider_token`, `fcm` and `oauth`, the scripted faults of `fault`, the statistics of
//! `profile` and the `phones`; `reply` words the answer and `record` keeps what happened.
//!
//! Beside the providers there is a [`bank`]: what those who open the app do to its login.
//!
//! Never on the internet: it listens on loopback, its keys are made at start, and its inspection
//! endpoint asks nobody who they are.

mod apns;
mod args;
pub mod bank;
mod config;
mod connection;
mod credentials;
mod dice;
mod fault;
mod fcm;
mod inspect;
mod listen;
mod oauth;
mod phones;
mod profile;
mod provider_token;
mod record;
mod reply;
mod synthetic;
mod wire;
mod world;

#[cfg(test)]
mod tests;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jsonwebtoken::DecodingKey;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    args::{SimulatorArgs, run},
    bank::{
        LoginNow,
        live::{EVERY, Live},
    },
    config::{SimulatorConfig, SimulatorError, TooFewRequests},
    credentials::{CredentialFiles, Credentials},
    fault::{Fault, FaultAction, FaultAnswer, Provider, QuotaScope},
    phones::{Environment, NewPhone, Phone, Platform, Shown},
    profile::{Latency, Profile},
    record::{AnswerCount, PhoneScreen, RecordDetail, RecordedRequest, Summary},
    synthetic::{DeviceLine, SyntheticPhone},
};
use self::{
    credentials::{Identity, Keys, client_email},
    fault::Faults,
    listen::Ground,
    oauth::AccessTokens,
    provider_token::ProviderTokens,
    record::Record,
    world::{Bodies, World},
};

/// A running simulator; a clone is another handle to the same one. It stops when told to, or with its
/// runtime.
#[derive(Clone)]
pub struct Simulator {
    world: Arc<World>,
    credentials: Arc<Credentials>,
    addresses: Addresses,
    login: Option<Arc<Live>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Clone, Copy, Debug)]
struct Addresses {
    apns: SocketAddr,
    fcm: SocketAddr,
    oauth: SocketAddr,
    inspect: Option<SocketAddr>,
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

async fn bind(port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Lets time pass at the login, until the simulator stops.
async fn feel(login: Arc<Live>, simulator: Simulator) {
    let mut every = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = simulator.stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let rung = simulator.world.record().phones.rung();
        login.goes_on(simulator.world.clock.monotonic(), rung);
    }
}

impl Simulator {
    /// Makes keys, binds ports and serves.
    pub async fn start(config: SimulatorConfig) -> Result<Self, SimulatorError> {
        if config.topics.is_empty() {
            return Err(SimulatorError::NoTopic);
        }
        let (keys, identity) = (Keys::generate()?, Identity::generate()?);
        let (apns, apns_address) = bind(config.apns_port).await?;
        let (fcm, fcm_address) = bind(config.fcm_port).await?;
        let (oauth, oauth_address) = bind(config.oauth_port).await?;
        let inspect = match config.inspect_port {
            Some(port) => Some(bind(port).await?),
            None => None,
        };
        let addresses = Addresses {
            apns: apns_address,
            fcm: fcm_address,
            oauth: oauth_address,
            inspect: inspect.as_ref().map(|(_, address)| *address),
        };
        let token_uri = addresses.token_uri();
        let credentials = Credentials {
            ca_pem: identity.ca_pem.clone(),
            apns_key_pem: keys.apns.serialize_pem(),
            apns_key_id: config.key_id.clone(),
            team: config.team.clone(),
            topics: config.topics.clone(),
            project: config.project.clone(),
            service_account_json: keys.service_account_json(&config.project, &token_uri),
        };
        let (seed, began) = (config.seed, config.clock.monotonic());
        let login = config.login.map(|terms| Arc::new(Live::new(terms, seed, began)));
        let simulator = Self {
            world: Arc::new(world(config, &keys, token_uri)?),
            credentials: Arc::new(credentials),
            addresses,
            login,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let ground = simulator.ground();
        let h2 = identity.tls(b"h2")?;
        ground.spawn(listen::pushes(ground.clone(), Provider::Apns, apns, Arc::clone(&h2)));
        ground.spawn(listen::pushes(ground.clone(), Provider::Fcm, fcm, h2));
        ground.spawn(listen::tokens(ground.clone(), oauth, identity.tls(b"http/1.1")?));
        if let Some(login) = &simulator.login {
            ground.spawn(feel(Arc::clone(login), simulator.clone()));
        }
        if let Some((listener, _)) = inspect {
            ground.spawn(inspect::serve(simulator.clone(), listener));
        }
        Ok(simulator)
    }

    fn ground(&self) -> Ground {
        Ground { world: Arc::clone(&self.world), tasks: self.tasks.clone(), stop: self.stop.clone() }
    }

    /// Closes every socket and waits until that is done.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// `https://localhost:port`.
    pub fn apns_endpoint(&self) -> String {
        format!("https://localhost:{}", self.addresses.apns.port())
    }

    /// `https://localhost:port`.
    pub fn fcm_endpoint(&self) -> String {
        format!("https://localhost:{}", self.addresses.fcm.port())
    }

    /// Where bearer tokens come from; the service account names it too.
    pub fn token_uri(&self) -> String {
        self.addresses.token_uri()
    }

    /// `http://127.0.0.1:port`, if there is an inspection endpoint.
    pub fn inspect_endpoint(&self) -> Option<String> {
        self.addresses.inspect.map(|address| format!("http://{address}"))
    }

    /// What the login feels of those whose phones ring, if there is one.
    pub fn login(&self) -> Option<LoginNow> {
        self.login.as_ref().map(|login| login.now())
    }

    /// Keys and names to send with.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Writes the credentials as files.
    pub fn write_credentials(&self, folder: &Path) -> std::io::Result<CredentialFiles> {
        self.credentials.write(folder)
    }

    /// Registers phones; a token that is there already starts anew.
    pub fn register(&self, phones: impl IntoIterator<Item = NewPhone>) {
        let mut record = self.world.record();
        for phone in phones {
            let default = match phone.platform {
                Platform::Ios => &self.world.topics[0],
                Platform::Android => &self.world.project,
            };
            record.phones.register(phone, default);
        }
    }

    /// The `count` first synthetic phones of this simulator's seed, registered.
    pub fn register_synthetic(&self, count: u64) {
        self.register((0..count).map(|number| self.synthetic(number).phone()));
    }

    /// A synthetic phone of this simulator's seed.
    pub fn synthetic(&self, number: u64) -> SyntheticPhone {
        SyntheticPhone::new(self.world.seed, number)
    }

    /// Takes the app off a phone; answers whether there is such a phone.
    pub fn mark_gone(&self, token: &str, since_ms: i64) -> bool {
        self.world.record().phones.mark_gone(token, since_ms)
    }

    /// Adds a fault behind those that wait already.
    pub fn inject(&self, fault: Fault) {
        self.world.faults.push(fault);
    }

    /// Drops all faults that were injected.
    pub fn clear_faults(&self) {
        self.world.faults.clear();
    }

    /// Makes every bearer token granted so far invalid.
    pub fn revoke_access_tokens(&self) {
        self.world.access_tokens.revoke_all();
    }

    /// Every request in order; empty if the record is compact.
    pub fn record(&self) -> Vec<Arc<RecordedRequest>> {
        self.world.record().requests.clone()
    }

    /// Requests with a higher number.
    pub fn record_since(&self, number: u64) -> Vec<Arc<RecordedRequest>> {
        let record = self.world.record();
        let first = record.requests.partition_point(|request| request.number <= number);
        record.requests[first..].to_vec()
    }

    /// Phones that received anything, by token.
    pub fn screens(&self) -> Vec<PhoneScreen> {
        self.world.record().screens()
    }

    /// One phone.
    pub fn phone(&self, token: &str) -> Option<Phone> {
        self.world.record().phones.get(token).cloned()
    }

    /// Looks at every phone, without copying any; requests wait meanwhile.
    pub fn for_each_phone(&self, mut look: impl FnMut(&str, &Phone)) {
        let record = self.world.record();
        record.phones.iter().for_each(|(token, phone)| look(token, phone));
    }

    /// Counts.
    pub fn summary(&self) -> Summary {
        let connections = self.world.connections.load(Ordering::Relaxed);
        self.world.record().summary(connections)
    }

    /// Microseconds since the simulator started: the clock of [`RecordedRequest::elapsed_micros`].
    pub fn elapsed_micros(&self) -> u64 {
        self.world.elapsed_micros()
    }

    /// How many requests came, OAuth included.
    pub fn requests(&self) -> u64 {
        self.world.record().count
    }

    /// Waits until so many requests came in all.
    pub async fn wait_for_requests(&self, wanted: u64, within: Duration) -> Result<(), TooFewRequests> {
        self.wait_for(wanted, within, || self.requests()).await
    }

    async fn wait_for(
        &self,
        wanted: u64,
        within: Duration,
        count: impl Fn() -> u64,
    ) -> Result<(), TooFewRequests> {
        let came = async {
            loop {
                let mut next = std::pin::pin!(self.world.arrived.notified());
                // Before the count is read, so that a request between the two is not missed.
                next.as_mut().enable();
                if count() >= wanted {
                    return;
                }
                next.await;
            }
        };
        tokio::time::timeout(within, came).await.map_err(|_| TooFewRequests { seen: count(), wanted })
    }

    /// Answers no push from now on, until [`Simulator::give_answers`]; what was asked is recorded.
    pub fn hold_answers(&self) {
        self.world.answers_held.send_replace(true);
    }

    /// Answers what waits for an answer, and answers again.
    pub fn give_answers(&self) {
        self.world.answers_held.send_replace(false);
    }

    /// Shuts the windows of every connection: of each request from now on only the beginning can be sent.
    pub fn withhold_bodies(&self) {
        self.world.bodies.withhold(true);
    }

    /// Opens the windows again.
    pub fn take_bodies(&self) {
        self.world.bodies.withhold(false);
    }

    /// Waits until the bodies of so many requests are awaited behind shut windows.
    pub async fn wait_for_awaited_bodies(&self, wanted: u64, within: Duration) -> Result<(), TooFewRequests> {
        self.wait_for(wanted, within, || self.world.bodies.awaited.load(Ordering::Acquire)).await
    }

    /// Forgets requests, counts, screens and faults; phones and credentials stay.
    pub fn reset(&self) {
        self.world.faults.clear();
        self.world.record().reset();
    }
}

impl Addresses {
    fn token_uri(self) -> String {
        format!("https://localhost:{}/token", self.oauth.port())
    }
}

fn world(config: SimulatorConfig, keys: &Keys, token_uri: String) -> Result<World, SimulatorError> {
    let apns_key = DecodingKey::from_ec_pem(keys.apns.public_key_pem().as_bytes())?;
    let account_key = DecodingKey::from_rsa_pem(keys.service_account.public_key_pem().as_bytes())?;
    Ok(World {
        started: config.clock.monotonic(),
        provider_tokens: ProviderTokens::new(
            apns_key,
            config.key_id,
            config.team,
            config.provider_token_interval,
        ),
        access_tokens: AccessTokens::new(
            account_key,
            client_email(&config.project),
            token_uri,
            config.access_token_lifetime,
            config.seed,
        ),
        clock: config.clock,
        seed: config.seed,
        profile: config.profile,
        detail: config.detail,
        topics: config.topics,
        environment: config.environment,
        project: config.project,
        faults: Faults::default(),
        record: Mutex::new(Record::default()),
        arrived: Notify::new(),
        connections: AtomicU64::new(0),
        bodies: Bodies::default(),
        answers_held: tokio::sync::watch::Sender::new(false),
    })
}
