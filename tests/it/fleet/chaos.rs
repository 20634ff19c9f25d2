//! A seeded schedule of `kill -9`, in each role and phase: nobody is forgotten, nobody's screen shows two.

use bellwether::simulator::{Profile, SimulatorConfig};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sqlx::Connection;

use super::{Fleet, Size};
use crate::{harness::service::Serving, service::load::say};

/// When a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// The audience is being frozen.
    Freeze,
    /// A stage has just been opened.
    StageOpen,
    /// Segments are open, requests are on the wire.
    Midway,
    /// Retry chunks are there.
    Retry,
    /// The last chunks are being done.
    Completion,
}

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Coordinator,
    Worker,
}

const WORKERS: usize = 3;

/// The order of the campaign's own life. The rest of the kills fall midway.
fn schedule(kills: usize, random: &mut StdRng) -> Vec<(Phase, Role)> {
    use Phase::{Completion, Freeze, Midway, Retry, StageOpen};
    use Role::{Coordinator, Worker};
    let fixed = [
        (Freeze, Coordinator),
        (Freeze, Worker),
        (StageOpen, Coordinator),
        (StageOpen, Worker),
        (Midway, Worker),
        (Midway, Coordinator),
        (Retry, Worker),
        (Retry, Coordinator),
        (Completion, Worker),
        (Completion, Coordinator),
    ];
    let mut schedule: Vec<_> = fixed.into_iter().take(kills).collect();
    for _ in schedule.len()..kills {
        schedule.push((Midway, if random.random_range(0..4) == 0 { Coordinator } else { Worker }));
    }
    schedule.sort_by_key(|(phase, _)| *phase);
    schedule
}

/// The processes: three workers, and one that coordinates and takes jobs in.
struct Processes {
    coordinator: Option<Serving>,
    workers: Vec<Option<Serving>>,
}

impl Processes {
    async fn start(fleet: &Fleet) -> Self {
        let coordinator = Some(fleet.serve("intake,coordinator").await);
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            workers.push(Some(fleet.serve("worker").await));
        }
        Self { coordinator, workers }
    }

    async fn stop(self) {
        for serving in self.workers.into_iter().chain([self.coordinator]).flatten() {
            assert!(serving.stop().await.success());
        }
    }
}

/// Waits for the phase, kills, counts what was unrecorded, starts anew.
async fn kill(
    fleet: &Fleet,
    processes: &mut Processes,
    (phase, role): (Phase, Role),
    moment: u64,
    random: &mut StdRng,
) -> i64 {
    let mut which = random.random_range(0..WORKERS);
    match phase {
        Phase::Freeze => {
            let sql = "select count(*) > 0 from rollout where state = 'draft' or frozen > 0";
            fleet.until("a freeze", sql).await;
        }
        Phase::StageOpen => {
            fleet.until("an open stage", "select count(*) > 0 from rollout where stage >= 0").await;
        }
        Phase::Midway => {
            let wanted = fleet.stage.simulator.wait_for_requests(moment, super::STANDSTILL);
            // Retries and dead tokens make the count uncertain; a campaign that is over cannot be hit midway.
            wanted.await.ok();
        }
        Phase::Retry => {
            let sql = "select count(*) > 0 from chunk where try > 0";
            fleet.until("a retry", sql).await;
        }
        Phase::Completion => {
            let sql = "select count(*) filter (where done_at is null) <= 3 from claim where stage = 2";
            fleet.until("the last chunks", sql).await;
        }
    }
    if role == Role::Worker {
        which = holding(fleet, processes).await.unwrap_or(which);
    }
    let victim = match role {
        Role::Coordinator => processes.coordinator.take(),
        Role::Worker => processes.workers[which].take(),
    };
    let victim = victim.expect("it was started again");
    let pid = victim.pid();
    victim.kill().await;
    let unrecorded = unrecorded(fleet, pid).await;
    let state = fleet.stage.simulator.requests();
    say(format_args!(
        "kill at {phase:?} of {role:?}: {unrecorded} intended and unrecorded, {state} requests so far"
    ));
    match role {
        Role::Coordinator => processes.coordinator = Some(fleet.serve("intake,coordinator").await),
        Role::Worker => processes.workers[which] = Some(fleet.serve("worker").await),
    }
    unrecorded
}

