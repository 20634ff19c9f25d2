//! The table: what is sent, and which reason must name which field.

use serde_json::{Value, json};

use crate::harness::service::APP;

/// Stands in the text of every notification below: it must be told nowhere.
pub(super) const SECRET: &str = "TAJNY-KOD-4711";

/// In whose name a case is published.
#[derive(Debug, Clone, Copy)]
pub(super) enum Who {
    /// A producer of the shipped policy.
    Producer(&'static str),
    /// A user of the broker that the policy does not know.
    Stranger,
    /// Without `user_id`.
    Nobody,
    /// With the `type` of the service's own pointers.
    Forger,
}

/// One message.
pub(super) struct Case {
    pub(super) what: &'static str,
    pub(super) who: Who,
    pub(super) body: Vec<u8>,
    pub(super) code: &'static str,
    pub(super) field: &'static str,
}

/// A good job of `cards`.
fn good(id: &str) -> Value {
    json!({
        "v": 1, "id": id, "app": APP, "intent": "production", "to": {"users": ["anna"]},
        "notification": {"title": SECRET, "body": format!("Kod {SECRET}")}
    })
}

/// Cases in the making.
#[derive(Default)]
struct Table(Vec<Case>);

impl Table {
    fn by(&mut self, who: Who, what: &'static str, code: &'static str, field: &'static str, body: Vec<u8>) {
        self.0.push(Case { what, who, body, code, field });
    }

    fn bytes(&mut self, what: &'static str, code: &'static str, body: impl Into<Vec<u8>>) {
        self.by(Who::Producer("cards"), what, code, "job", body.into());
    }

    /// A good job with `value` at `path`, as JSON pointers have it; what is missing on the way is made.
    fn set(&mut self, what: &'static str, code: &'static str, field: &'static str, path: &str, value: Value) {
        self.with(Who::Producer("cards"), what, code, field, |job| put(job, path, value));
    }

    /// A good job without what stands at `path`.
    fn without(&mut self, what: &'static str, code: &'static str, field: &'static str, path: &str) {
        let (parent, name) = path.rsplit_once('/').expect("a path");
        self.with(Who::Producer("cards"), what, code, field, |job| {
            let parent = job.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
            parent.remove(name).expect("a good job has it");
        });
    }

    fn with(
        &mut self,
        who: Who,
        what: &'static str,
        code: &'static str,
        field: &'static str,
        change: impl FnOnce(&mut Value),
    ) {
        let mut job = good(&format!("hostile-{}", self.0.len()));
        change(&mut job);
        self.by(who, what, code, field, job.to_string().into_bytes());
    }

