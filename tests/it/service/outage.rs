//! The broker and the ledger go away under load, and come back: the process stays up and sends nothing twice.
//!
//! Servers of the test's own. What the producer was not told to be safe, it enqueues again under the same id.

use std::{sync::Arc, time::Duration};

use bellwether::{clock::Clock, simulator::Profile};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use sqlx::{Connection as _, PgConnection};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::load::{Load, Wire, say, slow_providers};
use crate::harness::{
    broker::{eventually, within},
    service::{Serving, Stage},
    services::PrivateServices,
};

/// How long `/readyz` may believe in a dependency that is gone.
const TRUTH: Duration = Duration::from_secs(2);

/// As long as the servers are away.
const OUTAGE: Duration = Duration::from_secs(10);

/// Between two jobs of the producer.
const PACE: Duration = Duration::from_millis(20);

/// A backend that keeps enqueueing, whatever happens to the broker.
struct Backend {
    stop: CancellationToken,
    enqueued: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Backend {
    fn start(stage: &Stage, load: Arc<Load>) -> Self {
        let user = stage.producer("cards").to_owned();
        let (url, stop) = (stage.broker.url(&user), CancellationToken::new());
        let (sender, enqueued) = watch::channel(0);
        let until = stop.clone();
        let task = tokio::spawn(async move {
            let (mut pace, mut channel) = (interval(PACE), None);
            let mut number = 0;
            while !until.is_cancelled() && number < load.phones.len() {
                pace.tick().await;
                if channel.is_none() {
                    channel = timeout(Duration::from_secs(5), open(&url)).await.ok().flatten();
                }
                let Some((_, open)) = &channel else { continue };
                let enqueueing = enqueue(open, &user, load.job(number));
                if timeout(Duration::from_secs(5), enqueueing).await == Ok(Some(true)) {
                    number += 1;
                    sender.send_replace(number);
                } else {
                    channel = None;
                }
            }
        });
        Self { stop, enqueued, task }
    }

    /// Waits until it has been told that so many more jobs are safe.
    async fn enqueues(&mut self, more: usize) {
        let wanted = *self.enqueued.borrow() + more;
        within("enqueueing", self.enqueued.wait_for(|enqueued| *enqueued >= wanted))
            .await
            .expect("it goes on");
    }

    /// How many jobs it enqueued.
    async fn stop(self) -> usize {
        self.stop.cancel();
        within("the producer's last job", self.task).await.expect("no panic");
        *self.enqueued.borrow()
    }
}

async fn open(url: &str) -> Option<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.ok()?;
    let channel = connection.create_channel().await.ok()?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
    Some((connection, channel))
}

async fn enqueue(channel: &Channel, user: &str, job: String) -> Option<bool> {
    let properties = BasicProperties::default().with_user_id(user.into()).with_delivery_mode(2);
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let (exchange, key) = ("bellwether.jobs".into(), "direct".into());
    let published = channel.basic_publish(exchange, key, options, job.as_bytes(), properties).await.ok()?;
    let confirmed = published.await.ok()?;
    Some(confirmed.is_ack() && confirmed.take_message().is_none())
}

/// How a ledger does not answer.
#[derive(Debug, Clone, Copy)]
enum Away {
    /// It refuses connections.
    Stopped,
    /// It accepts them, and says nothing more.
    Frozen,
    /// Statements wait for a lock that another session keeps: they are under way when the process is told to stop.
    Stuck,
}

/// Keeps the tables that a worker, the watch over the policy and every job that needs a slot read to itself, until it is dropped.
/// Returns once they wait.
async fn lock(database: &str) -> PgConnection {
    const LOCK: &str = "begin; lock table rollout, policy_in_force, lease in access exclusive mode";
    const WAITED_FOR: &str = "select count(distinct relation) from pg_locks where not granted";
    let mut session = PgConnection::connect(database).await.expect("the database answers");
    sqlx::raw_sql(LOCK).execute(&mut session).await.expect("locks");
    eventually("each is waited for", async || {
        let tables: i64 = sqlx::query_scalar(WAITED_FOR).fetch_one(&mut session).await.expect("a count");
        (tables == 3).then_some(())
    })
    .await;
    session
}

/// A service under load, on servers that can be stopped.
struct Scene {
    backend: Backend,
    serving: Serving,
    load: Arc<Load>,
    stage: Stage,
    // Dropped last: the others clean up on it.
    services: PrivateServices,
}

impl Scene {
    async fn set(configuration: &str) -> Self {
        let services = PrivateServices::up().await;
        let (broker, database) = tokio::join!(services.broker(), services.database());
        let simulator = slow_providers(Profile::quiet(), 20);
        let stage = Stage::on(broker, database, simulator, configuration).await;
        let load = Arc::new(Load::on(&stage, 2_500).await);
        let serving = stage.serve().await;
        let mut backend = Backend::start(&stage, Arc::clone(&load));
        backend.enqueues(20).await;
        Self { backend, serving, load, stage, services }
    }

    /// `/readyz` names the dependency as away within two seconds.
    async fn told_away(&self, dependency: &str) {
        let (clock, began) = (Clock::system(), Clock::system().monotonic());
        eventually("readyz says 503", async || self.is_away(dependency).await.then_some(())).await;
        let took = clock.monotonic().duration_since(began);
        say(format_args!("/readyz named the {dependency} after {took:?}"));
        assert!(took <= TRUTH, "{dependency}: after {took:?}");
    }

