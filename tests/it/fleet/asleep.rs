//! The late tail: who sleeps by their own clock is rung in their morning, or never.

use std::collections::BTreeSet;

use bellwether::{clock::Clock, simulator::SimulatorConfig};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use super::{Fleet, plan};

/// Seven or eight hours before the app's time zone, the whole year round.
const EAST: &str = "Asia/Tokyo";

const PEOPLE: usize = 60;

/// Where a person lives, in turn: by the app's clock, by the same by name, by one that nobody knows, and in the east.
const ZONES: [Option<&str>; 4] = [None, Some("Europe/Warsaw"), Some("Mars/Olympus"), Some(EAST)];

const SLEEPERS: usize = PEOPLE / ZONES.len();

/// Six quiet hours in the middle of which the east is now: in the app's time zone they are four hours away on either
/// side, whatever the hour is when this runs.
fn quiet_hours(now: Timestamp) -> String {
    let east = TimeZone::get(EAST).expect("a zone").to_datetime(now).time();
    let hour =
        |hours: i64| east.wrapping_add(SignedDuration::from_hours(hours)).strftime("%H:%M").to_string();
    format!("\n[quiet_hours]\nfrom = \"{}\"\nto = \"{}\"\n", hour(-3), hour(3))
}

/// Nobody of the first try is left to do, and so many were, and are, deferred.
fn tail(accepted: usize, met_asleep: usize, waiting: usize) -> String {
    format!(
        "select (select coalesce(sum(accepted), 0) = {accepted} and coalesce(sum(quiet_hours), 0) = {met_asleep} from tally) \
         and (select bool_and(sent_at is not null) from stage) \
         and (select coalesce(sum(n), 0) = {waiting} from claim join chunk using (rollout, chunk) \
              where try > 0 and done_at is null)"
    )
}

impl Fleet {
    async fn tell(&self, sql: &str) {
        sqlx::raw_sql(sql).execute(&mut self.database().await).await.expect(sql);
    }

    pub(super) async fn show(&self, campaign: &str) -> Value {
        let campaign = format!("{}/{campaign}", self.stage.producer("marketing"));
        let shown = self.stage.run(&["--output", "json", "rollout", "show", &campaign]).await;
        serde_json::from_slice(&shown.stdout).expect("JSON")
    }

    /// Whose phones show something.
    fn rung(&self) -> BTreeSet<&str> {
        let screens = self.screens();
        let rung = self.phones.iter().filter(|phone| screens.contains_key(&phone.token));
        rung.map(|phone| phone.user.as_str()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_who_sleeps_is_not_rung_before_their_morning_and_not_after_the_expiry() {
    let stages = ["percent = 100"];
    let fleet = Fleet::with(SimulatorConfig::quiet(Clock::system()), PEOPLE, &stages).await;
    let now = Clock::system().now();
    let file = fleet.stage.folder().join("audiences/plans/wide.toml");
    std::fs::write(file, format!("{}{}", plan(&stages), quiet_hours(now))).expect("a plan");
    let mut asleep = BTreeSet::new();
    for (number, phone) in fleet.phones.iter().enumerate() {
        let Some(zone) = ZONES[number % ZONES.len()] else { continue };
        fleet.tell(&format!("update device set timezone = '{zone}' where user_id = '{}'", phone.user)).await;
        if zone == EAST {
            asleep.insert(phone.user.as_str());
        }
    }
    let serving = fleet.serve("all").await;
    fleet.publish(&fleet.job("night")).await;
    let awake = PEOPLE - SLEEPERS;
    fleet.until("the awake to be rung, and the others to be put off", &tail(awake, SLEEPERS, SLEEPERS)).await;
    let everyone: BTreeSet<_> = fleet.phones.iter().map(|phone| phone.user.as_str()).collect();
    assert_eq!(fleet.rung(), &everyone - &asleep);
    let shown = fleet.show("night").await;
    assert_eq!((&shown["state"], &shown["late_tail"]["devices"]), (&json!("baking"), &json!(SLEEPERS)));
    assert_eq!(shown["stages"][0]["outcomes"]["quiet_hours"], SLEEPERS);
    let due: Timestamp =
        shown["late_tail"]["due_at"].as_str().and_then(|at| at.parse().ok()).expect("an instant");
    let (from, to) = (SignedDuration::from_mins(179), SignedDuration::from_mins(180));
    assert!(now + from <= due && due <= now + to, "{due}, three hours after {now}");

    // One of them travels west. They are asked about early: whoever still sleeps is put off again.
    let traveller = *asleep.first().expect("somebody sleeps");
    fleet.tell(&format!("update device set timezone = 'Europe/Warsaw' where user_id = '{traveller}'")).await;
    fleet.tell("update claim set until = 0 where done_at is null").await;
    fleet.until("the traveller to be rung", &tail(awake + 1, 2 * SLEEPERS - 1, SLEEPERS - 1)).await;
    asleep.remove(traveller);
    assert_eq!(fleet.rung(), &everyone - &asleep);

    // It expires in the middle of their night. (What is read once is read again after a new start.)
    assert!(serving.stop().await.success());
    fleet.tell("update rollout set expires_at = 1; update campaign set expires_at = 1").await;
    let serving = fleet.serve("all").await;
    fleet.over().await;
    assert!(serving.stop().await.success());
    assert_eq!(fleet.show("night").await["state"], "expired");
    let account = fleet.reconcile("night").await;
    account.is_clean();
    assert_eq!(account.outcomes["expired"], SLEEPERS - 1);
    assert_eq!(account.outcomes["accepted"], awake + 1);
    assert_eq!(account.repeats.accepted, 0, "nobody is rung twice");
}