/// A worker that holds a chunk just now.
async fn holding(fleet: &Fleet, processes: &Processes) -> Option<usize> {
    const SQL: &str =
        "select worker from claim where done_at is null and worker is not null order by until desc limit 1";
    let mut database = fleet.database().await;
    let name: Option<String> =
        sqlx::query_scalar(SQL).fetch_optional(&mut database).await.expect("an answer");
    let name = name?;
    let is_it = |serving: &Option<Serving>| {
        serving.as_ref().is_some_and(|serving| name.starts_with(&format!("{}-", serving.pid())))
    };
    processes.workers.iter().position(is_it)
}

/// Devices that a dead process intended to ring, and of which nothing is on record: what may be sent again.
async fn unrecorded(fleet: &Fleet, pid: u32) -> i64 {
    const SQL: &str = "select coalesce(sum(s.n), 0)::bigint from segment s join claim c using (rollout, chunk) \
         where s.outcomes is null and c.worker like $1 || '-%'";
    // What it had sent to commit is committed once the database has let go of it.
    const HELD: &str = "select count(*) = 0 from pg_stat_activity \
         where datname = current_database() and state = 'active' and pid <> pg_backend_pid() and wait_event_type is null \
             and query_start < clock_timestamp() - interval '1 second'";
    let mut database = fleet.database().await;
    let _: bool = sqlx::query_scalar(HELD).fetch_one(&mut database).await.expect("an answer");
    let count =
        sqlx::query_scalar(SQL).bind(pid.to_string()).fetch_one(&mut database).await.expect("an answer");
    database.close().await.expect("the database is there");
    count
}

/// The whole run: the campaign, the kills, the account.
async fn run(size: Size, at_most_once: bool) {
    let mut random = StdRng::seed_from_u64(size.seed);
    let simulator = SimulatorConfig {
        profile: Profile::ordinary(),
        seed: size.seed,
        ..SimulatorConfig::quiet(bellwether::clock::Clock::system())
    };
    let rate = (size.devices / 20).max(100);
    let stages =
        ["devices = 200".to_owned(), "percent = 10".to_owned(), format!("percent = 100\nmax_rate = {rate}")];
    let fleet = Fleet::with(simulator, size.devices, &stages.each_ref().map(String::as_str)).await;
    let mut processes = Processes::start(&fleet).await;
    let mut job = fleet.job("chaos");
    if at_most_once {
        job["at_most_once"] = true.into();
    }
    fleet.publish(&job).await;

    let plan = schedule(size.kills, &mut random);
    let midway = plan.iter().filter(|(phase, _)| *phase == Phase::Midway).count();
    let (mut unrecorded, mut hit) = (0, 0);
    for step in plan {
        let stretch = u64::try_from(size.devices * 8 / 10 / (midway + 1)).expect("a count");
        if step.0 == Phase::Midway {
            hit += 1;
        }
        let moment = stretch * hit + random.random_range(0..=stretch / 2);
        unrecorded += kill(&fleet, &mut processes, step, moment, &mut random).await;
    }
    fleet.over().await;
    processes.stop().await;
    let account = fleet.reconcile("chaos").await;
    let repeats = account.repeats.accepted + account.repeats.doubtful;
    say(format_args!(
        "kills {} lost {} doubled {} repeats {repeats} (after an acceptance {}) unrecorded at the kills {unrecorded} \
         outcomes {:?} at_most_once {at_most_once} seed {}",
        size.kills,
        account.lost.len(),
        account.doubled.len(),
        account.repeats.accepted,
        account.outcomes,
        size.seed
    ));
    account.is_clean();
    if at_most_once {
        assert_eq!(account.repeats.accepted, 0, "sent again, though nothing may be");
        assert_eq!(account.repeats.doubtful, 0, "sent again, though the first may have arrived");
        let unknown = account.outcomes.get("unknown").copied().unwrap_or_default();
        assert!(unknown > 0, "no kill caught a request in flight: the test has proved nothing");
    } else {
        assert!(i64::try_from(account.repeats.accepted).expect("a count") <= unrecorded);
        assert!(unrecorded > 0, "no kill caught a request in flight: the test has proved nothing");
        assert_eq!(account.outcomes.get("unknown"), None, "what is in doubt is sent again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_killed_in_every_role_and_phase_nobody_is_forgotten_and_nobody_is_rung_twice() {
    run(Size::given(10, 4_000), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_at_most_once_nothing_is_repeated_and_what_is_in_doubt_is_listed() {
    run(Size::given(10, 4_000), true).await;
}
