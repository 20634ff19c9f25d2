//! A device: one installation of one app, and where it stands in the registry.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppId, AppVersion, Attributes, DeviceId, Digest, Locale, RecordId, Tags, UserId};

/// The operating system of a device, which decides the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Apple's; reached over APNs.
    Ios,
    /// Google's; reached over FCM.
    Android,
}

impl Platform {
    /// Both, for tables.
    pub const ALL: [Self; 2] = [Self::Ios, Self::Android];

    /// The provider that reaches this platform.
    #[must_use]
    pub const fn provider(self) -> Provider {
        match self {
            Self::Ios => Provider::Apns,
            Self::Android => Provider::Fcm,
        }
    }

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ios => "ios",
            Self::Android => "android",
        }
    }
}

/// Who delivers to the phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging, HTTP v1.
    Fcm,
}

impl Provider {
    /// Both, for tables.
    pub const ALL: [Self; 2] = [Self::Apns, Self::Fcm];

    /// As shown in metrics and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which of a provider's worlds a token belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// The store's builds.
    Production,
    /// Development builds (APNs only).
    Sandbox,
}

impl Environment {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
        }
    }
}

macro_rules! from_word {
    ($($type:ident: $($variant:ident),+;)+) => {$(
        impl std::str::FromStr for $type {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                const EXPECTED: &[&str] = &[$($type::$variant.as_str()),+];
                match word {
                    $(w if w == Self::$variant.as_str() => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { expected: EXPECTED }),
                }
            }
        }
    )+};
}
from_word! {
    Platform: Ios, Android;
    Provider: Apns, Fcm;
    Environment: Production, Sandbox;
}

/// A word outside a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", expected.join(", "))]
pub struct UnknownWord {
    pub(super) expected: &'static [&'static str],
}

/// A person's place in the rotation: `hash(user) % 10000`.
///
/// It belongs to the user, so that all devices of one person go together, and it is the partition key of
/// the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bucket(u16);

impl Bucket {
    /// How many buckets there are: fine enough for a stage of a hundredth of a percent.
    pub const COUNT: u16 = 10_000;

    /// The bucket of a user. Stable for ever: it is stored with each device.
    #[must_use]
    pub fn of(user: &UserId) -> Self {
        let digest = Digest::of_parts(&[b"bucket", user.as_str().as_bytes()]);
        let [a, b, c, d, ..] = *digest.as_bytes();
        let position = u32::from_be_bytes([a, b, c, d]) % u32::from(Self::COUNT);
        Self(u16::try_from(position).expect("a remainder below 10,000 fits"))
    }

    /// A bucket as it was stored; `None` if it is out of range.
    #[must_use]
    pub const fn new(bucket: u16) -> Option<Self> {
        if bucket < Self::COUNT { Some(Self(bucket)) } else { None }
    }

    /// The number, 0 to 9,999.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// A provider's address of a device. A secret: whoever has it and a key can ring the phone, so it is never
/// printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(Arc<str>);

impl Token {
    /// Longest token that is stored, in bytes. Neither provider fixes a length; today's are 64 to 200.
    pub const MAX_BYTES: usize = 4_000;

    /// Accepts what may stand in a URL path and in JSON without escaping; `None` otherwise.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b':' | b'.' | b'~');
        (!text.is_empty() && text.len() <= Self::MAX_BYTES && text.bytes().all(allowed))
            .then(|| Self(text.into()))
    }

    /// The token itself. For the request to its provider and for the registry, nowhere else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the registry knows an owner by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A registered device, as the send path needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its row in the registry.
    pub record: RecordId,
    /// The id that producers know.
    pub id: DeviceId,
    /// Whose it is.
    pub user: UserId,
    /// The user's bucket.
    pub bucket: Bucket,
    /// Which app is installed.
    pub app: AppId,
    /// Which provider reaches it.
    pub platform: Platform,
    /// Which of the provider's worlds.
    pub environment: Environment,
    /// The provider's address.
    pub token: Token,
    /// Its language; chooses the text.
    pub language: Option<Locale>,
    /// When this token was last registered: a provider's word that it is gone counts only if it is newer.
    pub registered_at: Timestamp,
}

/// A registration as it comes in by import or queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Whose it is.
    pub user: UserId,
    /// Which app.
    pub app: AppId,
    /// Which provider reaches it.
    pub platform: Platform,
    /// Which of the provider's worlds.
    pub environment: Environment,
    /// The provider's address.
    pub token: Token,
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Option<String>,
    /// BCP 47.
    pub language: Option<Locale>,
    /// IANA time zone name.
    pub timezone: Option<String>,
    /// The app's version.
    pub app_version: Option<String>,
    /// When the app was last opened.
    pub last_seen_at: Option<Timestamp>,
    /// For audiences to select by.
    pub tags: Tags,
    /// The same, with a value each.
    pub attributes: Attributes,
}

impl NewDevice {
    /// The id that this registration gets.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        self.id_under(&self.owner_key())
    }

    /// The same for whoever has its [`NewDevice::owner_key`] already: most of the work is in that.
    #[must_use]
    pub fn id_under(&self, owner_key: &Digest) -> DeviceId {
        DeviceId::derive(Bucket::of(&self.user), &self.user, owner_key)
    }

    /// What its app's version is compared by. Whoever writes the version writes this beside it.
    #[must_use]
    pub fn version_key(&self) -> Option<String> {
        self.app_version.as_deref().map(AppVersion::key_of)
    }

    /// What is unique across the registry: one (app, platform, environment, token) has one owner.
    #[must_use]
    pub fn owner_key(&self) -> Digest {
        owner_key(&self.app, self.platform, self.environment, &self.token)
    }
}

pub(super) fn owner_key(app: &AppId, platform: Platform, environment: Environment, token: &Token) -> Digest {
    Digest::of_parts(&[
        app.as_str().as_bytes(),
        platform.as_str().as_bytes(),
        environment.as_str().as_bytes(),
        token.reveal().as_bytes(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        let token = Token::parse("abc123").expect("a token");
        assert!(!format!("{token:?}").contains("abc123"));
    }

    #[test]
    fn a_token_cannot_leave_its_path_or_its_string() {
        for bad in ["", "a/b", "a\"b", "a b", "a?b", "a#b", "a%2fb", "ą"] {
            assert_eq!(Token::parse(bad), None, "{bad}");
        }
        assert!(Token::parse("cXy:APA91b-_Z").is_some());
    }

    #[test]
    fn buckets_do_not_move() {
        // Stored with every device: a change here would scatter the registry.
        let user = UserId::parse("u-0000001").expect("a user");
        assert_eq!(Bucket::of(&user).get(), 8_022);
    }
}
