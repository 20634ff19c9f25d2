//! What processes tell each other at once. The ledger stays the truth: whoever misses a message learns it there, and
//! whoever hears one that is not true finds out there. A forged halt can make workers ask; it cannot make them send.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

use crate::{
    intake::{ControlSpeaker, Heard},
    ledger::HaltScope,
};

/// Messages that a listener may be behind with. One that is further behind is told so by its channel, and looks at the
/// ledger, as after any other message.
const ROOM: usize = 256;

/// A message on `bellwether.control`, or within one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlMessage {
    /// A halt is on record: stop what it covers.
    Halted(HaltScope),
    /// There is something to do: a campaign arrived, a stage opened, a chunk is free.
    Work,
    /// Another policy is in force.
    Policy,
}

/// A message as it stands on the wire. A later version may say more: what is not known is passed over.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Wire {
    #[serde(skip_serializing_if = "Option::is_none")]
    halted: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    work: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    policy: bool,
}

impl ControlMessage {
    /// As published: `{"halted":"app:x"}`, `{"work":true}` or `{"policy":true}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let wire = match self {
            Self::Halted(scope) => Wire { halted: Some(scope.to_string()), ..Wire::default() },
            Self::Work => Wire { work: true, ..Wire::default() },
            Self::Policy => Wire { policy: true, ..Wire::default() },
        };
        serde_json::to_string(&wire).expect("two plain fields")
    }

    /// Reads what was heard; `None` for what this version does not know.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(bytes).ok()?;
        match wire {
            Wire { halted: Some(scope), .. } => scope.parse().ok().map(Self::Halted),
            Wire { policy: true, .. } => Some(Self::Policy),
            Wire { work: true, .. } => Some(Self::Work),
            Wire { .. } => None,
        }
    }
}

/// Tells, and hears. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    here: broadcast::Sender<ControlMessage>,
    elsewhere: Option<ControlSpeaker>,
}

impl Control {
    /// Within this process only: the embedded mode.
    #[must_use]
    pub fn embedded() -> Self {
        Self { here: broadcast::Sender::new(ROOM), elsewhere: None }
    }

    /// Over the broker. Must be called within a tokio runtime; ends with `heard`.
    #[must_use]
    pub fn over_broker(speaker: ControlSpeaker, heard: mpsc::Receiver<Heard>) -> Self {
        let here = broadcast::Sender::new(ROOM);
        tokio::spawn(pass_on(heard, here.clone()));
        Self { here, elsewhere: Some(speaker) }
    }

    /// What is told from now on, here or elsewhere. Some of it twice: what this process tells over the broker comes
    /// back to it.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<ControlMessage> {
        self.here.subscribe()
    }

    /// Tells every process, this one at once.
    pub fn tell(&self, message: &ControlMessage) {
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.say(Bytes::from(message.to_json()));
        }
        self.tell_here(message.clone());
    }

    fn tell_here(&self, message: ControlMessage) {
        // An error says that nobody listens here.
        let _listeners = self.here.send(message);
    }
}

async fn pass_on(mut heard: mpsc::Receiver<Heard>, here: broadcast::Sender<ControlMessage>) {
    while let Some(heard) = heard.recv().await {
        let message = match heard {
            // Something may have been missed: look at the ledger.
            Heard::Connected => Some(ControlMessage::Work),
            Heard::Message(bytes) => ControlMessage::parse(&bytes),
        };
        if let Some(message) = message {
            let _listeners = here.send(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AppId;

    #[test]
    fn messages_are_read_back_and_what_is_unknown_is_passed_over() {
        let app = HaltScope::App(AppId::parse("x").expect("an app"));
        for (message, json) in [
            (ControlMessage::Halted(app), r#"{"halted":"app:x"}"#),
            (ControlMessage::Work, r#"{"work":true}"#),
        ] {
            assert_eq!(message.to_json(), json);
            assert_eq!(ControlMessage::parse(json.as_bytes()), Some(message));
        }
        let newer = br#"{"work":true,"since":"later"}"#;
        assert_eq!(ControlMessage::parse(newer), Some(ControlMessage::Work));
        for unknown in
            ["", "{}", "[]", "7", r#"{"resumed":"all"}"#, r#"{"halted":"every:one"}"#, r#"{"work":false}"#]
        {
            assert_eq!(ControlMessage::parse(unknown.as_bytes()), None, "{unknown}");
        }
    }

    #[tokio::test]
    async fn within_a_process_everybody_hears_it() {
        let control = Control::embedded();
        let mut both = [control.subscribe(), control.subscribe()];
        control.tell(&ControlMessage::Work);
        for listener in &mut both {
            assert_eq!(listener.recv().await, Ok(ControlMessage::Work));
        }
    }
}
