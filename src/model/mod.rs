//! What the other modules talk about: ids, jobs, notifications, devices, outcomes, digests.
//!
//! Everything here is parsed once, at the edge, into types with private fields; whoever holds one need
//! not check it again. The module is pure: it imports nothing else of the crate.

mod attributes;
mod breaker;
mod campaign;
mod device;
mod digest;
mod events;
pub(crate) mod fields;
mod ids;
mod job;
mod malformed;
mod notice;
mod notification;
mod object;
mod outcome;
mod person;
mod registration;
mod render;
mod version;

pub use attributes::{Attributes, OutOfBounds, Scalar, Tags};
pub use breaker::BreakerKind;
pub use campaign::{
    CHUNK_DEVICES, CampaignId, ChunkNumber, FrozenDevice, Mend, Mends, Pause, RolloutId, RolloutState,
    SEGMENT_DEVICES, StageNumber,
};
pub use device::{Bucket, Device, Environment, NewDevice, Platform, Provider, Token, UnknownWord};
pub use digest::Digest;
pub use events::{Event, EventBody, FindingNote};
pub use ids::{
    AppId, AudienceName, DeviceId, InvalidJobKey, InvalidName, JobId, JobKey, Locale, OperatorName, PlanName,
    ProducerId, RecordId, UserId,
};
pub use job::{Intent, Job, Lane, MAX_JOB_BYTES, Recipients, job_schema};
pub use malformed::{Malformed, MalformedCode};
pub use notice::{Notice, Waiting};
pub use notification::{Notification, Priority, Text};
pub use outcome::{NotSent, Outcome, OutcomeCode, Reason, ThrottleScope};
pub use person::PersonKey;
pub use registration::{
    Change, MAX_REGISTRATION_BYTES, Particulars, Phone, Registration, registration_schema,
};
pub use render::{Message, Payload, RenderError};
pub use version::AppVersion;
