//! How the broker stands, as one answer from two connections.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

/// How the broker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerHealth {
    /// Consuming and publishing work.
    Connected,
    /// At least one connection is down, and tried again.
    Away {
        /// Since when.
        since: Timestamp,
        /// What the last attempt ended with; safe to log.
        reason: String,
    },
    /// The broker takes no messages for now: it is short of memory or disk.
    Blocked {
        /// Since when.
        since: Timestamp,
        /// The broker's own words.
        reason: String,
    },
}

impl BrokerHealth {
    fn weight(&self) -> u8 {
        match self {
            Self::Connected => 0,
            Self::Blocked { .. } => 1,
            Self::Away { .. } => 2,
        }
    }
}

/// Which connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Link {
    Consuming,
    Publishing,
}

impl Link {
    /// As the connection is named on the broker and in logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Consuming => "consuming",
            Self::Publishing => "publishing",
        }
    }
}

/// Both connections' states, told as one.
#[derive(Debug)]
pub(super) struct Health {
    links: Mutex<[BrokerHealth; 2]>,
    told: watch::Sender<BrokerHealth>,
}

impl Health {
    /// Both are away until they are up.
    pub(super) fn new(now: Timestamp) -> Self {
        let away = BrokerHealth::Away { since: now, reason: "not connected yet".into() };
        Self { links: Mutex::new([away.clone(), away.clone()]), told: watch::Sender::new(away) }
    }

    pub(super) fn watch(&self) -> watch::Receiver<BrokerHealth> {
        self.told.subscribe()
    }

    pub(super) fn connected(&self, link: Link) {
        self.set(link, BrokerHealth::Connected);
    }

    pub(super) fn blocked(&self, link: Link, since: Timestamp, reason: String) {
        self.set(link, BrokerHealth::Blocked { since, reason });
    }

    /// A failed attempt to return does not begin a new absence. True if the reason is news.
    pub(super) fn away(&self, link: Link, now: Timestamp, reason: String) -> bool {
        let before = self.links.lock().unwrap_or_else(PoisonError::into_inner)[link as usize].clone();
        let (since, news) = match before {
            BrokerHealth::Away { since, reason: before } => (since, before != reason),
            BrokerHealth::Connected | BrokerHealth::Blocked { .. } => (now, true),
        };
        self.set(link, BrokerHealth::Away { since, reason });
        news
    }

    fn set(&self, link: Link, state: BrokerHealth) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links[link as usize] = state;
        let [first, second] = &*links;
        let worse = if second.weight() > first.weight() { second } else { first }.clone();
        self.told.send_if_modified(|told| {
            let changed = *told != worse;
            *told = worse;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("an instant")
    }

    #[test]
    fn the_worse_of_both_connections_is_told() {
        let health = Health::new(at(0));
        let told = health.watch();
        health.connected(Link::Consuming);
        assert!(matches!(*told.borrow(), BrokerHealth::Away { .. }), "publishing is still away");
        health.connected(Link::Publishing);
        assert_eq!(*told.borrow(), BrokerHealth::Connected);
        health.blocked(Link::Publishing, at(1), "low on memory".into());
        assert_eq!(*told.borrow(), BrokerHealth::Blocked { since: at(1), reason: "low on memory".into() });
        assert!(health.away(Link::Consuming, at(2), "gone".into()));
        assert_eq!(*told.borrow(), BrokerHealth::Away { since: at(2), reason: "gone".into() });
    }

    #[test]
    fn an_absence_keeps_its_beginning_through_failed_attempts() {
        let health = Health::new(at(0));
        health.connected(Link::Consuming);
        health.connected(Link::Publishing);
        assert!(health.away(Link::Consuming, at(5), "reset".into()));
        assert!(health.away(Link::Consuming, at(6), "refused".into()));
        assert!(!health.away(Link::Consuming, at(7), "refused".into()), "no news");
        let expected = BrokerHealth::Away { since: at(5), reason: "refused".into() };
        assert_eq!(*health.watch().borrow(), expected);
    }
}
