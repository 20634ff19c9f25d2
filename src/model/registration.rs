//! A registration: what a producer with the `devices` scope says of one phone, parsed from JSON.
//!
//! Nothing in an error quotes what stood there: a value may be a token, or a token in the wrong field (I12).

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::{
    AppId, Attributes, DeviceId, Digest, Environment, Locale, Malformed, MalformedCode, NewDevice, Platform,
    Tags, Token, UserId,
    fields::{MAX_TEXT, country_code, one_case, rule, short_text},
    malformed::{explain, not_json},
    object::Object,
};

/// Largest registration, in bytes: the longest token and every other field at its longest fit four times over.
pub const MAX_REGISTRATION_BYTES: usize = 16 * 1024;

/// A registration whose form is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Which phone.
    pub phone: Phone,
    /// The producer's count of its changes; a lower or equal one than that on record is late.
    pub version: i64,
    /// What becomes of it.
    pub change: Change,
}

/// An installation as its provider knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone {
    /// Which app.
    pub app: AppId,
    /// Which provider reaches it.
    pub platform: Platform,
    /// Which of the provider's worlds.
    pub environment: Environment,
    /// The provider's address.
    pub token: Token,
}

/// What becomes of a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is this person's, and nothing is known of it but what is said here.
    Register(UserId, Particulars),
    /// What is said changes, the rest stays.
    Update(Option<UserId>, Particulars),
    /// It is nobody's; of a person who is named, only if it still is theirs.
    Remove(Option<UserId>),
}

/// Nothing, a value, or that there is none (`null`).
type Said<T> = Option<Option<T>>;

/// What is said of a phone beyond whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Particulars {
    country: Said<String>,
    language: Said<Locale>,
    timezone: Said<String>,
    app_version: Said<String>,
    last_seen_at: Said<Timestamp>,
    tags: Said<Tags>,
    attributes: Said<Attributes>,
}

impl Particulars {
    /// Changes what is said, and leaves the rest.
    pub fn apply_to(&self, device: &mut NewDevice) {
        let Self { country, language, timezone, app_version, last_seen_at, tags, attributes } = self.clone();
        replace(&mut device.country, country);
        replace(&mut device.language, language);
        replace(&mut device.timezone, timezone);
        replace(&mut device.app_version, app_version);
        replace(&mut device.last_seen_at, last_seen_at);
        device.tags = tags.map_or_else(|| std::mem::take(&mut device.tags), Option::unwrap_or_default);
        device.attributes =
            attributes.map_or_else(|| std::mem::take(&mut device.attributes), Option::unwrap_or_default);
    }
}

fn replace<T>(field: &mut Option<T>, said: Said<T>) {
    if let Some(said) = said {
        *field = said;
    }
}

impl Phone {
    /// This phone in a person's hands, with nothing else known of it.
    #[must_use]
    pub fn of(&self, user: UserId) -> NewDevice {
        NewDevice {
            user,
            app: self.app.clone(),
            platform: self.platform,
            environment: self.environment,
            token: self.token.clone(),
            country: None,
            language: None,
            timezone: None,
            app_version: None,
            last_seen_at: None,
            tags: Tags::default(),
            attributes: Attributes::default(),
        }
    }

    /// What is unique across the registry; see [`NewDevice::owner_key`].
    #[must_use]
    pub fn owner_key(&self) -> Digest {
        super::device::owner_key(&self.app, self.platform, self.environment, &self.token)
    }

    /// The id that it has in a person's hands.
    #[must_use]
    pub fn id_of(&self, user: &UserId) -> DeviceId {
        DeviceId::derive(super::Bucket::of(user), user, &self.owner_key())
    }
}

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Operation {
    /// The phone is this person's; what is not said of it is not known.
    Register,
    /// What is said of a registered phone changes, the rest stays.
    Update,
    /// The phone is not to be rung any more.
    Remove,
}