    /// A good job whose text is changed after it was written.
    fn text(
        &mut self,
        what: &'static str,
        code: &'static str,
        field: &'static str,
        change: impl FnOnce(String) -> String,
    ) {
        let job = change(good(&format!("hostile-{}", self.0.len())).to_string());
        self.by(Who::Producer("cards"), what, code, field, job.into_bytes());
    }
}

fn put(job: &mut Value, path: &str, value: Value) {
    let mut at = job;
    for step in path.split('/').skip(1) {
        if at.is_null() {
            *at = json!({});
        }
        at = &mut at[step];
    }
    *at = value;
}

/// Every case.
pub(super) fn all() -> Vec<Case> {
    let mut table = Table::default();
    no_json(&mut table);
    not_an_object(&mut table);
    labels(&mut table);
    recipients(&mut table);
    notification(&mut table);
    times_and_marks(&mut table);
    refused_content(&mut table);
    producers(&mut table);
    table.0
}

fn no_json(t: &mut Table) {
    t.bytes("nothing at all", "not-json", "");
    t.bytes("half a job", "not-json", "{\"v\":1,");
    t.bytes("prose", "not-json", SECRET);
    t.bytes("invalid UTF-8", "not-utf8", b"{\"v\":1,\"id\":\"\xff\xfe\"}".to_vec());
    t.bytes("UTF-16", "not-utf8", b"\xff\xfe{\0\"\0v\0".to_vec());
    t.bytes("zero bytes", "not-json", vec![0; 512]);
    t.bytes("random bytes", "not-utf8", (0..=255).collect::<Vec<u8>>());
    t.text("a byte order mark", "not-json", "job", |job| format!("\u{feff}{job}"));
    t.text("two jobs", "not-json", "job", |job| format!("{job}{job}"));
    t.text("a comment", "not-json", "job", |job| format!("{job}// {SECRET}"));
    t.text("single quotes", "not-json", "job", |job| job.replace('"', "'"));
    t.text("a comma too many", "not-json", "job", |job| job.replacen("\"v\":1", "\"v\":1,", 1));
    t.text("not a number", "not-json", "job", |job| job.replacen("\"v\":1", "\"v\":NaN", 1));
    t.text("an infinite number", "not-json", "job", |job| job.replacen("\"v\":1", "\"v\":1e400", 1));
    t.text("half a surrogate pair", "not-json", "job", |job| job.replacen("Kod", "\\ud800", 1));
    t.text("a raw line break in a text", "not-json", "job", |job| job.replacen("Kod", "\n", 1));
    t.text("nested too deeply", "too-deep", "job", |job| {
        let deep = format!("\"apns\":{{\"a\":{}{}}},\"title\"", "[".repeat(30_000), "]".repeat(30_000));
        job.replacen("\"title\"", &deep, 1)
    });
    let endless = "{\"labels\":{\"a\":".repeat(4_000).into_bytes();
    t.by(Who::Producer("cards"), "objects without an end", "wrong-type", "labels.a", endless);
    t.text("padded above 64 KiB", "too-large", "job", |job| format!("{job}{}", " ".repeat(65_536)));
    t.bytes("10 MB", "too-large", vec![b'['; 10_000_000]);
    t.set("20 MB of labels", "too-large", "job", "/labels", json!({"team": "x".repeat(20_000_000)}));
}

fn not_an_object(t: &mut Table) {
    t.bytes("null", "wrong-type", "null");
    t.bytes("a number", "wrong-type", "4711");
    t.bytes("a string", "wrong-type", format!("{SECRET:?}"));
    t.text("a list of jobs", "wrong-type", "job", |job| format!("[{job}]"));
    let in_order = json!([1, "positional", APP, "production", {"users": ["anna"]}, {"body": SECRET}]);
    t.bytes("the fields as a list", "wrong-type", in_order.to_string());
    t.bytes("brackets without an end", "wrong-type", "[".repeat(60_000));
    t.set("recipients as a list", "wrong-type", "to", "/to", json!([null, null, ["anna"]]));
    t.set("the notification as a list", "wrong-type", "notification", "/notification", json!([null, SECRET]));
    let field = "notification.localized.en";
    t.set(
        "a translation as a list",
        "wrong-type",
        field,
        "/notification/localized/en",
        json!([null, SECRET]),
    );
}

fn labels(t: &mut Table) {
    t.without("no version", "missing-field", "v", "/v");
    t.set("another version", "unknown-version", "v", "/v", json!(2));
    t.set("a version in quotes", "wrong-type", "v", "/v", json!("1"));
    t.set("a negative version", "invalid-value", "v", "/v", json!(-1));
    t.set("a broken version", "wrong-type", "v", "/v", json!(1.5));
    t.without("no id", "missing-field", "id", "/id");
    t.set("a number as id", "wrong-type", "id", "/id", json!(7));
    t.set("an empty id", "invalid-value", "id", "/id", json!(""));
    t.set("an emoji as id", "invalid-value", "id", "/id", json!("🐑"));
    t.set("an id with a space", "invalid-value", "id", "/id", json!("a b"));
    t.set("an id with an escape", "invalid-value", "id", "/id", json!("\u{1b}[2J"));
    t.set("a null byte in the id", "invalid-value", "id", "/id", json!("a\u{0}b"));
    t.set("an id of 129 characters", "invalid-value", "id", "/id", json!("x".repeat(129)));
    t.without("no app", "label-missing", "app", "/app");
    t.set("an app that is null", "label-missing", "app", "/app", json!(null));
    t.set("an unknown app", "label-missing", "app", "/app", json!("pl.example.bnk"));
    t.set("an app of others", "producer-scope", "app", "/app", json!("pl.example.other"));
    t.set("a number as app", "wrong-type", "app", "/app", json!(7));
    t.set("an empty app", "invalid-value", "app", "/app", json!(""));
    t.set("SQL as app", "invalid-value", "app", "/app", json!("'; drop table device; --"));
    t.without("no intent", "label-missing", "intent", "/intent");
    t.set("an empty intent", "label-missing", "intent", "/intent", json!(""));
    t.set("a misspelt intent", "label-missing", "intent", "/intent", json!("prodution"));
    t.set("a shouted intent", "label-missing", "intent", "/intent", json!("PRODUCTION"));
    t.set("true as intent", "wrong-type", "intent", "/intent", json!(true));
    t.text("two intents", "duplicate-field", "intent", |job| job.replacen('{', "{\"intent\":\"test\",", 1));
    t.text("two texts", "duplicate-field", "notification.body", |job| {
        job.replacen("\"title\"", &format!("\"body\":\"{SECRET}\",\"title\""), 1)
    });
}

fn recipients(t: &mut Table) {
    let many = |count: usize| json!({"users": (0..count).map(|n| format!("u-{n}")).collect::<Vec<_>>()});
    t.without("nobody", "label-missing", "to", "/to");
    t.set("a name as recipients", "wrong-type", "to", "/to", json!("anna"));
    t.set("recipients without a kind", "invalid-value", "to", "/to", json!({}));
    t.set("two kinds of recipients", "invalid-value", "to", "/to/devices", json!([]));
    t.set("no users", "invalid-value", "to.users", "/to", json!({"users": []}));
    t.set("no devices", "invalid-value", "to.devices", "/to", json!({"devices": []}));
    t.set("a user that is no list", "wrong-type", "to.users", "/to/users", json!("anna"));
    t.set("a number as user", "wrong-type", "to.users[1]", "/to/users", json!(["anna", 7]));
    t.set("null as user", "wrong-type", "to.users[0]", "/to/users", json!([null]));
    t.set("an empty user", "invalid-value", "to.users[0]", "/to/users", json!([""]));
    t.set("a user that clears the screen", "invalid-value", "to.users[0]", "/to/users", json!(["\u{1b}[2J"]));
    t.set("a device that is no id", "invalid-value", "to.devices[0]", "/to", json!({"devices": ["7"]}));
    t.set("21 users", "producer-scope", "to.users", "/to", many(21));
    t.set("101 users", "producer-scope", "to.users", "/to", many(101));
    t.set("an unknown kind", "unknown-field", "to.topic", "/to/topic", json!("all"));
    let all = |at_most: Value| json!({"audience": "customers-pl", "at_most": at_most});
    t.set("an audience without a bound", "missing-field", "to.at_most", "/to", json!({"audience": "staff"}));
    t.set("a negative bound", "invalid-value", "to.at_most", "/to", all(json!(-1)));
    t.set("a huge bound", "wrong-type", "to.at_most", "/to", all(json!(1e30)));
    t.set("an audience for ever", "missing-field", "expires_at", "/to", all(json!(5)));
    let path = json!({"audience": "../../etc/passwd", "at_most": 1});
    t.set("a path as audience", "invalid-value", "to.audience", "/to", path);
}

fn notification(t: &mut Table) {
    const AT: &str = "/notification";
    t.without("no notification", "missing-field", "notification", AT);
    t.set("a text as notification", "wrong-type", "notification", AT, json!(SECRET));
    t.without("no text", "missing-field", "notification.body", "/notification/body");
    let mut at = |what, code, field: &'static str, value| {
        let path = format!("/{}", field.replace('.', "/"));
        t.set(what, code, field, &path, value);
    };
    at("a number as text", "wrong-type", "notification.body", json!(7));
    at("an empty text", "invalid-value", "notification.body", json!(""));
    at("a blank text", "invalid-value", "notification.body", json!(" \u{a0}\n\t"));
    at("texts in a list", "wrong-type", "notification.body", json!([SECRET]));
    at("a number as title", "wrong-type", "notification.title", json!(7));
    at("an unknown field", "unknown-field", "notification.sound", json!(SECRET));
    at("an unknown field at the top", "unknown-field", "tittle", json!(SECRET));
    at("translations in a list", "wrong-type", "notification.localized", json!([]));
    at("a bare translation", "wrong-type", "notification.localized.en", json!(SECRET));
    at("a translation that is null", "wrong-type", "notification.localized.en.body", json!(null));
    at("an unknown field of a translation", "unknown-field", "notification.localized.en.sound", json!("x"));
    at("a number as category", "wrong-type", "notification.category", json!(7));
    at("a number as link", "wrong-type", "notification.link", json!(7));
    at("a number in data", "wrong-type", "notification.data.k", json!(7));
    at("an object in data", "wrong-type", "notification.data.k", json!({"k": SECRET}));
    at("a number as collapse id", "wrong-type", "notification.collapse_id", json!(7));
    at("an unknown priority", "invalid-value", "notification.priority", json!("urgent"));
    at("a string for APNs", "wrong-type", "notification.apns", json!(SECRET));
    at("a list for FCM", "wrong-type", "notification.fcm", json!([SECRET]));
    let (field, title) = ("notification.localized.en.body", json!({"title": SECRET}));
    t.set("a translated title alone", "missing-field", field, "/notification/localized/en", title);
}

