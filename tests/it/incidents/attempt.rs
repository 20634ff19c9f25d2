//! How an incident is tried: each variant as a few attempts, and each attempt with a crowd of its own, so that the
//! simulators' record says which attempt rang whom.

use bellwether::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::file::{HitClass, Incident, MeantClass, Message, Variant};
use crate::harness::service::APP;

/// Phones of the audience that is hit. The incidents had thousands and millions of them; the limits here are as much smaller.
pub(super) const CROWD: usize = 6;
/// Phones of the audience that was meant.
pub(super) const MEANT: usize = 2;
/// Above so many devices two people approve a campaign, up to it one.
pub(super) const TWO_ABOVE: usize = 4;
/// Most devices of an audience file that is made for those who were meant.
const SMALL: usize = 3;
/// Most devices of an audience file that is made for everybody.
const LARGE: usize = 100;
/// People whom a text that nobody declared may reach.
pub(super) const TEXT_LIMIT: usize = 2;
/// Customers whom one direct job names: few enough that no limit of a text is met by two such jobs.
const NAMED: usize = TEXT_LIMIT / 2;
/// Devices that a producer of [`By::Day`] may reach in a day.
pub(super) const DAY_LIMIT: usize = 3;

/// Who enqueues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    /// A producer that may do all there is to do: only the guard's other rules and people stand between.
    Anything,
    /// A producer that may only test.
    Tests,
    /// A producer of direct messages with a bounded day.
    Day,
    /// One whom the broker knows, and the policy does not.
    Stranger,
}

impl By {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Anything => "anything",
            Self::Tests => "tests",
            Self::Day => "day",
            Self::Stranger => "stranger",
        }
    }
}

/// The audience of an attempt's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cohort {
    /// The whole crowd; perhaps its file asks for a proof.
    Crowd { class: HitClass, max_devices: usize, proof: bool },
    /// Those who were meant.
    Meant(MeantClass),
}

/// What is enqueued, before the next is.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// These jobs at once, until each has come to its end.
    Jobs(Vec<Value>),
    /// A job that was enqueued before.
    Again(Value),
    /// A job in a message that does not say who enqueues it.
    Anonymous(Value),
}

/// One attempt to ring a crowd.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// Unique; also the name of its audience, and the tag of its crowd.
    pub(super) id: String,
    pub(super) incident: String,
    pub(super) language: String,
    /// None for the message as it was meant.
    pub(super) variant: Option<Variant>,
    pub(super) by: By,
    pub(super) cohort: Cohort,
    pub(super) steps: Vec<Step>,
    /// How many of its phones the policy lets ring without an approval.
    pub(super) allowed: usize,
}

impl Attempt {
    /// The user ids of its crowd; those who were meant are the first of them.
    pub(super) fn users(&self) -> impl Iterator<Item = String> {
        users(&self.id, CROWD)
    }

    /// Every job, each once.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Value> {
        self.steps.iter().flat_map(|step| match step {
            Step::Jobs(jobs) => jobs.as_slice(),
            Step::Anonymous(job) => std::slice::from_ref(job),
            Step::Again(_) => &[],
        })
    }
}

fn users(id: &str, count: usize) -> impl Iterator<Item = String> {
    let id = id.to_owned();
    (0..count).map(move |n| format!("{id}.{n}"))
}

/// Writes one attempt's jobs.
struct Pen<'i> {
    incident: &'i Incident,
    variant: Option<Variant>,
    id: String,
    now: Timestamp,
    count: usize,
}

const TEST: Option<&str> = Some("test");
const PRODUCTION: Option<&str> = Some("production");

impl<'i> Pen<'i> {
    fn new(incident: &'i Incident, variant: Option<Variant>, name: &str, now: Timestamp) -> Self {
        let id = match variant {
            Some(variant) => format!("{}-{variant}-{name}", incident.id),
            None => format!("{}-{name}", incident.id),
        };
        Self { incident, variant, id, now, count: 0 }
    }

