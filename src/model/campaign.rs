//! The words of a campaign's way: its ids, its stages and chunks, and where its rollout stands.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Bucket, Digest, JobKey, RecordId, UnknownWord};

/// Most devices of a chunk: the unit of a claim.
pub const CHUNK_DEVICES: usize = 1_000;

/// Most devices of a segment: the unit of intent and outcome.
pub const SEGMENT_DEVICES: usize = 100;

/// The id that people and events know a campaign by (UUID, version 8), derived from its job's key and digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CampaignId(Uuid);

impl CampaignId {
    /// The id of the campaign that `key` asked for with the content `digest`.
    #[must_use]
    pub fn derive(key: &JobKey, digest: &Digest) -> Self {
        let parts = [key.producer.as_str().as_bytes(), key.id.as_str().as_bytes(), digest.as_bytes()];
        let digest = Digest::of_parts(&[b"campaign", parts[0], parts[1], parts[2]]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// An id as it came from outside; an unknown one is found nowhere.
    #[must_use]
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The UUID.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for CampaignId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A rollout's row in the ledger: short, because every chunk and segment carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RolloutId(i64);

impl RolloutId {
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

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is done about the words of a campaign that is over. There is no undo: a push cannot be rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mend {
    /// A message of its own, to exactly those who were, or may have been, sent the other.
    Correct,
    /// In place of the other, on the phones that still show it.
    Supersede,
}

impl Mend {
    /// The verb, as people ask for it and as it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Supersede => "supersede",
        }
    }

    /// The verb of this word; `None` if it is none.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Correct, Self::Supersede].into_iter().find(|mend| mend.as_str() == word)
    }
}

/// Which campaign's words a campaign mends, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mends {
    /// How.
    pub how: Mend,
    /// Whose.
    pub of: RolloutId,
}

/// A chunk of a rollout. The first-time chunks are numbered from 0 in the order in which they are sent; retry
/// chunks follow.
pub type ChunkNumber = u32;

/// A stage of a rollout, counting from 0.
pub type StageNumber = u16;

/// A device as a frozen list has it: its key in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrozenDevice {
    /// Its user's bucket.
    pub bucket: Bucket,
    /// Its row.
    pub record: RecordId,
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Being frozen.
    Draft,
    /// Frozen; waits for people.
    PendingApproval,
    /// May start.
    Approved,
    /// A stage is being sent.
    Running,
    /// A stage has been sent, and is watched.
    Baking,
    /// Waits; its cause says for what.
    Paused,
    /// Everyone has their final outcome.
    Completed,
    /// Stopped, by a person or by the machine.
    Halted,
    /// Given up by a person.
    Aborted,
    /// Refused by an approver.
    Rejected,
    /// Its time was over first.
    Expired,
}

impl RolloutState {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Draft,
        Self::PendingApproval,
        Self::Approved,
        Self::Running,
        Self::Baking,
        Self::Paused,
        Self::Completed,
        Self::Halted,
        Self::Aborted,
        Self::Rejected,
        Self::Expired,
    ];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::PendingApproval => "pending_approval",
            Self::Approved => "approved",
            Self::Running => "running",
            Self::Baking => "baking",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Halted => "halted",
            Self::Aborted => "aborted",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }

    /// True if nothing will ever be sent again.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Halted | Self::Aborted | Self::Rejected | Self::Expired)
    }
}

impl fmt::Display for RolloutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for RolloutState {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        const EXPECTED: &[&str] = &[
            "draft",
            "pending_approval",
            "approved",
            "running",
            "baking",
            "paused",
            "completed",
            "halted",
            "aborted",
            "rejected",
            "expired",
        ];
        let known = Self::ALL.into_iter().find(|state| state.as_str() == word);
        known.ok_or(UnknownWord { expected: EXPECTED })
    }
}

/// Why a rollout waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// A person said so.
    Manual,
    /// The next stage waits for a person. What is left of the stages before it, the late tail, goes on.
    Gate,
    /// The watched wait ended without an answer: neither healthy enough nor unhealthy enough.
    Inconclusive,
    /// Nothing can be seen of what must be watched.
    NoData,
    /// A provider refuses our credentials.
    Credentials,
    /// A provider does not answer.
    ProviderDown,
}

impl Pause {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Manual, Self::Gate, Self::Inconclusive, Self::NoData, Self::Credentials, Self::ProviderDown];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Gate => "gate",
            Self::Inconclusive => "inconclusive",
            Self::NoData => "no_data",
            Self::Credentials => "credentials",
            Self::ProviderDown => "provider_down",
        }
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Pause {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        const EXPECTED: &[&str] =
            &["manual", "gate", "inconclusive", "no_data", "credentials", "provider_down"];
        let known = Self::ALL.into_iter().find(|pause| pause.as_str() == word);
        known.ok_or(UnknownWord { expected: EXPECTED })
    }
}