    async fn is_away(&self, dependency: &str) -> bool {
        let (status, text) = self.serving.get("/readyz").await;
        let line = text.lines().find(|line| line.starts_with(dependency)).unwrap_or_default();
        status == 503 && line != format!("{dependency}: ok")
    }

    /// Looks at `/readyz` for as long as the outage lasts: it never changes its mind.
    async fn stays_away(&self, dependency: &str, long: Duration) {
        let (clock, began) = (Clock::system(), Clock::system().monotonic());
        let mut look = interval(Duration::from_millis(250));
        while clock.monotonic().duration_since(began) < long {
            look.tick().await;
            assert!(self.is_away(dependency).await, "the {dependency} is away, and /readyz says otherwise");
        }
    }

    async fn ready(&self) {
        eventually("ready again", async || (self.serving.get("/readyz").await.0 == 200).then_some(())).await;
    }

    /// The same process is still there, and every job that was enqueued shows once and is on record.
    async fn everything_arrived_once(self, pid: u32) {
        let Self { backend, serving, load, stage, services } = self;
        assert_eq!(serving.pid(), pid, "the process stayed up");
        let jobs = backend.stop().await;
        load.finished(&stage, jobs).await;
        Load::nothing_is_queued(&stage).await;
        assert!(serving.stop().await.success());
        let ends = load.reconcile(&stage, jobs).await;
        let repeats = Wire::of(&stage).repeats();
        say(format_args!("{jobs} jobs, {ends:?}, {repeats} repeats"));
        assert_eq!(ends.into_iter().collect::<Vec<_>>(), [("accepted", jobs)]);
        assert_eq!(repeats, 0, "no process died, so nothing is sent again");
        drop(stage);
        drop(services);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_seconds_without_the_broker_and_ten_without_the_ledger_lose_nothing() {
    let mut scene = Scene::set("").await;
    let pid = scene.serving.pid();
    for (server, dependency) in [("rabbitmq", "broker"), ("postgres", "ledger")] {
        scene.services.run(&["stop", server]).await;
        scene.told_away(dependency).await;
        scene.stays_away(dependency, OUTAGE).await;
        scene.services.run(&["start", server]).await;
        scene.ready().await;
        scene.backend.enqueues(50).await;
    }
    scene.everything_arrived_once(pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_in_the_middle_of_everything_and_a_ledger_that_hangs_lose_nothing() {
    let mut scene = Scene::set("").await;
    let pid = scene.serving.pid();
    // In the middle of commits and batches: there are always some, 50 times a second.
    for _ in 0..2 {
        scene.services.run(&["restart", "postgres"]).await;
        scene.backend.enqueues(25).await;
    }
    scene.services.run(&["restart", "rabbitmq"]).await;
    scene.ready().await;
    scene.backend.enqueues(25).await;
    // Both at once.
    scene.services.run(&["stop", "postgres"]).await;
    scene.services.run(&["stop", "rabbitmq"]).await;
    scene.told_away("ledger").await;
    scene.told_away("broker").await;
    scene.services.run(&["start", "rabbitmq"]).await;
    scene.services.run(&["start", "postgres"]).await;
    scene.ready().await;
    scene.backend.enqueues(25).await;
    // It neither answers nor refuses.
    let frozen = scene.services.freeze_postgres();
    scene.told_away("ledger").await;
    scene.stays_away("ledger", Duration::from_secs(8)).await;
    drop(frozen);
    scene.ready().await;
    scene.backend.enqueues(25).await;
    scene.everything_arrived_once(pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_to_stop_does_not_wait_long_for_a_ledger_that_is_away() {
    const LONGEST: Duration = Duration::from_secs(14);
    let mut scene = Scene::set("").await;
    for away in [Away::Stopped, Away::Frozen, Away::Stuck] {
        let (mut frozen, mut stuck) = (None, None);
        match away {
            Away::Stopped => drop(scene.services.run(&["stop", "postgres"]).await),
            Away::Frozen => frozen = Some(scene.services.freeze_postgres()),
            Away::Stuck => stuck = Some(lock(&scene.stage.database()).await),
        }
        match away {
            Away::Stopped | Away::Frozen => scene.told_away("ledger").await,
            // Each of these jobs wants a slot, and none asks for its second of the ledger's time after the others.
            Away::Stuck => scene.backend.enqueues(100).await,
        }
        let (clock, began) = (Clock::system(), Clock::system().monotonic());
        scene.serving.terminate().await;
        let status = scene.serving.ended().await;
        let took = clock.monotonic().duration_since(began);
        say(format_args!("stopped after {took:?} without the ledger ({away:?}): {status}"));
        assert!(
            status.success() && took <= LONGEST,
            "{status} after {took:?}; its log:\n{}",
            scene.serving.log()
        );
        drop((frozen, stuck));
        // Up already, unless it was stopped.
        scene.services.run(&["start", "postgres"]).await;
        scene.serving = scene.stage.serve().await;
        scene.backend.enqueues(25).await;
    }
    // What was sent and could not be recorded by then is sent again, with the same ids: it still shows once.
    let Scene { backend, serving, load, stage, services } = scene;
    let jobs = backend.stop().await;
    load.finished(&stage, jobs).await;
    assert!(serving.stop().await.success());
    let ends = load.reconcile(&stage, jobs).await;
    say(format_args!("{jobs} jobs, {ends:?}, {} repeats", Wire::of(&stage).repeats()));
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [("accepted", jobs)]);
    Load::nothing_is_queued(&stage).await;
    drop(stage);
    drop(services);
}