    fn text(&self) -> &'i Message {
        &self.incident.messages[0]
    }

    fn job(&mut self, intent: Option<&str>, to: &Value, message: &Message) -> Value {
        self.count += 1;
        let expires = self.now + SignedDuration::from_hours(2);
        let mut job = json!({"v": 1, "id": format!("{}.{}", self.id, self.count), "app": APP, "to": to,
            "expires_at": expires.to_string(), "notification": {"body": message.body}});
        if let Some(title) = &message.title {
            job["notification"]["title"] = json!(title);
        }
        if let Some(intent) = intent {
            job["intent"] = json!(intent);
        }
        job
    }

    fn campaign(&mut self, intent: Option<&str>, at_most: usize, message: &Message) -> Value {
        let mut job = self.job(intent, &json!({"audience": self.id, "at_most": at_most}), message);
        job["plan"] = json!("at-once");
        job
    }

    /// A campaign of each message, one after the other.
    fn campaigns(&mut self, intent: Option<&str>, at_most: usize) -> Vec<Step> {
        let messages = self.incident.messages.iter();
        messages.map(|message| Step::Jobs(vec![self.campaign(intent, at_most, message)])).collect()
    }

    /// One job that names a few of the crowd.
    fn named(&mut self, intent: Option<&str>, message: &Message) -> Value {
        let named: Vec<_> = users(&self.id, NAMED).collect();
        self.job(intent, &json!({ "users": named }), message)
    }

    /// A job for each of the crowd, as a loop in a program would write them.
    fn each(&mut self, text: impl Fn(usize) -> Message) -> Step {
        let people: Vec<_> = users(&self.id, CROWD).enumerate().collect();
        let mut job = |(n, user): (usize, String)| self.job(PRODUCTION, &json!({"users": [user]}), &text(n));
        Step::Jobs(people.into_iter().map(&mut job).collect())
    }

    fn ends(self, by: By, allowed: usize, steps: Vec<Step>) -> Attempt {
        let class = self.incident.hit.class;
        self.to(by, Cohort::Crowd { class, max_devices: LARGE, proof: false }, allowed, steps)
    }

    fn to(self, by: By, cohort: Cohort, allowed: usize, steps: Vec<Step>) -> Attempt {
        let (incident, language) = (self.incident.id.clone(), self.incident.language.clone());
        Attempt { id: self.id, incident, language, variant: self.variant, by, cohort, steps, allowed }
    }
}

/// Every attempt of an incident, its message as it was meant included.
pub(super) fn attempts(incident: &Incident) -> Vec<Attempt> {
    let now = Clock::system().now();
    let mut all: Vec<_> = as_meant(incident, now).into_iter().collect();
    for variant in incident.variants() {
        let pen = |name: &str| Pen::new(incident, Some(variant), name, now);
        all.extend(match variant {
            Variant::Labelled => labels(TEST, By::Anything, pen),
            Variant::Unlabelled => labels(None, By::Anything, pen),
            Variant::MislabelledScoped => labels(PRODUCTION, By::Tests, pen),
            Variant::MislabelledUnscoped => unscoped(pen),
            Variant::WrongAudience => wrong_audience(pen),
            Variant::ForgottenFilter => forgotten_filter(incident, pen),
            Variant::Replayed => replayed(pen),
            Variant::EmptyTemplate => empty_template(pen),
            Variant::LeakedCredential => leaked(pen),
            Variant::LabelLostInRelay => relayed(pen),
        });
    }
    all
}

/// With the right label, to the right audience: it must arrive, or the rest proves nothing.
fn as_meant(incident: &Incident, now: Timestamp) -> Option<Attempt> {
    let mut pen = Pen::new(incident, None, "meant", now);
    let intent = match incident.meant.class {
        MeantClass::Nobody => return None,
        MeantClass::Test => TEST,
        MeantClass::Internal | MeantClass::Production => PRODUCTION,
    };
    let steps = vec![Step::Jobs(vec![pen.campaign(intent, MEANT, pen.text())])];
    Some(pen.to(By::Anything, Cohort::Meant(incident.meant.class), MEANT, steps))
}

/// To everyone, in both lanes, with this label or none.
fn labels<'i>(intent: Option<&str>, by: By, pen: impl Fn(&str) -> Pen<'i>) -> Vec<Attempt> {
    let mut to_all = pen("all");
    let campaigns = to_all.campaigns(intent, CROWD);
    let mut named = pen("named");
    let job = named.named(intent, named.text());
    vec![to_all.ends(by, 0, campaigns), named.ends(by, 0, vec![Step::Jobs(vec![job])])]
}

fn looped(mut pen: Pen<'_>) -> Attempt {
    let text = pen.text();
    let step = pen.each(|_| text.clone());
    pen.ends(By::Anything, TEXT_LIMIT, vec![step])
}

/// One text after the other, none like another.
fn all_different(mut pen: Pen<'_>) -> Attempt {
    let text = pen.text();
    let step = pen.each(|n| Message { body: format!("{} ({n})", text.body), ..text.clone() });
    pen.ends(By::Day, DAY_LIMIT, vec![step])
}

/// A campaign that nothing is wrong with but what it says.
fn to_everyone(mut pen: Pen<'_>, proof: bool) -> Attempt {
    let (class, campaigns) = (pen.incident.hit.class, pen.campaigns(PRODUCTION, CROWD));
    pen.to(By::Anything, Cohort::Crowd { class, max_devices: LARGE, proof }, 0, campaigns)
}

