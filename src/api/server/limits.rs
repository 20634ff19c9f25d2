//! How often somebody may ask.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};

use super::answer::ApiError;
use crate::{api::wire::Code, ledger::TokenId};

/// So many seconds' worth of requests may come at once: a page of the command line asks several things.
const BURST_SECONDS: u32 = 5;

/// Peers and tokens that are remembered before those are forgotten that asked nothing lately.
const REMEMBERED: usize = 10_000;

type Keyed<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock>;

/// Who asked how often.
pub(super) struct Limits {
    failed_logins: Keyed<IpAddr>,
    requests: Keyed<TokenId>,
    clock: DefaultClock,
}

impl Limits {
    /// So many requests of one token a second, over time, and so many without a right one from one address in a minute.
    pub(super) fn new(requests_per_second: NonZeroU32, failed_logins_per_minute: NonZeroU32) -> Self {
        let burst = requests_per_second.saturating_mul(NonZeroU32::new(BURST_SECONDS).expect("not zero"));
        Self {
            failed_logins: RateLimiter::keyed(Quota::per_minute(failed_logins_per_minute)),
            requests: RateLimiter::keyed(Quota::per_second(requests_per_second).allow_burst(burst)),
            clock: DefaultClock::default(),
        }
    }

    /// Somebody at this address brought no good token; an error if that was once too often.
    pub(super) fn failed_login(&self, peer: IpAddr) -> Result<(), ApiError> {
        if self.failed_logins.len() > REMEMBERED {
            self.failed_logins.retain_recent();
        }
        self.failed_logins.check_key(&network(peer)).map_err(|not_before| {
            let wait = not_before.wait_time_from(self.clock.now());
            let detail = "too many tokens from your address were not right; a right one still opens";
            ApiError::new(Code::TooMany, detail).after(wait.as_secs() + 1)
        })
    }

    /// Somebody asks with this token; an error if that is once too often.
    pub(super) fn request(&self, token: &TokenId) -> Result<(), ApiError> {
        if self.requests.len() > REMEMBERED {
            self.requests.retain_recent();
        }
        self.requests.check_key(token).map_err(|not_before| {
            let wait = not_before.wait_time_from(self.clock.now());
            let detail = "too many requests with this token; `halt` is never limited";
            ApiError::new(Code::TooMany, detail).after(wait.as_secs() + 1)
        })
    }
}

/// Whoever has an IPv6 address has a whole /64 of them.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_its_network_and_each_has_a_budget_of_its_own() {
        let limits = Limits::new(NonZeroU32::MIN, NonZeroU32::new(10).expect("not zero"));
        let peer = |text: &str| text.parse::<IpAddr>().expect("an address");
        for n in 0..10 {
            limits.failed_login(peer(&format!("2001:db8::{n}"))).expect("within the limit");
        }
        assert!(limits.failed_login(peer("2001:db8::ffff")).is_err());
        limits.failed_login(peer("2001:db8:0:1::1")).expect("another network");
        limits.failed_login(peer("::ffff:192.0.2.1")).expect("another address");
        let token: TokenId = "0123456789abcdef".parse().expect("an id");
        for _ in 0..BURST_SECONDS {
            limits.request(&token).expect("within the burst");
        }
        assert!(limits.request(&token).is_err());
        limits.request(&"fedcba9876543210".parse().expect("an id")).expect("another token");
    }
}
