//! What operators are shown, from a ledger that really holds it.

use std::{sync::Arc, time::Duration};

use super::{
    Store,
    campaign_set::{ALL, Set, THREE, devices, end},
    fixtures::{accepted, hours},
};
use crate::{
    api::{
        views,
        wire::{GuardState, RolloutView},
    },
    dispatch,
    ledger::{Asked, HaltScope, Ledger, OverBecause, Ruled, SeenDownstream, Verb, campaigns::listing},
    metrics::Metrics,
    model::{CampaignId, OperatorName, RolloutState},
    rollout::{
        Pause,
        downstream::{Looks, Reading, Watched},
    },
};

/// How often the numbers of our own systems are made, and looked at.
const LOOKS: Looks = Looks { scrape: Duration::from_secs(15), every: Duration::from_secs(5) };

/// Rollouts of the past, more than a team that sends one each hour has in a year.
const PAST: usize = 10_000;

async fn shown(set: &Set<'_>, campaign: CampaignId) -> RolloutView {
    let shown = views::rollout_view(set.ledger, &set.policy, campaign).await;
    shown.expect("an answer").expect("it is there")
}

pub(super) async fn a_rollout_is_shown_as_the_coordinator_sees_it(store: &Store) {
    let set = Set::with(store, 30, THREE, "").await;
    let campaign = set.submit().await;
    let view = async || shown(&set, campaign.id).await;
    let why = |view: &RolloutView| view.waits.clone().expect("it waits").why;
    let draft = view().await;
    assert_eq!((draft.summary.state, draft.digest.as_deref()), (RolloutState::Draft, None));
    assert_eq!(why(&draft), "its audience is being frozen");
    let takes: Vec<&str> = draft.stages_view.iter().map(|stage| stage.takes.as_str()).collect();
    assert_eq!(takes, ["staff", "7 devices", "100 %"]);
    assert!(draft.stages_view.iter().all(|stage| stage.devices.is_none()));

    let ruling = set.rule().await;
    let seen = set.freeze(&ruling, &campaign, 5_000).await;
    let frozen = view().await;
    assert_eq!(why(&frozen), "stage 1 is about to open");
    let counts: Vec<u64> = frozen.stages_view.iter().filter_map(|stage| stage.devices).collect();
    assert_eq!((counts.iter().sum::<u64>(), counts[1]), (frozen.summary.frozen, 7));
    assert_eq!(frozen.digest, seen.frozen_digest.map(|digest| digest.to_string()));

    assert!(set.ruled(&ruling, &seen, Ruled::Open(0)).await.expect("it rules"));
    let seen = set.seen(campaign.id).await;
    assert_eq!(why(&view().await), "a stage is being sent");
    let claim = set.claim(&campaign, "w", Duration::from_secs(30)).await.remove(0);
    let all = claim.devices.len();
    let mut answer = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, all, false)], false).await;
    let ended = end(&claim, 0, devices(&mut answer, 0), &accepted());
    set.exchange(&seen, &claim, &[ended], &[], true).await;
    let after = view().await;
    let first = &after.stages_view[0];
    assert_eq!((first.done, first.outcomes["accepted"], first.devices), (2, 2, Some(2)));
    assert_eq!((after.summary.stage, after.summary.stages), (Some(1), 3), "counted from 1");
    assert_eq!(why(&after), "a stage has just been sent");
}

pub(super) async fn who_paused_it_and_that_a_person_is_waited_for_is_shown(store: &Store) {
    let set = Set::with(store, 5, ALL, "").await;
    let (campaign, ..) = set.open().await;
    let ada = OperatorName::parse("ada").expect("a name");
    let verb = async |verb| {
        let asked = Asked { verb, by: &ada, reason: Some("the text is wrong") };
        store.ledger.verb(campaign.id, &asked).await.expect("an answer").expect("it may happen");
        views::rollout_view(&store.ledger, &set.policy, campaign.id)
            .await
            .expect("an answer")
            .expect("it is there")
    };
    let paused = verb(Verb::Pause).await;
    let waits = paused.waits.expect("it waits");
    assert_eq!((waits.why.as_str(), waits.on_people, waits.until), ("a person has paused it", true, None));
    assert_eq!(paused.summary.cause.as_deref(), Some("paused by ada: the text is wrong"));
    let over = verb(Verb::Abort).await;
    assert_eq!((over.waits, over.late_tail), (None, None), "nobody waits for what is over");
    assert!(over.summary.finished_at.is_some());
    let unknown = CampaignId::from_uuid(uuid::Uuid::nil());
    let none = views::rollout_view(&store.ledger, &set.policy, unknown).await.expect("an answer");
    assert!(none.is_none());
}