fn times_and_marks(t: &mut Table) {
    let mut at =
        |what, code, field: &'static str, value| t.set(what, code, field, &format!("/{field}"), value);
    at("a word as expiry", "invalid-value", "expires_at", json!("tomorrow"));
    at("a number as expiry", "wrong-type", "expires_at", json!(1_900_000_000));
    at("past its expiry", "expired", "expires_at", json!("2020-08-05T14:00:00Z"));
    at("an expiry too far ahead", "expired", "expires_at", json!("9999-01-01T00:00:00Z"));
    at("a word as beginning", "invalid-value", "not_before", json!("now"));
    at("a yes as at_most_once", "wrong-type", "at_most_once", json!("yes"));
    at("a plan with a space", "invalid-value", "plan", json!("very cautious"));
    at("labels in a list", "wrong-type", "labels", json!([]));
    let many: serde_json::Map<_, _> = (0..21).map(|n| (n.to_string(), json!(""))).collect();
    at("21 labels", "invalid-value", "labels", many.into());
    at("a long label", "invalid-value", "labels", json!({"team": "x".repeat(101)}));
    t.set("a number as label", "wrong-type", "labels.team", "/labels/team", json!(7));
    t.with(Who::Producer("cards"), "over before it begins", "invalid-value", "not_before", |job| {
        job["not_before"] = json!("2030-01-02T00:00:00Z");
        job["expires_at"] = json!("2030-01-01T00:00:00Z");
    });
    t.set(
        "a beginning after the default expiry",
        "expired",
        "expires_at",
        "/not_before",
        json!("2100-01-01T00:00:00Z"),
    );
}

