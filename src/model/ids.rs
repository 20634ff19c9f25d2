//! Names and ids: one newtype each, so that a user id is never passed where a device id belongs.

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Digest;

/// A name that does not follow its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not allowed: {rule}")]
pub struct InvalidName {
    what: &'static str,
    given: String,
    rule: &'static str,
}

/// Long or hostile input is quoted in errors only this far.
const QUOTED_CHARS: usize = 40;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $rule:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("minLength" = 1, "maxLength" = $max))]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the rule of this name.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                let allowed: fn(char) -> bool = $allowed;
                let length = text.chars().count();
                if length == 0 || length > $max || !text.chars().all(allowed) {
                    let given = text.chars().take(QUOTED_CHARS).collect();
                    return Err(InvalidName { what: $what, given, rule: $rule });
                }
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

name!(
    /// An app, as its maker names it: a bundle id or package name.
    AppId, "app", 155, "1 to 155 letters, digits, '.', '-' or '_'",
    |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
);
name!(
    /// The idempotency key that a producer gives its job; unique within the producer for 30 days.
    JobId, "job id", 128, "1 to 128 visible ASCII characters",
    |c| c.is_ascii_graphic()
);
name!(
    /// A backend that enqueues: the user name that RabbitMQ authenticated.
    ProducerId, "producer", 128, "1 to 128 visible ASCII characters",
    |c| c.is_ascii_graphic()
);
name!(
    /// A named cohort; the stem of its file in `audiences/cohorts/`.
    AudienceName, "audience", 64, "1 to 64 lower-case letters, digits or '-'",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);
name!(
    /// A plan; the stem of its file in `audiences/plans/`.
    PlanName, "plan", 64, "1 to 64 lower-case letters, digits or '-'",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);
name!(
    /// A person who is known to the backends by this id. Opaque here.
    UserId, "user id", 128, "1 to 128 characters, none of them a control character",
    |c| !c.is_control()
);
name!(
    /// A person who operates the service: whoever approved, halted, imported.
    OperatorName, "operator", 64, "1 to 64 characters, none of them a control character",
    |c| !c.is_control()
);
name!(
    /// A language tag (BCP 47), such as `de` or `de-AT`.
    Locale, "locale", 35, "a language tag such as `de` or `de-AT` (BCP 47)",
    |c| c.is_ascii_alphanumeric() || c == '-'
);

impl Locale {
    /// `de-AT-1996` → `de-AT` → `de` → nothing.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let cut = self.0.rfind('-')?;
        Some(Self(self.0[..cut].into()))
    }
}

/// The id that producers and operators know a device by (UUID, version 8).
///
/// Its first 16 bits are the device's bucket, so that a lookup by id reads one partition of the registry.
/// A device that is registered to another user becomes another device, with another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DeviceId(Uuid);

impl DeviceId {
    /// Derives the id of `user`'s device from its registration. The same registration has the same id.
    #[must_use]
    pub fn derive(bucket: super::Bucket, user: &UserId, token_hash: &Digest) -> Self {
        let digest = Digest::of_parts(&[b"device", user.as_str().as_bytes(), token_hash.as_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        bytes[..2].copy_from_slice(&bucket.get().to_be_bytes());
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// An id as it came from outside. Any UUID is accepted; an unknown one is found nowhere.
    #[must_use]
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The UUID.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }

    /// The bucket that the id claims; `None` if it was not made here.
    #[must_use]
    pub fn bucket(self) -> Option<super::Bucket> {
        let bytes = self.0.as_bytes();
        super::Bucket::new(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A device's row in the registry; small, so that frozen lists stay small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(i64);

impl RecordId {
    /// A row number as the ledger gave it.
    #[must_use]
    pub const fn new(id: i64) -> Self {
        Self(id)
    }

    /// The row number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// Which job: its producer and the id that the producer gave it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobKey {
    /// Who enqueued it.
    pub producer: ProducerId,
    /// The producer's idempotency key.
    pub id: JobId,
}

/// Not the name of a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJobKey {
    /// It has no slash.
    #[error("a job is named PRODUCER/JOB")]
    NoSlash,
    /// One of its parts is not allowed.
    #[error(transparent)]
    Part(#[from] InvalidName),
}

impl std::str::FromStr for JobKey {
    type Err = InvalidJobKey;

    fn from_str(text: &str) -> Result<Self, InvalidJobKey> {
        let (producer, id) = text.split_once('/').ok_or(InvalidJobKey::NoSlash)?;
        Ok(Self { producer: ProducerId::parse(producer)?, id: JobId::parse(id)? })
    }
}

impl JobKey {
    /// The id of the message to one device. A resend has the same, so that the provider and the phone
    /// can see that it is one message (`apns-id`).
    #[must_use]
    pub fn message_id(&self, device: DeviceId) -> Uuid {
        let digest = Digest::of_parts(&[
            b"message",
            self.producer.as_str().as_bytes(),
            self.id.as_str().as_bytes(),
            device.as_uuid().as_bytes(),
        ]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// What makes a second copy replace the first on a phone when the job names no `collapse_id`: 32 hex
    /// digits, one value for all devices of the job, so that its payload is serialised once.
    #[must_use]
    pub fn collapse_tag(&self) -> String {
        let digest =
            Digest::of_parts(&[b"collapse", self.producer.as_str().as_bytes(), self.id.as_str().as_bytes()]);
        digest.to_string()[..32].to_owned()
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.producer, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Bucket;

    #[test]
    fn names_keep_their_rule_and_quote_hostile_input_shortly() {
        assert!(AppId::parse("pl.example.bank").is_ok());
        for bad in ["", "a b", "a\n", &"x".repeat(156)] {
            let error = AppId::parse(bad).expect_err("must be refused").to_string();
            assert!(error.len() < 160, "{error}");
        }
        assert!(UserId::parse("użytkownik 7").is_ok());
        assert!(UserId::parse("a\u{0}").is_err());
    }

    #[test]
    fn a_locale_falls_back_to_its_language() {
        let locale = Locale::parse("de-AT").expect("a locale");
        let parent = locale.parent().expect("a language");
        assert_eq!(parent.as_str(), "de");
        assert_eq!(parent.parent(), None);
    }

    #[test]
    fn a_device_id_carries_its_bucket() {
        let user = UserId::parse("u-1").expect("a user");
        let bucket = Bucket::of(&user);
        let id = DeviceId::derive(bucket, &user, &Digest::of(b"token"));
        assert_eq!(id.bucket(), Some(bucket));
    }

    #[test]
    fn message_ids_are_stable_and_differ_by_device_and_job() {
        let key = |id: &str| JobKey {
            producer: ProducerId::parse("cards").expect("a producer"),
            id: JobId::parse(id).expect("a job"),
        };
        let device = |n: u128| DeviceId::from_uuid(Uuid::from_u128(n));
        assert_eq!(key("a").message_id(device(1)), key("a").message_id(device(1)));
        assert_ne!(key("a").message_id(device(1)), key("a").message_id(device(2)));
        assert_ne!(key("a").message_id(device(1)), key("b").message_id(device(1)));
    }
}