pub(super) async fn i5_a_halt_in_force_is_shown_on_what_it_keeps_from_starting(store: &Store) {
    let set = Set::with(store, 5, ALL, "").await;
    let (covering, elsewhere) = ("audience:everyone", "audience:somebody-else");
    for scope in [elsewhere, covering] {
        store.ledger.set_halt(&scope.parse().expect("a scope"), "anna", "wrong text").await.expect("set");
    }
    let campaign = set.submit().await;
    let view = async || shown(&set, campaign.id).await;
    let halts = view().await.halts;
    let told: Vec<_> = halts.iter().map(|halt| [&halt.scope[..], &halt.by, &halt.reason]).collect();
    assert_eq!(told, [[covering, "anna", "wrong text"]]);
    let listed = views::halt_list(&store.ledger).await.expect("an answer").halts;
    assert_eq!((listed.len(), &listed[1]), (2, &halts[0]));
    store.ledger.set_halt(&HaltScope::All, "anna", "wrong text").await.expect("set");
    assert!(view().await.halts.is_empty(), "it is over, and nothing of it waits");
}

fn guard(set: &Set) -> dispatch::Watched {
    dispatch::Watched::new(Arc::new(set.policy.clone()), Metrics::new())
}

pub(super) async fn a_preview_says_what_is_on_record_in_words_and_numbers(store: &Store) {
    let set = Set::with(store, 30, THREE, "").await;
    let (campaign, ruling) = (set.submit().await, set.rule().await);
    set.freeze(&ruling, &campaign, 5_000).await;
    let preview = views::preview(&store.ledger, &guard(&set), LOOKS, campaign.id)
        .await
        .expect("an answer")
        .expect("it is there");
    assert!(preview.texts[0].ios.body[0].starts_with("News ") && !preview.texts[0].ios.cut);
    assert_eq!((preview.intent.as_str(), preview.audience.class.as_str()), ("production", "internal"));
    assert_eq!(preview.audience.selects, ["the country is PL"]);
    assert_eq!((preview.audience.at_most, preview.audience.frozen), (9_999, preview.rollout.summary.frozen));
    let stage = &preview.stages[1];
    // APNs' 1,000 a second, of which a fifth is the direct lane's.
    assert!((stage.rate - 800.0).abs() < 1e-9 && (stage.sending_seconds - 7.0 / 800.0).abs() < 1e-9);
    assert!(preview.opens.peak_per_second < 800.0 * 0.08 && preview.drift.is_empty());
    // Under the policy in force, whose producers may use no audience, the guard has something to say.
    assert!(
        preview.findings.iter().any(|finding| finding.rule == "producer-scope"),
        "{:?}",
        preview.findings
    );
    let now = store.ledger.now().await.expect("the clock");
    assert!(preview.rollout.summary.received_at <= now && now < hours(now, 1));
}

pub(super) async fn a_plan_is_counted_before_there_is_a_campaign(store: &Store) {
    let set = Set::with(store, 30, THREE, "").await;
    let audience = set.policy.audience(&"everyone".parse().expect("a name")).expect("is known");
    let plan = set.policy.plan_for(audience, None).expect("its plan");
    let planned = views::planned(&store.ledger, &set.policy, LOOKS, (audience, plan)).await;
    let planned = planned.expect("an answer");
    assert_eq!((planned.devices, planned.plan.as_str()), (40, "p"));
    let counts: Vec<u64> = planned.stages.iter().map(|stage| stage.devices).collect();
    // Two of our own lie beside the audience, seven go first, and the rest is the last stage's.
    assert_eq!(counts, [2, 7, 33]);
    assert_eq!((planned.opens.stage, planned.opens.capacity, planned.guards.len()), (3, None, 0));
    assert!(planned.opens.peak_per_second > 0.0);
}

/// A plan that waits for a number of our own systems.
const GUARDED: &str = "[[stage]]\npercent = 100\nmax_rate = 1\n[[downstream]]\nname = \"login-p99\"\n\
     prometheus = \"rate(a[1m])\"\npause_above = 0.5\nfor = \"0s\"\n";