/// A registration as it stands on the wire (version 1).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Registration")]
#[schemars(extend(
    "if" = { "properties": { "operation": { "const": "register" } } },
    "then" = { "required": ["user_id"] }
))]
struct Wire {
    /// The version of this format: 1.
    #[schemars(extend("const" = 1))]
    v: u64,
    /// `register`, `update` or `remove`.
    operation: Operation,
    /// Higher with each change of this phone; a message that is not higher than the last one is ignored.
    #[schemars(range(min = 0, max = 9_223_372_036_854_775_807_i64))]
    version: u64,
    /// Which app is installed.
    #[schemars(with = "AppId")]
    app: String,
    /// `ios` or `android`.
    platform: Platform,
    /// `production` unless it says otherwise.
    #[serde(default)]
    #[schemars(with = "Option<Environment>")]
    environment: Option<Environment>,
    /// The provider's address.
    #[schemars(extend("minLength" = 1, "maxLength" = Token::MAX_BYTES, "pattern" = "^[A-Za-z0-9._:~-]+$"))]
    token: String,
    /// Whose it is. Required to register; in an update it moves the phone; a removal that names it removes the phone only
    /// if it is still this person's.
    #[serde(default)]
    #[schemars(with = "Option<UserId>")]
    user_id: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[serde(default, deserialize_with = "said")]
    #[schemars(with = "Option<String>", extend("pattern" = "^[A-Z]{2}$"))]
    country: Said<String>,
    /// BCP 47.
    #[serde(default, deserialize_with = "said")]
    #[schemars(with = "Option<Locale>")]
    language: Said<String>,
    /// IANA time zone name.
    #[serde(default, deserialize_with = "said")]
    #[schemars(with = "Option<String>", extend("maxLength" = MAX_TEXT))]
    timezone: Said<String>,
    /// The app's version.
    #[serde(default, deserialize_with = "said")]
    #[schemars(with = "Option<String>", extend("maxLength" = MAX_TEXT))]
    app_version: Said<String>,
    /// When the app was last opened.
    #[serde(default, deserialize_with = "said")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    last_seen_at: Said<String>,
    /// For audiences to select by.
    #[serde(default, deserialize_with = "said")]
    #[schemars(with = "Option<Tags>")]
    tags: Said<Tags>,
    /// The same, with a value each.
    #[serde(default, deserialize_with = "said")]
    #[schemars(with = "Option<Attributes>")]
    attributes: Said<Attributes>,
}

/// A field that stands there, be it null.
fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Said<T>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Registration {
    /// Reads a registration (the format: README, "Devices by queue").
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        use MalformedCode as Code;
        if bytes.len() > MAX_REGISTRATION_BYTES {
            let problem = format!("{} bytes; at most {MAX_REGISTRATION_BYTES} are accepted", bytes.len());
            return Err(Malformed::new(Code::TooLarge, WHOLE, problem));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let problem = format!("not UTF-8 at byte {}; encode it as UTF-8", error.valid_up_to());
            Malformed::new(Code::NotUtf8, WHOLE, problem)
        })?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let wire: Wire = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| unquoted(explain(&error, text, WHOLE)))
            .and_then(|Object(wire)| reader.end().map(|()| wire).map_err(|error| not_json(&error, WHOLE)))?;
        Self::check(&wire)
    }

    fn check(wire: &Wire) -> Result<Self, Malformed> {
        use MalformedCode as Code;
        if wire.v != 1 {
            let problem = format!("version {} is not known; this service reads version 1", wire.v);
            return Err(Malformed::new(Code::UnknownVersion, "v", problem));
        }
        let version = i64::try_from(wire.version)
            .map_err(|_| Malformed::new(Code::InvalidValue, "version", "is more than 2^63 - 1"))?;
        let platform = wire.platform;
        let token = value("token", &wire.token, |text| Token::parse(&one_case(platform, text)))?;
        let app = value("app", &wire.app, |text| AppId::parse(text).ok())?;
        let environment = wire.environment.unwrap_or(Environment::Production);
        let user = wire.user_id.as_deref();
        let user = user.map(|user| value("user_id", user, |text| UserId::parse(text).ok())).transpose()?;
        let particulars = particulars(wire)?;
        let change = match (wire.operation, user) {
            (Operation::Register, Some(user)) => Change::Register(user, particulars),
            (Operation::Register, None) => {
                let problem = "is required to register a phone";
                return Err(Malformed::new(Code::MissingField, "user_id", problem));
            }
            (Operation::Update, user) => Change::Update(user, particulars),
            (Operation::Remove, user) => match named(wire) {
                None => Change::Remove(user),
                Some(field) => {
                    let problem = "says something of a phone that is to go; leave it out, or send an update";
                    return Err(Malformed::new(Code::InvalidValue, field, problem));
                }
            },
        };
        Ok(Self { phone: Phone { app, platform, environment, token }, version, change })
    }

    /// The device that this is about, if the message says whose it is.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        let user = match &self.change {
            Change::Register(user, _) => Some(user),
            Change::Update(user, _) | Change::Remove(user) => user.as_ref(),
        };
        user.map(|user| self.phone.id_of(user))
    }
}

