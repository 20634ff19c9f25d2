//! When a breaker trips, and when not.

use super::*;
use crate::model::ThrottleScope;

use Provider::{Apns, Fcm};

fn accepted() -> Outcome {
    Outcome::Accepted { provider_id: None }
}

fn rejected(reason: &str) -> Outcome {
    Outcome::Rejected { reason: Reason::new(reason) }
}

fn down() -> Outcome {
    Outcome::Unavailable { retry_after: None, reason: Reason::new("ServiceUnavailable") }
}

fn stopped() -> Outcome {
    Outcome::NotSent(NotSent::CredentialsStopped)
}

/// Breakers, and the time.
struct Try {
    breakers: Breakers,
    now: Instant,
}

impl Try {
    fn new(on_probation: &[Provider]) -> Self {
        let bounds = FrozenBreakers { rejections_in_a_row: 3, provider_down_after_ms: 10_000 };
        #[expect(clippy::disallowed_methods, reason = "a time to begin at; it passes by hand")]
        let now = Instant::now();
        Self { breakers: Breakers::new(bounds, on_probation.iter().copied()), now }
    }

    /// A segment ends; what has tripped then.
    fn ends(&mut self, outcomes: &[(Provider, Outcome)]) -> Option<(BreakerKind, Provider)> {
        let now = self.now;
        self.breakers.note(outcomes.iter().map(|(provider, outcome)| (*provider, outcome)), now);
        self.breakers.tripped().map(|tripped| (tripped.kind, tripped.provider))
    }
}

#[test]
fn rejections_count_in_a_row_by_reason_and_by_provider() {
    let mut tried = Try::new(&[]);
    let too_large = || (Apns, rejected("PayloadTooLarge"));
    assert_eq!(tried.ends(&[too_large(), too_large(), (Apns, accepted()), too_large()]), None);
    assert_eq!(tried.ends(&[(Apns, rejected("BadTopic")), too_large()]), None, "another reason begins anew");
    let gone = Outcome::TokenGone { since: None, reason: Reason::new("Unregistered"), certain: true };
    let between = [(Fcm, accepted()), (Apns, gone), too_large()];
    assert_eq!(tried.ends(&between), None, "two, and what others say is no answer to it");
    assert_eq!(tried.ends(&[too_large()]), Some((BreakerKind::Rejections, Apns)));
    let words = tried.breakers.tripped().expect("tripped").to_string();
    assert!(words.starts_with("rejections-in-a-row: ") && words.contains("PayloadTooLarge"), "{words}");
}

#[test]
fn refused_credentials_trip_at_once_and_so_does_a_sender_that_stands_still() {
    let refused = Outcome::CredentialStop { reason: Reason::new("InvalidProviderToken") };
    assert_eq!(
        Try::new(&[]).ends(&[(Fcm, accepted()), (Apns, refused)]),
        Some((BreakerKind::Credentials, Apns))
    );
    assert_eq!(Try::new(&[]).ends(&[(Apns, stopped())]), Some((BreakerKind::Credentials, Apns)));
    // One request finds out whether they have been mended; whoever came while it was on its way did not go.
    let mended = [(Apns, stopped()), (Apns, accepted()), (Apns, stopped())];
    assert_eq!(Try::new(&[]).ends(&mended), None);
}

#[test]
fn a_provider_is_down_once_it_has_taken_nothing_for_its_time() {
    let mut tried = Try::new(&[]);
    assert_eq!(tried.ends(&[(Apns, down())]), None);
    tried.now += Duration::from_secs(9);
    assert_eq!(tried.ends(&[(Apns, down()), (Fcm, accepted())]), None);
    let throttled = Outcome::Throttled {
        scope: ThrottleScope::Device,
        retry_after: None,
        reason: Reason::new("TooManyRequests"),
    };
    tried.now += Duration::from_secs(2);
    assert_eq!(tried.ends(&[(Apns, throttled), (Apns, down())]), None, "it answered: the time begins anew");
    tried.now += Duration::from_secs(10);
    let unreached = Outcome::NotSent(NotSent::NoConnection);
    assert_eq!(tried.ends(&[(Apns, unreached)]), Some((BreakerKind::ProviderDown, Apns)));
}

#[test]
fn on_probation_the_first_segment_decides() {
    let mut still_down = Try::new(&[Apns]);
    assert!(still_down.breakers.are_on_probation());
    assert_eq!(still_down.ends(&[(Fcm, accepted())]), None, "another provider's word is none");
    assert_eq!(still_down.ends(&[(Apns, down())]), Some((BreakerKind::ProviderDown, Apns)));
    let mut back = Try::new(&[Apns]);
    assert_eq!(back.ends(&[(Apns, down()), (Apns, accepted())]), None, "it has answered");
    assert!(!back.breakers.are_on_probation());
    assert_eq!(back.ends(&[(Apns, down())]), None, "and is judged as ever");
}

#[test]
fn what_ends_a_rollout_outweighs_what_lets_it_wait() {
    let mut tried = Try::new(&[Fcm]);
    let bad = || (Apns, rejected("PayloadTooLarge"));
    let both = [(Fcm, down()), bad(), bad(), bad()];
    assert_eq!(tried.ends(&both), Some((BreakerKind::Rejections, Apns)));
}