pub(super) async fn a_preview_says_how_many_phones_ring_before_a_guard_sees_a_harm(store: &Store) {
    let set = Set::with(store, 90, GUARDED, "").await;
    let (campaign, ruling) = (set.submit().await, set.rule().await);
    set.freeze(&ruling, &campaign, 5_000).await;
    let preview = views::preview(&store.ledger, &guard(&set), LOOKS, campaign.id).await.expect("an answer");
    let guards = preview.expect("it is there").guards;
    let [guard] = &guards[..] else { panic!("one guard, not {guards:?}") };
    assert_eq!((guard.name.as_str(), guard.pause, guard.halt), ("login-p99", Some(0.5), None));
    assert_eq!(guard.lag, "15 s until the scrape, 60 s for the query's window, 5 s until the look");
    let rung: Vec<_> = guard.rung_meanwhile.iter().map(|rung| (rung.stage, rung.devices, rung.all)).collect();
    // A second each, of 120 phones.
    assert_eq!((rung, guard.lag_seconds.to_bits()), (vec![(1, 80, false)], 80.0_f64.to_bits()));
}

pub(super) async fn what_a_guard_says_is_shown_by_its_name_and_number(store: &Store) {
    let set = Set::with(store, 5, GUARDED, "").await;
    let campaign = set.submit().await;
    assert_eq!(shown(&set, campaign.id).await.guards, [], "it is not watched before it is started");
    let ruling = set.rule().await;
    let seen = set.freeze(&ruling, &campaign, 5_000).await;
    let guard = |view: &RolloutView| view.guards[0].clone();
    let why = |view: &RolloutView| view.waits.clone().expect("it waits").why;
    let started = shown(&set, campaign.id).await;
    assert_eq!((guard(&started).state, guard(&started).blind_since), (GuardState::Blind, None));
    assert_eq!(why(&started), "login-p99 has not been read yet; it goes on by itself once that is over");

    let begin = store.ledger.now().await.expect("the clock");
    let mut watched = Watched::from(begin);
    let mut read = async |value| {
        let at = store.ledger.now().await.expect("the clock");
        watched.note(&campaign.plan.downstream[0], Reading { at, value });
        let noted = SeenDownstream { watched: watched.clone(), stale_after: Duration::from_hours(1) };
        store.ledger.note_downstream(&ruling, campaign.rollout, "login-p99", &noted).await.expect("it rules");
        shown(&set, campaign.id).await
    };
    let fine = guard(&read(Some(0.25)).await);
    assert_eq!(
        (fine.state, fine.value, fine.does, fine.beyond_since),
        (GuardState::Fine, Some(0.25), None, None)
    );
    assert!(set.ruled(&ruling, &seen, Ruled::Open(0)).await.expect("it rules"));

    let above = read(Some(0.6)).await;
    let cause = why(&above);
    assert!(cause.starts_with("downstream: login-p99 is 0.6, above 0.5, since "), "{cause}");
    let seen = set.seen(campaign.id).await;
    assert!(set.ruled(&ruling, &seen, Ruled::Pause(Pause::NoData, cause)).await.expect("it rules"));
    let paused = read(Some(0.7)).await;
    assert_eq!((paused.summary.pause, guard(&paused).state), (Some(Pause::NoData), GuardState::Breached));
    assert_eq!((guard(&paused).does.as_deref(), guard(&paused).value), (Some("pause"), Some(0.7)));
    assert_eq!(guard(&paused).beyond_since, guard(&above).beyond_since, "since the first that was beyond");
    assert!(guard(&paused).beyond_since.is_some_and(|since| since >= begin));
    let said = why(&paused);
    assert!(
        said.starts_with("login-p99 is 0.7, above 0.5, since ")
            && said.ends_with("; it goes on by itself once that is over"),
        "{said}"
    );

    let unread = guard(&read(None).await);
    assert_eq!((unread.state, unread.blind_since.is_some()), (GuardState::Breached, true));
    assert!(
        unread.told.contains("is 0.7, above 0.5") && unread.told.contains("; it cannot be read, since "),
        "{}",
        unread.told
    );

    read(Some(0.4)).await;
    let blind = guard(&read(None).await);
    assert_eq!((blind.state, blind.value), (GuardState::Blind, Some(0.4)));
    assert!(blind.blind_since.is_some() && blind.told.contains("cannot be read, since "), "{blind:?}");
    assert!(blind.told.contains("; it was 0.4 at "), "{blind:?}");
    let seen = set.seen(campaign.id).await;
    assert!(set.ruled(&ruling, &seen, Ruled::Over(OverBecause::Expired)).await.expect("it rules"));
    assert_eq!(shown(&set, campaign.id).await.guards, [], "nothing is read for what is over");
}