/// The path of the whole message.
const WHOLE: &str = "registration";

/// Everything that can be said of a phone beyond whose it is.
fn particulars(wire: &Wire) -> Result<Particulars, Malformed> {
    Ok(Particulars {
        country: optional("country", wire.country.as_ref(), country_code)?,
        language: optional("language", wire.language.as_ref(), |text| Locale::parse(text).ok())?,
        timezone: optional("timezone", wire.timezone.as_ref(), short_text)?,
        app_version: optional("app_version", wire.app_version.as_ref(), short_text)?,
        last_seen_at: optional("last_seen_at", wire.last_seen_at.as_ref(), |text| text.parse().ok())?,
        tags: wire.tags.clone(),
        attributes: wire.attributes.clone(),
    })
}

/// The first particular that is said.
fn named(wire: &Wire) -> Option<&'static str> {
    let said = [
        ("country", wire.country.is_some()),
        ("language", wire.language.is_some()),
        ("timezone", wire.timezone.is_some()),
        ("app_version", wire.app_version.is_some()),
        ("last_seen_at", wire.last_seen_at.is_some()),
        ("tags", wire.tags.is_some()),
        ("attributes", wire.attributes.is_some()),
    ];
    said.into_iter().find_map(|(field, is_said)| is_said.then_some(field))
}