fn refused_content(t: &mut Table) {
    let mut at = |what, code, field: &'static str, value| {
        t.set(what, code, field, &format!("/{}", field.replace('.', "/")), value);
    };
    at("an unfilled text", "unfilled-template", "notification.body", json!(format!("{SECRET} {{{{name}}}}")));
    at("an unfilled title", "unfilled-template", "notification.title", json!("Hello %s"));
    at("an unfilled translation", "unfilled-template", "notification.localized.en.body", json!("Hi ${name}"));
    at("no value", "unfilled-template", "notification.body", json!("Hello undefined"));
    at("an unfilled key", "unfilled-template", "notification.body", json!("push.order.shipped.body"));
    let long = json!({"body": SECRET.repeat(300)});
    at("4,200 bytes in one translation", "payload-limits", "notification.localized.en", long);
    at("a long collapse id", "payload-limits", "notification.collapse_id", json!("x".repeat(65)));
    at("an empty collapse id", "payload-limits", "notification.collapse_id", json!(""));
    at("a header in the collapse id", "payload-limits", "notification.collapse_id", json!("a\r\nb: c"));
    at("a letter outside ASCII", "payload-limits", "notification.collapse_id", json!("ą"));
    at("a key that FCM reserves", "payload-limits", "notification.data", json!({"from": "x"}));
    at("a prefix that FCM reserves", "payload-limits", "notification.data", json!({"google.x": "x"}));
    at("the same, passed through", "payload-limits", "notification.fcm.data", json!({"gcm.x": "x"}));
    at("the key that APNs reserves", "payload-limits", "notification.data.aps", json!("x"));
    at("a string as aps", "payload-limits", "notification.apns.aps", json!(SECRET));
    at("everybody, by topic", "payload-limits", "notification.fcm.topic", json!("all"));
    at("everybody, by condition", "payload-limits", "notification.fcm.condition", json!("'a' in topics"));
    at("somebody else, by token", "payload-limits", "notification.fcm.token", json!("token"));
    at("a number as android", "payload-limits", "notification.fcm.android", json!(1));
    at("a string as android's", "payload-limits", "notification.fcm.android.notification", json!("x"));
    at("a used id", "id-reused", "id", json!("used"));
}

fn producers(t: &mut Table) {
    t.with(Who::Producer("marketing"), "a campaign's producer", "producer-scope", "to.users", |_| {});
    t.with(Who::Producer("qa"), "a tester's production", "producer-scope", "intent", |_| {});
    t.with(Who::Producer("mobile-backend"), "no jobs at all", "producer-scope", "intent", |_| {});
    t.with(Who::Producer("qa"), "a test to a customer", "test-to-production", "to.users[0]", |job| {
        job["intent"] = json!("test");
    });
    t.with(Who::Stranger, "a stranger", "label-missing", "producer", |_| {});
    t.with(Who::Nobody, "nobody's job", "missing-field", "user_id", |_| {});
    let pointer = json!({"producer": "cards", "job": "used", "tries": 1}).to_string();
    t.by(Who::Forger, "a forged pointer", "unknown-field", "job", pointer.into_bytes());
}
