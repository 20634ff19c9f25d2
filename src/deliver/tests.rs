//! The sender against the simulators, at the wire.

mod differential;
mod outcomes;
mod storms;
mod wire;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    guard::Cleared,
    ledger::OpenJob,
    model::{
        AppId, Bucket, Device, DeviceId, Digest, Environment, JobId, JobKey, ProducerId, RecordId, Token,
        UserId,
    },
    simulator::{CredentialFiles, NewPhone, Simulator, SimulatorConfig},
};

pub(super) const APP: &str = "pl.example.bank";
/// Long enough for a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs a test's body, so that a sender that hangs fails instead.
pub(super) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it ends in time")
}

/// A simulator, the files that it hands out, and a sender that is configured with them.
pub(super) struct Bank {
    pub(super) simulator: Simulator,
    pub(super) deliver: Arc<Deliver>,
    pub(super) clock: Clock,
    pub(super) files: CredentialFiles,
    _folder: tempfile::TempDir,
}

impl Bank {
    pub(super) async fn open() -> Self {
        Self::open_with(|_| {}, |_| {}).await
    }

    pub(super) async fn open_with(
        simulate: impl FnOnce(&mut SimulatorConfig),
        configure: impl FnOnce(&mut DeliverConfig),
    ) -> Self {
        Self::open_at(Duration::ZERO, simulate, configure).await
    }

    /// With a sender whose clock is slow by `slow`.
    pub(super) async fn open_at(
        slow: Duration,
        simulate: impl FnOnce(&mut SimulatorConfig),
        configure: impl FnOnce(&mut DeliverConfig),
    ) -> Self {
        // The sender's clock can be moved; the simulator's is the machine's, as a provider's would be.
        let clock = Clock::manual(Clock::system().now() - slow, 1);
        let mut config = SimulatorConfig::quiet(Clock::system());
        simulate(&mut config);
        let simulator = Simulator::start(config).await.expect("loopback has free ports");
        simulator.register([
            NewPhone::new(crate::simulator::Platform::Ios, "ios"),
            NewPhone::new(crate::simulator::Platform::Android, "android"),
        ]);
        let folder = tempfile::tempdir().expect("a folder");
        let files = simulator.write_credentials(folder.path()).expect("it can be written to");
        let mut config = config_of(&simulator, &files);
        configure(&mut config);
        let deliver = Arc::new(Deliver::new(config, clock.clone()).expect("good credentials"));
        Self { simulator, deliver, clock, files, _folder: folder }
    }

    /// Sends to one phone and answers with the outcome; what was not taken is sent again.
    pub(super) async fn ring(&self, token: &str) -> Outcome {
        self.ring_all(&[device(token, 1)], 1).await.remove(0).1
    }

    /// Sends to every device, so many at once, and answers with the outcomes and their tokens.
    pub(super) async fn ring_all(&self, devices: &[Device], at_once: usize) -> Vec<(Device, Outcome)> {
        let message = self.message(Duration::from_hours(1));
        in_time(ring_all(self, devices, &message, at_once)).await
    }

    pub(super) fn message(&self, lives: Duration) -> Message {
        let notification =
            serde_json::from_value(json!({"title": "Bank", "body": "Zażółć", "collapse_id": "c1"}))
                .expect("a notification");
        let now = self.clock.now();
        Message::render(&notification, &key(), now + lives, now).expect("it renders")
    }

    /// Waits until the simulator has seen so many requests.
    pub(super) async fn seen(&self, requests: u64) {
        self.simulator.wait_for_requests(requests, DEADLINE).await.expect("the requests in time");
    }
}

async fn ring_all(
    bank: &Bank,
    devices: &[Device],
    message: &Message,
    at_once: usize,
) -> Vec<(Device, Outcome)> {
    let app = AppId::parse(APP).expect("an app");
    let cleared = Cleared::for_test(key(), Digest::of(b"job"), app, message.expires_at());
    let mut job = OpenJob::for_test(key(), Digest::of(b"job"), devices.to_vec());
    let mut waiting = job.start().into_iter();
    let mut sending = FuturesUnordered::new();
    let mut outcomes = Vec::new();
    loop {
        while sending.len() < at_once
            && let Some(started) = waiting.next()
        {
            let permit = Permit::new(&cleared, started).expect("both proofs are of this job");
            sending.push(async move {
                let (device, mut permit) = (permit.device().clone(), permit);
                loop {
                    match bank.deliver.send(permit, Slot::for_test(), message).await {
                        Sent::Done(outcome) => return (device, outcome),
                        Sent::NotTaken(again) => permit = again,
                    }
                }
            });
        }
        match sending.next().await {
            Some(done) => outcomes.push(done),
            None => return outcomes,
        }
    }
}

pub(super) fn config_of(simulator: &Simulator, files: &CredentialFiles) -> DeliverConfig {
    let credentials = simulator.credentials();
    let endpoint = |text: String| Endpoint::parse(&text).expect("an endpoint");
    let senders = AppSenders {
        apns: Some(ApnsConfig {
            endpoint: endpoint(simulator.apns_endpoint()),
            sandbox_endpoint: None,
            ca_file: Some(files.ca.clone()),
            key_file: files.apns_key.clone(),
            key_id: credentials.apns_key_id.clone(),
            team: credentials.team.clone(),
            topic: APP.into(),
        }),
        fcm: Some(FcmConfig {
            endpoint: endpoint(simulator.fcm_endpoint()),
            ca_file: Some(files.ca.clone()),
            service_account_file: files.service_account.clone(),
            project: credentials.project.clone(),
        }),
    };
    let apps = BTreeMap::from([(AppId::parse(APP).expect("an app"), senders)]);
    DeliverConfig { apps, transport: Transport::default() }
}

pub(super) fn key() -> JobKey {
    JobKey {
        producer: ProducerId::parse("cards").expect("a producer"),
        id: JobId::parse("j-1").expect("an id"),
    }
}

/// A device whose platform is read off its token: `ios…` or `android…`.
pub(super) fn device(token: &str, number: u128) -> Device {
    let user = UserId::parse("u-1").expect("a user");
    let platform = if token.starts_with("android") { Platform::Android } else { Platform::Ios };
    Device {
        record: RecordId::new(i64::try_from(number).expect("small")),
        id: DeviceId::from_uuid(Uuid::from_u128(number)),
        bucket: Bucket::of(&user),
        user,
        app: AppId::parse(APP).expect("an app"),
        platform,
        environment: Environment::Production,
        token: Token::parse(token).expect("a token"),
        language: None,
        registered_at: Timestamp::UNIX_EPOCH,
    }
}

/// As many phones, known to the simulator and as devices.
pub(super) fn phones(bank: &Bank, platform: Platform, count: u128) -> Vec<Device> {
    let devices: Vec<_> = (1..=count).map(|n| device(&format!("{}-{n}", platform.as_str()), n)).collect();
    let simulated = match platform {
        Platform::Ios => crate::simulator::Platform::Ios,
        Platform::Android => crate::simulator::Platform::Android,
    };
    bank.simulator.register(devices.iter().map(|device| NewPhone::new(simulated, device.token.reveal())));
    devices
}
