//! What people are told of because it waits for them.
//!
//! - **I12 silent-logs**: who, where and how many; never a notification's text, a token, or whose phone.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{AppId, AudienceName, CampaignId, Digest, OperatorName, Pause};

/// Something that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Waiting {
    /// A campaign is frozen, and so many people must approve it.
    ApprovalNeeded {
        /// Which.
        campaign: CampaignId,
        /// Whose devices.
        app: AppId,
        /// Whom it is for.
        audience: AudienceName,
        /// How many devices were frozen.
        devices: u64,
        /// How many people must approve it.
        people: u32,
    },
    /// A campaign is approved, and a person must start it.
    StartNeeded {
        /// Which.
        campaign: CampaignId,
        /// Whose devices.
        app: AppId,
        /// Whom it is for.
        audience: AudienceName,
        /// How many devices were frozen.
        devices: u64,
    },
    /// A stage was sent and watched, and a person must open the next one.
    GateWaits {
        /// Which campaign.
        campaign: CampaignId,
        /// Whose devices.
        app: AppId,
        /// Whom it is for.
        audience: AudienceName,
        /// The stage before the gate, counting from 1.
        stage: u32,
    },
    /// A rollout was paused, and goes on when a person says so.
    RolloutPaused {
        /// Which.
        campaign: CampaignId,
        /// Whose devices.
        app: AppId,
        /// Whom it is for.
        audience: AudienceName,
        /// The stage that was opened last, counting from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        stage: Option<u32>,
        /// Why.
        why: Pause,
    },
    /// A token was made that opens nothing until a second admin confirms it.
    TokenUnconfirmed {
        /// By which it is confirmed; not the token.
        token: String,
        /// Whose it will be.
        operator: OperatorName,
    },
    /// A policy comes into force when a second person says so, too.
    PolicyProposed {
        /// Its hash.
        policy: Digest,
        /// Who wants it in force.
        by: OperatorName,
    },
}

impl Waiting {
    /// What the notices of one line have in common: they are told in their order.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::ApprovalNeeded { campaign, .. }
            | Self::StartNeeded { campaign, .. }
            | Self::GateWaits { campaign, .. }
            | Self::RolloutPaused { campaign, .. } => format!("campaign:{campaign}"),
            Self::TokenUnconfirmed { token, .. } => format!("token:{token}"),
            Self::PolicyProposed { .. } => "policy".to_owned(),
        }
    }

    /// The same in a sentence, for a chat.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::ApprovalNeeded { campaign, audience, devices, people, .. } => format!(
                "Campaign {campaign} to {audience}, {devices} devices, waits for approval by {people}. \
                 Look at it: bellwether rollout show {campaign}"
            ),
            Self::StartNeeded { campaign, audience, devices, .. } => format!(
                "Campaign {campaign} to {audience}, {devices} devices, is approved and waits for its start: \
                 bellwether rollout start {campaign}"
            ),
            Self::GateWaits { campaign, audience, stage, .. } => format!(
                "Campaign {campaign} to {audience} waits at the gate behind stage {stage}: \
                 bellwether rollout promote {campaign}"
            ),
            Self::RolloutPaused { campaign, audience, why, .. } => format!(
                "Campaign {campaign} to {audience} is paused ({why}). Look at it: bellwether rollout show {campaign}"
            ),
            Self::TokenUnconfirmed { token, operator } => format!(
                "Token {token} of {operator} waits for a second admin: bellwether operator confirm {token}"
            ),
            Self::PolicyProposed { policy, by } => format!(
                "{by} wants policy {policy} in force, and another person must want it, too. Look at it: bellwether policy show"
            ),
        }
    }
}

/// A notice, as it is posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The same each time that it is told.
    pub id: Uuid,
    /// Since when it waits.
    pub at: Timestamp,
    /// In a sentence.
    pub text: String,
    /// What waits.
    #[serde(flatten)]
    pub waiting: Waiting,
}

impl Notice {
    /// Makes a notice whose id follows from what it tells, and since when.
    #[must_use]
    pub fn new(at: Timestamp, waiting: Waiting) -> Self {
        let content = serde_json::to_vec(&waiting).expect("a notice has only string keys");
        let digest = Digest::of_parts(&[b"notice", &at.as_microsecond().to_be_bytes(), &content]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        let id = uuid::Builder::from_custom_bytes(bytes).into_uuid();
        Self { id, at, text: waiting.text(), waiting }
    }

    /// The notice as it is posted.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a notice has only string keys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_what_waits_and_for_whom() {
        let campaign = CampaignId::from_uuid(Uuid::from_u128(7));
        let gate = Waiting::GateWaits {
            campaign,
            app: AppId::parse("pl.example.bank").expect("an app"),
            audience: AudienceName::parse("customers-pl").expect("an audience"),
            stage: 2,
        };
        let notice = Notice::new(Timestamp::UNIX_EPOCH, gate.clone());
        let told: serde_json::Value = serde_json::from_str(&notice.to_json()).expect("JSON");
        assert_eq!(told["type"], "gate_waits");
        assert_eq!(told["stage"], 2);
        assert_eq!(told["at"], "1970-01-01T00:00:00Z");
        assert_eq!(told["id"], notice.id.to_string());
        assert!(told["text"].as_str().is_some_and(|text| text.contains("rollout promote")), "{told}");
        assert_eq!(gate.line(), format!("campaign:{campaign}"));
        assert_ne!(notice.id, Notice::new(Timestamp::MAX, gate).id, "the same gate, another time");
    }
}
