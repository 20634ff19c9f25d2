//! What the rules' tests ask about: a sound job of a small policy, and changes to it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Rule, clear, recheck};
use crate::{
    audience::{Policy, PolicyFile},
    guard::{
        Cleared, DirectReach, Facts, Finding, FoundRecipient, OverDay, Past, TextLimit, Verdict, case::Case,
    },
    model::{
        AppId, Bucket, CampaignId, Device, DeviceId, Digest, Environment, Job, JobKey, Platform, ProducerId,
        Recipients, RecordId, Token, UserId,
    },
};

/// A job, who asks, who was found, and when. The policy's testers of `bank` are `qa-1` to `qa-5`.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    json: Value,
    producer: &'static str,
    now: Timestamp,
    devices_each: usize,
    environment: Environment,
    max_recipients: usize,
    /// Who the registry says owns the devices, instead of who was asked for.
    owner: Option<UserId>,
    past: Past,
    reach: DirectReach,
}

impl Sample {
    /// A production job to one customer; clear as it stands.
    pub(super) fn direct() -> Self {
        Self {
            json: json!({
                "v": 1, "id": "j-1", "app": "bank", "intent": "production", "to": {"users": ["u-1"]},
                "notification": {"title": "Płatność kartą", "body": "Zapłacono 50,00 zł w sklepie Żabka"}
            }),
            producer: "cards",
            now: "2026-11-21T12:00:00Z".parse().expect("an instant"),
            devices_each: 1,
            environment: Environment::Production,
            max_recipients: 100,
            owner: None,
            past: Past::default(),
            reach: DirectReach::default(),
        }
    }

    /// A test job to one person.
    pub(super) fn test_to(user: &str) -> Self {
        Self::direct().change(|job| {
            job["intent"] = json!("test");
            job["to"] = json!({"users": [user]});
        })
    }

    /// A job to an audience.
    pub(super) fn campaign(intent: &str, audience: &str) -> Self {
        Self::direct().change(|job| {
            job["intent"] = json!(intent);
            job["to"] = json!({"audience": audience, "at_most": 10});
            job["expires_at"] = json!("2026-11-21T20:00:00Z");
        })
    }

