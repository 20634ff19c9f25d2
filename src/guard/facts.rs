//! What the guard is told: who the recipients turned out to be, and the limits that apply.

use jiff::Timestamp;

use super::DirectReach;
use crate::model::{CampaignId, Device, DeviceId, UserId};

/// A named recipient as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundRecipient {
    /// A person, by user id, with every live device of the job's app. It may be none.
    User(UserId, Vec<Device>),
    /// A device by its id; `None` if it is not registered for the job's app (or gone).
    Device(DeviceId, Option<Device>),
}

impl FoundRecipient {
    /// The devices to ring.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        match self {
            Self::User(_, devices) => devices,
            Self::Device(_, device) => device.as_slice(),
        }
    }
}

/// What the guard needs to know beyond the job and the policy. More facts join as rules do.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The job's recipients; empty for a campaign.
    pub recipients: &'a [FoundRecipient],
    /// The service's own limit of recipients for a direct job (`direct.max_recipients`).
    pub max_recipients: usize,
    /// When the job arrived: a direct job without an expiry counts from here.
    pub received_at: Timestamp,
    /// What the ledger knows of the past.
    pub past: Past,
    /// Whom the texts of a direct job's producer have reached.
    pub reach: DirectReach,
}

/// What was before the job. The default is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    /// The latest campaign that said the same to the same audience within the app's `duplicate_within`, and when it arrived.
    pub duplicate: Option<(CampaignId, Timestamp)>,
    /// When a notification of the same producer was last stopped for what it is, if it was within `contagion_within`.
    pub flagged: Option<Timestamp>,
    /// Somebody has seen these words on a phone of the app's testers, lately enough. Asked of audiences that need it.
    pub proven: bool,
    /// Set if the producer's day would come to more devices than it may reach.
    pub over_day: Option<OverDay>,
}

/// A producer's day with a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverDay {
    /// So many devices it may reach.
    pub devices_per_day: u64,
    /// So many it comes to: those whom its direct jobs have reached, and whom its campaigns may reach, this one among them.
    pub today: u64,
}

impl Facts<'_> {
    /// What there is to know of a campaign, when it arrives and again before it is sent: it names nobody, and whom it
    /// was frozen to is the ledger's affair.
    #[must_use]
    pub const fn of_campaign(received_at: Timestamp, past: Past) -> Self {
        Self {
            recipients: &[],
            max_recipients: 0,
            received_at,
            past,
            reach: DirectReach { over_text: None, over_day: None },
        }
    }
}