pub(super) async fn a_page_of_ten_thousand_past_rollouts_is_read_off_an_index(store: &Store) {
    let set = Set::with(store, 1, ALL, "").await;
    let live = set.submit().await;
    fill(store).await;
    let mut before = None;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let page = views::rollout_list(&store.ledger, false, 50, before).await.expect("an answer");
        ids.extend(page.rollouts.iter().map(|line| line.job.clone()));
        before =
            page.rollouts.last().map(|line| CampaignId::from_uuid(line.campaign.parse().expect("an id")));
    }
    let expected: Vec<String> = (0..250).map(|n| format!("past-{}", PAST - n)).collect();
    assert_eq!(ids, expected, "each once, the newest first");
    let only = views::rollout_list(&store.ledger, true, 50, None).await.expect("an answer");
    let campaigns: Vec<_> = only.rollouts.iter().map(|line| line.campaign.clone()).collect();
    assert_eq!(campaigns, [live.id.to_string()], "one is not over");
    let unknown = Some(CampaignId::from_uuid(uuid::Uuid::nil()));
    assert!(
        views::rollout_list(&store.ledger, false, 50, unknown).await.expect("an answer").rollouts.is_empty()
    );
    for (live, after_one) in [(false, false), (false, true), (true, false), (true, true)] {
        let plan = plan_of(&store.ledger, &listing(live, after_one)).await;
        assert!(!sorts_or_reads_all(&plan), "live: {live}, after one: {after_one}\n{plan}");
    }
}

/// Puts rollouts on record that are over, in one statement each.
async fn fill(store: &Store) {
    let plan = r#"{"name":"p","stages":[{"take":{"buckets":10000},"bake_ms":0,"manual_gate":false,"max_rate":null}],"quiet_hours":null,"avoid_quarter_hours":false}"#;
    let columns = "public_id, producer, job_id, digest, app, audience, class, intent, at_most, at_most_once, policy, \
         plan, received_at, expires_at";
    let values = |uuid: &str, zeros: &str| {
        format!(
            "{uuid}, 'marketing', 'past-' || n, {zeros}, 'pl.example.bank', 'everyone', 'internal', 'production', 1, \
             false, {zeros}, '{plan}', n, n"
        )
    };
    let rollouts = "insert into rollout (id, app, audience, at_most_once, expires_at, state, changed_at, finished_at) \
         select id, app, audience, false, expires_at, 'completed', received_at, received_at from campaign \
         where job_id like 'past-%'";
    let postgres = format!(
        "insert into campaign ({columns}) select {} from generate_series(1, {PAST}) n order by n; {rollouts}; \
         analyze campaign; analyze rollout",
        values("gen_random_uuid()", "decode(repeat('00', 32), 'hex')")
    );
    let sqlite = format!(
        "with recursive series(n) as (select 1 union all select n + 1 from series where n < {PAST}) \
         insert into campaign ({columns}) select {} from series order by n; {rollouts}; analyze",
        values("randomblob(16)", "zeroblob(32)")
    );
    store.tamper(&postgres, &sqlite).await;
}

/// How the database goes about a page.
async fn plan_of(ledger: &Ledger, sql: &str) -> String {
    let nobody = uuid::Uuid::nil();
    match ledger {
        Ledger::Postgres(store) => {
            let sql = format!("explain {sql}");
            let mut query = sqlx::query_scalar::<_, String>(&sql).bind(50_i64);
            if sql.contains("$2") {
                query = query.bind(nobody);
            }
            query.fetch_all(&store.pool).await.expect("a plan").join("\n")
        }
        Ledger::Sqlite(store) => {
            let sql = format!("explain query plan {sql}");
            let mut query = sqlx::query_as::<_, (i64, i64, i64, String)>(&sql).bind(50_i64);
            if sql.contains("$2") {
                query = query.bind(nobody);
            }
            let rows = query.fetch_all(&store.readers).await.expect("a plan");
            rows.into_iter().map(|row| row.3).collect::<Vec<_>>().join("\n")
        }
    }
}

/// A page is read off an index in its order; SQLite's "SCAN r" is its primary key, from its end. Those that live are few: their
/// index may be read whole.
fn sorts_or_reads_all(plan: &str) -> bool {
    if plan.contains("USING INDEX rollout_live") {
        return false;
    }
    ["Sort", "Seq Scan", "Hash", "TEMP B-TREE", "SCAN k"].iter().any(|sign| plan.contains(sign))
}
