//! What a person has seen on a tester's phone: what counts as seen, for how long, and what waits for it.

use std::time::Duration;

use super::{
    Store,
    campaign_set::{ALL, Set},
    fixtures::{APP, app},
};
use crate::{
    audience::{Class, GuardSettings},
    guard::Fingerprint,
    ledger::{CampaignRecord, NotProven, PastAsk, Submitted},
    model::{AudienceName, CampaignId, FindingNote, Intent, Job, OperatorName, ProducerId},
};

const REAL: (Intent, Class) = (Intent::Production, Class::Internal);

/// A campaign of these words to an audience of this class, with what the guard had to say.
async fn submit(
    set: &Set<'_>,
    id: &str,
    (intent, class): (Intent, Class),
    body: &str,
    holds: &[&str],
) -> CampaignRecord {
    let json = format!(
        r#"{{"v":1,"id":"{id}","app":"{APP}","intent":"{intent}","to":{{"audience":"everyone","at_most":9999}},
            "expires_at":"2199-01-01T00:00:00Z","notification":{{"body":"{body}"}}}}"#,
        intent = intent.as_str()
    );
    let job = Job::parse(json.as_bytes()).expect("a job");
    let key = job.key(&ProducerId::parse("marketing").expect("a producer"));
    let note = |rule: &&str| FindingNote {
        rule: (*rule).to_owned(),
        verdict: "hold".to_owned(),
        field: "notification".to_owned(),
        span: None,
        reason: String::new(),
        fix: String::new(),
    };
    let findings: Vec<_> = holds.iter().map(note).collect();
    let submitted = set.submit_by(set.ledger, (&job, &key), (intent, class), &findings, None).await;
    let Submitted::Stored(campaign) = submitted else { panic!("it is new") };
    set.ledger.campaign(campaign).await.expect("an answer").expect("it is there")
}

fn everyone() -> AudienceName {
    AudienceName::parse("everyone").expect("a name")
}

async fn complete(store: &Store, campaign: &CampaignRecord) {
    let id = campaign.rollout.get();
    let sql = format!("update rollout set state = 'completed', finished_at = 1 where id = {id}");
    store.tamper(&sql, &sql).await;
}

/// One phone has accepted it.
async fn rung(store: &Store, campaign: &CampaignRecord) {
    let id = campaign.rollout.get();
    let sql = format!(
        "insert into tally (rollout, stage, provider, worker, accepted) values ({id}, 0, 'fcm', 'a', 1)"
    );
    store.tamper(&sql, &sql).await;
}

async fn prove(set: &Set<'_>, campaign: CampaignId) -> Result<(), NotProven> {
    let tina = OperatorName::parse("tina").expect("a name");
    set.ledger.prove(campaign, &tina, "seen on both").await.expect("an answer")
}

async fn is_proven(set: &Set<'_>, body: &str) -> bool {
    let (producer, app) = (ProducerId::parse("marketing").expect("a producer"), app());
    let (audience, settings) = (everyone(), GuardSettings::default());
    let said = serde_json::from_value(serde_json::json!({ "body": body })).expect("a notification");
    let ask = PastAsk {
        producer: &producer,
        app: &app,
        audience: &audience,
        fingerprint: Fingerprint::of(&said),
        settings: &settings,
        at_most: 1,
        devices_per_day: None,
        proof_within: Some(Duration::from_hours(24)),
    };
    set.ledger.past(&ask).await.expect("an answer").proven
}

pub(super) async fn a_proof_is_a_finished_test_that_reached_somebody_and_counts_for_its_words(store: &Store) {
    let set = Set::with(store, 3, ALL, "").await;
    let unknown = CampaignId::from_uuid(uuid::Uuid::from_u128(1));
    assert_eq!(prove(&set, unknown).await, Err(NotProven::NoCampaign));
    let real = submit(&set, "real", REAL, "Nowa oferta 5%", &["proof-missing", "contagion"]).await;
    let other = submit(&set, "other", REAL, "Inna oferta", &["proof-missing"]).await;
    assert_eq!(prove(&set, real.id).await, Err(NotProven::NoTest));
    let elsewhere = submit(&set, "elsewhere", (Intent::Test, Class::Internal), "Nowa oferta 5%", &[]).await;
    complete(store, &elsewhere).await;
    rung(store, &elsewhere).await;
    assert_eq!(prove(&set, elsewhere.id).await, Err(NotProven::NoTest), "those were no testers");
    let test = submit(&set, "test", (Intent::Test, Class::Test), "nowa OFERTA 7 %!", &[]).await;
    assert_eq!(prove(&set, test.id).await, Err(NotProven::NotCompleted));
    complete(store, &test).await;
    assert_eq!(prove(&set, test.id).await, Err(NotProven::NobodyGotIt));
    rung(store, &test).await;
    assert!(!is_proven(&set, "Nowa oferta 5%").await);
    assert_eq!(prove(&set, test.id).await, Ok(()));
    assert!(is_proven(&set, "Nowa oferta 5%").await, "another number, other capitals");
    assert!(!is_proven(&set, "Nowa oferta dla Ciebie").await, "other words");
    // What waited for this waits for it no longer; for anything else it does.
    let findings = set.ledger.findings(real.rollout).await.expect("an answer");
    let open: Vec<_> =
        findings.iter().filter(|finding| finding.is_open()).map(|finding| &finding.note.rule).collect();
    assert_eq!(open, ["contagion"]);
    let (by, _, why) = findings[0].accepted.clone().expect("it is settled");
    assert_eq!((by.as_str(), why), ("tina", format!("proven by the test campaign {}", test.id)));
    assert!(set.ledger.findings(other.rollout).await.expect("an answer")[0].is_open(), "other words");
    let record = set.ledger.proof_by(test.rollout).await.expect("an answer").expect("it is proven");
    assert_eq!((record.by.as_str(), record.reason.as_str()), ("tina", "seen on both"));
    assert_eq!(set.ledger.proof_by(real.rollout).await.expect("an answer"), None);
    // Saying it again is no harm; after its time it is no proof any more.
    assert_eq!(prove(&set, test.id).await, Ok(()));
    let old = format!("update proof set proven_at = proven_at - {}", Duration::from_hours(25).as_micros());
    store.tamper(&old, &old).await;
    assert!(!is_proven(&set, "Nowa oferta 5%").await);
}