fn value<T>(field: &str, text: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, Malformed> {
    parse(text).ok_or_else(|| Malformed::new(MalformedCode::InvalidValue, field, rule(field)))
}

fn optional<T>(
    field: &str,
    said: Option<&Option<String>>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Said<T>, Malformed> {
    match said {
        None => Ok(None),
        Some(None) => Ok(Some(None)),
        Some(Some(text)) => value(field, text, parse).map(|value| Some(Some(value))),
    }
}

/// A name of a field is told so that a typo is found; what does not look like one may be a token.
fn unquoted(malformed: Malformed) -> Malformed {
    let is_word = |name: &str| name.len() <= 32 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if is_word(&malformed.field) {
        return Malformed { id: None, ..malformed };
    }
    let problem = "is not a field of a registration; `bellwether device schema` has them all";
    Malformed::new(malformed.code, "an unknown name", problem)
}

/// The JSON Schema (draft 2020-12) of a registration.
#[must_use]
pub fn registration_schema() -> serde_json::Value {
    schemars::schema_for!(Wire).to_value()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message() -> Value {
        json!({"v": 1, "operation": "register", "version": 7, "app": "pl.example.bank", "platform": "ios",
               "token": "ABCDEF", "user_id": "u-1", "country": "PL", "last_seen_at": "2026-11-01T00:00:00Z"})
    }

    fn parse(change: impl FnOnce(&mut Value)) -> Result<Registration, Malformed> {
        let mut message = message();
        change(&mut message);
        Registration::parse(message.to_string().as_bytes())
    }

    fn without(fields: &[&str]) -> impl Fn(&mut Value) {
        move |message| {
            for field in fields {
                message.as_object_mut().expect("an object").remove(*field);
            }
        }
    }

    #[test]
    fn a_registration_says_everything_and_an_update_what_it_names() {
        let registered = parse(|_| {}).expect("a registration");
        let Change::Register(user, particulars) = registered.change.clone() else { panic!("{registered:?}") };
        let mut device = registered.phone.of(user);
        particulars.apply_to(&mut device);
        assert_eq!((device.country.as_deref(), device.token.reveal()), (Some("PL"), "abcdef"));
        assert_eq!(registered.device(), Some(device.id()));
        assert_eq!(registered.phone.owner_key(), device.owner_key());
        assert!(device.last_seen_at.is_some());

        let update = parse(|message| {
            without(&["user_id", "last_seen_at"])(message);
            message["operation"] = json!("update");
            message["country"] = Value::Null;
            message["app_version"] = json!("5.2");
        });
        let update = update.expect("an update");
        let Change::Update(None, particulars) = update.change else { panic!("{update:?}") };
        particulars.apply_to(&mut device);
        assert_eq!((device.country, device.app_version.as_deref()), (None, Some("5.2")));
        assert!(device.last_seen_at.is_some(), "what is not named stays");

        let remove = parse(|message| {
            without(&["user_id", "country", "last_seen_at"])(message);
            message["operation"] = json!("remove");
        });
        assert_eq!(remove.expect("a removal").change, Change::Remove(None));
    }

    #[test]
    fn a_mistake_is_told_by_its_code_and_field_and_never_quoted() {
        type Case = (&'static str, &'static str, fn(&mut Value));
        let cases: [Case; 15] = [
            ("unknown-version", "v", |m| m["v"] = json!(2)),
            ("unknown-field", "colour", |m| m["colour"] = json!("secret")),
            ("unknown-field", "an unknown name", |m| m["secret-Token"] = json!(1)),
            ("missing-field", "token", |m| without(&["token"])(m)),
            ("missing-field", "version", |m| without(&["version"])(m)),
            ("missing-field", "user_id", |m| without(&["user_id"])(m)),
            ("wrong-type", "version", |m| m["version"] = json!("secret")),
            ("invalid-value", "version", |m| m["version"] = json!(u64::MAX)),
            ("invalid-value", "token", |m| m["token"] = json!("secret/secret")),
            ("invalid-value", "user_id", |m| m["user_id"] = json!("secret\u{7}")),
            ("invalid-value", "platform", |m| m["platform"] = json!("secret")),
            ("invalid-value", "operation", |m| m["operation"] = json!("secret, expected secret")),
            ("invalid-value", "country", |m| m["country"] = json!("secret")),
            ("invalid-value", "app", |m| m["app"] = json!("secret secret")),
            ("invalid-value", "country", |m| m["operation"] = json!("remove")),
        ];
        for (code, field, change) in cases {
            let malformed = parse(change).expect_err(field);
            assert_eq!((malformed.code.as_str(), malformed.field.as_str()), (code, field), "{malformed}");
            assert!(!malformed.to_string().contains("secret"), "{malformed}");
        }
        let whole = |bytes: &[u8]| Registration::parse(bytes).expect_err("no registration");
        assert_eq!(whole(&[0xff]).code, MalformedCode::NotUtf8);
        assert_eq!(whole(b"secret").code, MalformedCode::NotJson);
        assert_eq!(whole(b"[1]").field, WHOLE);
        assert_eq!(whole(&vec![b' '; MAX_REGISTRATION_BYTES + 1]).code, MalformedCode::TooLarge);
        let twice = message().to_string().replacen('{', r#"{"user_id":"secret","#, 1);
        assert_eq!(whole(twice.as_bytes()).code, MalformedCode::DuplicateField);
    }

    #[test]
    fn the_schema_has_every_field_and_says_what_is_required() {
        let schema = registration_schema();
        let properties = schema["properties"].as_object().expect("properties");
        assert!(message().as_object().expect("an object").keys().all(|field| properties.contains_key(field)));
        assert_eq!(schema["then"]["required"], json!(["user_id"]));
        assert_eq!(schema["additionalProperties"], json!(false));
    }
}