    pub(super) fn change(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.json);
        self
    }

    pub(super) fn body(self, body: &str) -> Self {
        self.change(|job| job["notification"]["body"] = json!(body))
    }

    pub(super) fn by(self, producer: &'static str) -> Self {
        Self { producer, ..self }
    }

    pub(super) fn at(&self, now: &str) -> Self {
        Self { now: now.parse().expect("an instant"), ..self.clone() }
    }

    pub(super) fn devices_each(self, devices_each: usize) -> Self {
        Self { devices_each, ..self }
    }

    pub(super) fn sandbox(self) -> Self {
        Self { environment: Environment::Sandbox, ..self }
    }

    pub(super) fn max_recipients(self, max_recipients: usize) -> Self {
        Self { max_recipients, ..self }
    }

    pub(super) fn owned_by(self, user: &str) -> Self {
        Self { owner: Some(UserId::parse(user).expect("a user")), ..self }
    }

    /// Something of the producer's was stopped then.
    pub(super) fn flagged_at(mut self, at: &str) -> Self {
        self.past.flagged = Some(at.parse().expect("an instant"));
        self
    }

    /// The same was said by a campaign before.
    pub(super) fn duplicate_of(mut self, n: u128) -> Self {
        self.past.duplicate = Some((CampaignId::from_uuid(uuid::Uuid::from_u128(n)), self.now));
        self
    }

    pub(super) fn over_text(self, over: TextLimit) -> Self {
        Self { reach: DirectReach { over_text: Some(over), over_day: None }, ..self }
    }

    /// The producer may reach so many a day, and did so; or would, with a hundred more.
    pub(super) fn over_day(mut self, devices_per_day: u64) -> Self {
        self.reach.over_day = Some(devices_per_day);
        self.past.over_day = Some(OverDay { devices_per_day, today: devices_per_day + 100 });
        self
    }

    /// Somebody has seen it.
    pub(super) fn proven(mut self) -> Self {
        self.past.proven = true;
        self
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn key(&self) -> JobKey {
        self.job().key(&ProducerId::parse(self.producer).expect("a producer"))
    }

    pub(super) fn job(&self) -> Job {
        Job::parse(self.json.to_string().as_bytes()).expect("a job whose form is right")
    }

    pub(super) fn found(&self) -> Vec<FoundRecipient> {
        let devices = |owner: &UserId| -> Vec<Device> {
            (0..self.devices_each).map(|n| device(owner, n, self.environment)).collect()
        };
        match self.job().to() {
            Some(Recipients::Users(users)) => users
                .iter()
                .map(|user| FoundRecipient::User(user.clone(), devices(self.owner.as_ref().unwrap_or(user))))
                .collect(),
            Some(Recipients::Devices(ids)) => ids
                .iter()
                .map(|id| {
                    let found =
                        self.owner.as_ref().map(|owner| Device { id: *id, ..devices(owner)[0].clone() });
                    FoundRecipient::Device(*id, found)
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn with_case<T>(&self, ask: impl FnOnce(Case<'_>) -> T) -> T {
        let (job, key, policy, recipients) = (self.job(), self.key(), policy(), self.found());
        let facts = self.facts(&recipients);
        ask(Case::new(&job, &key, &policy, &facts, self.now))
    }

    fn facts<'a>(&self, recipients: &'a [FoundRecipient]) -> Facts<'a> {
        // The job arrived at noon, whatever the hour is now.
        let received_at = "2026-11-21T12:00:00Z".parse().expect("an instant");
        let (past, reach) = (self.past, self.reach);
        Facts { recipients, max_recipients: self.max_recipients, received_at, past, reach }
    }

    pub(super) fn clear(&self) -> Verdict {
        let recipients = self.found();
        clear(&self.job(), &self.key(), &policy(), &self.facts(&recipients), self.now)
    }

    pub(super) fn recheck(&self) -> Result<Cleared, Vec<Finding>> {
        let recipients = self.found();
        let verdict = recheck(&self.job(), &self.key(), &policy(), &self.facts(&recipients), self.now);
        match verdict {
            Verdict::Clear(cleared, _) => Ok(cleared),
            Verdict::Hold(findings) | Verdict::Refuse(findings) => Err(findings),
        }
    }

    /// What `rule` has to say.
    pub(super) fn findings(&self, rule: Rule) -> Vec<Finding> {
        self.clear().findings().iter().filter(|finding| finding.rule == rule).cloned().collect()
    }

    /// The field of the one Refuse that `rule` must answer.
    pub(super) fn refused_by(&self, rule: Rule) -> String {
        assert!(matches!(self.clear(), Verdict::Refuse(_)), "must be refused");
        let findings = self.findings(rule);
        let [finding] = &findings[..] else { panic!("one finding of {}: {findings:?}", rule.id()) };
        finding.field.clone()
    }

    pub(super) fn is_clear(&self) -> bool {
        matches!(self.clear(), Verdict::Clear(..))
    }
}

pub(super) fn device(owner: &UserId, n: usize, environment: Environment) -> Device {
    let bucket = Bucket::of(owner);
    Device {
        record: RecordId::new(i64::try_from(n).expect("a small number")),
        id: DeviceId::derive(bucket, owner, &Digest::of(&n.to_be_bytes())),
        user: owner.clone(),
        bucket,
        app: AppId::parse("bank").expect("an app"),
        platform: Platform::Ios,
        environment,
        token: Token::parse("abc").expect("a token"),
        language: None,
        registered_at: Timestamp::UNIX_EPOCH,
    }
}

pub(crate) fn policy() -> Policy {
    policy_with("")
}

/// The same, with these lines of the app `bank`.
pub(super) fn policy_with(of_bank: &str) -> Policy {
    let app = |id: &str| {
        format!(
            "[apps.{id}]\ndefault_locale = \"pl\"\ntimezone = \"Europe/Warsaw\"\nlink_hosts = [\"bank.example.pl\", \"staging.bank.example.pl\"]\n\
             fcm = {{ project = \"p\", max_rate = 10 }}\n"
        )
    };
    let shadow = app("shadow") + "guard = { shadow = [\"staging-link\", \"duplicate-campaign\"] }\n";
    let files = [
        ("apps.toml", app("bank") + of_bank + &app("other") + &shadow),
        (
            "producers.toml",
            "[producers.cards]\nowners = [\"lead\"]\napps = [\"bank\"]\nintents = [\"test\", \"production\"]\n\
             audiences = [\"customers\", \"qa\", \"staff\", \"planless\", \"proven\", \"far-away\"]\ndirect_limit = 20\n\
             [producers.shadowed]\nowners = [\"lead\"]\napps = [\"bank\", \"shadow\"]\n\
             intents = [\"production\"]\ndirect_limit = 20\n\
             [[producers.cards.direct_text]]\ntext = \"Twój kod: {code}\"\nmax_users = 1000\nwithin = \"1h\"\n\
             [producers.qa]\nowners = [\"lead\"]\napps = [\"bank\"]\nintents = [\"test\"]\n"
                .to_owned(),
        ),
        (
            "cohorts/qa.toml",
            "class = \"test\"\napp = \"bank\"\nmembers_file = \"qa.txt\"\ndefault_plan = \"at-once\"\n[limits]\nmax_devices = 10\n".to_owned(),
        ),
        ("cohorts/qa.txt", "qa-1\nqa-2\nqa-3\nqa-4\nqa-5\n".to_owned()),
        (
            "cohorts/staff.toml",
            "class = \"internal\"\napp = \"bank\"\nmembers_file = \"staff.txt\"\ndefault_plan = \"at-once\"\n\
             [limits]\nmax_devices = 10\n"
                .to_owned(),
        ),
        (
            "cohorts/planless.toml",
            "class = \"internal\"\napp = \"bank\"\nmembers_file = \"staff.txt\"\n[limits]\nmax_devices = 10\n"
                .to_owned(),
        ),
        (
            "cohorts/proven.toml",
            "class = \"production\"\napp = \"bank\"\nproof = \"required\"\ndefault_plan = \"argued\"\n\
             [select]\ncountry = [\"PL\"]\n[limits]\nmax_devices = 10\napprovals = [{ above = 0, people = 1 }]\n"
                .to_owned(),
        ),
        (
            "cohorts/far-away.toml",
            "class = \"production\"\napp = \"bank\"\ndefault_plan = \"argued\"\n[select]\ncountry = [\"AF\"]\n\
             [limits]\nmax_devices = 10\napprovals = [{ above = 0, people = 1 }]\n"
                .to_owned(),
        ),
        (
            "cohorts/others.toml",
            "class = \"internal\"\napp = \"other\"\nmembers_file = \"elsewhere.txt\"\n[limits]\nmax_devices = 10\n"
                .to_owned(),
        ),
        ("plans/at-once.toml", "[[stage]]\npercent = 100\n".to_owned()),
        ("plans/argued.toml", "customers_first = \"an outage\"\n[[stage]]\npercent = 100\n".to_owned()),
        (
            "plans/staff-first.toml",
            "[[stage]]\naudience = \"staff\"\n[[stage]]\npercent = 100\n".to_owned(),
        ),
        (
            "plans/elsewhere-first.toml",
            "[[stage]]\naudience = \"others\"\n[[stage]]\npercent = 100\n".to_owned(),
        ),
        ("cohorts/staff.txt", "staff-1\n".to_owned()),
        (
            "cohorts/customers.toml",
            "class = \"production\"\napp = \"bank\"\ndefault_plan = \"staff-first\"\n[select]\ncountry = [\"PL\"]\n\
             [limits]\nmax_devices = 10_000\napprovals = [{ above = 0, people = 1 }]\n"
                .to_owned(),
        ),
        (
            "cohorts/elsewhere.toml",
            "class = \"test\"\napp = \"other\"\nmembers_file = \"elsewhere.txt\"\n[limits]\nmax_devices = 10\n"
                .to_owned(),
        ),
        ("cohorts/elsewhere.txt", "other-1\n".to_owned()),
    ];
    let files = files.map(|(path, text)| PolicyFile { path: path.to_owned(), text });
    Policy::parse(&files).expect("a sound policy")
}