fn unscoped<'i>(pen: impl Fn(&str) -> Pen<'i>) -> Vec<Attempt> {
    let (all, unproven) = (to_everyone(pen("all"), false), to_everyone(pen("unproven"), true));
    vec![all, unproven, looped(pen("each"))]
}

fn wrong_audience<'i>(pen: impl Fn(&str) -> Pen<'i>) -> Vec<Attempt> {
    // The producer knows how many it means, or copies the number of those whom it reaches.
    let to = |name: &str, at_most: usize| {
        let mut pen = pen(name);
        let job = pen.campaign(PRODUCTION, at_most, pen.text());
        pen.ends(By::Anything, 0, vec![Step::Jobs(vec![job])])
    };
    vec![to("bounded", MEANT), to("unbounded", CROWD), looped(pen("each"))]
}

fn forgotten_filter<'i>(incident: &Incident, pen: impl Fn(&str) -> Pen<'i>) -> Vec<Attempt> {
    let class = incident.hit.class;
    let to = |name: &str, max_devices: usize| {
        let mut pen = pen(name);
        let job = pen.campaign(PRODUCTION, max_devices, pen.text());
        pen.to(
            By::Anything,
            Cohort::Crowd { class, max_devices, proof: false },
            0,
            vec![Step::Jobs(vec![job])],
        )
    };
    // Whom it is for is not said at all: that is nobody, and not everybody.
    let mut lost = pen("lost");
    let mut job = lost.campaign(PRODUCTION, CROWD, lost.text());
    job.as_object_mut().expect("a job is an object").remove("to");
    vec![to("small", SMALL), to("large", LARGE), lost.ends(By::Anything, 0, vec![Step::Jobs(vec![job])])]
}

fn replayed<'i>(pen: impl Fn(&str) -> Pen<'i>) -> Vec<Attempt> {
    let mut late = pen("late");
    let mut old = [late.campaign(PRODUCTION, CROWD, late.text()), late.named(PRODUCTION, late.text())];
    for job in &mut old {
        job["expires_at"] = json!((late.now - SignedDuration::from_hours(1)).to_string());
    }
    let late = late.ends(By::Anything, 0, vec![Step::Jobs(old.into())]);
    let mut twice = pen("twice");
    let both = [(); 2].map(|()| Step::Jobs(vec![twice.campaign(PRODUCTION, CROWD, twice.text())]));
    let twice = twice.ends(By::Anything, 0, both.into());
    // Rightly sent to those who were meant, and then repeated by its queue.
    let mut known = pen("known");
    let job = known.named(PRODUCTION, known.text());
    let known = known.ends(By::Anything, NAMED, vec![Step::Jobs(vec![job.clone()]), Step::Again(job)]);
    vec![late, twice, known, all_different(pen("fresh"))]
}

fn empty_template<'i>(pen: impl Fn(&str) -> Pen<'i>) -> Vec<Attempt> {
    let mut to_all = pen("all");
    let job = to_all.campaign(PRODUCTION, CROWD, &to_all.text().unfilled());
    let to_all = to_all.ends(By::Anything, 0, vec![Step::Jobs(vec![job])]);
    let mut named = pen("named");
    let job = named.named(PRODUCTION, &named.text().unfilled());
    let named = named.ends(By::Anything, 0, vec![Step::Jobs(vec![job])]);
    // Filled in with nothing: no placeholder is left to be found, and everybody gets the same.
    let mut blank = pen("blank");
    let text = blank.text();
    let step = blank.each(|_| Message { body: format!(", {}", text.body), ..text.clone() });
    vec![to_all, named, blank.ends(By::Anything, TEXT_LIMIT, vec![step])]
}

fn leaked<'i>(pen: impl Fn(&str) -> Pen<'i>) -> Vec<Attempt> {
    vec![to_everyone(pen("all"), true), looped(pen("each")), all_different(pen("varied"))]
}

fn relayed<'i>(pen: impl Fn(&str) -> Pen<'i>) -> Vec<Attempt> {
    let mut attempts = labels(None, By::Anything, &pen);
    // Under the relay's own name, which the policy does not know; and under none.
    let mut stranger = pen("stranger");
    let job = stranger.campaign(TEST, CROWD, stranger.text());
    attempts.push(stranger.ends(By::Stranger, 0, vec![Step::Jobs(vec![job])]));
    let mut nameless = pen("nameless");
    let job = nameless.campaign(TEST, CROWD, nameless.text());
    attempts.push(nameless.ends(By::Anything, 0, vec![Step::Anonymous(job)]));
    // It takes what it relays for the real thing, and says so.
    let mut believed = pen("believed");
    let job = believed.campaign(PRODUCTION, CROWD, believed.text());
    attempts.push(believed.ends(By::Anything, 0, vec![Step::Jobs(vec![job])]));
    attempts
}
