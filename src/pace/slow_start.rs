//! Slow start: a stage begins with ten requests in flight across the fleet and doubles with every clean round, so that a
//! notification that is refused is known before it is widespread even inside a stage.
//!
//! The room is what was accepted so far, and ten more, less what is under way. Ten are sent; when all of them are
//! accepted there is room for twenty, then for forty: each round waits for the one before. What was not accepted
//! widens nothing, and its end still makes room for the next, so a stage of dead tokens goes on, ten at a time.

/// How many may be under way before anything is known.
pub const FIRST: i64 = 10;

/// So many accepted, and the start is over: from then on only the rate limits.
pub const OVER: i64 = 5_000;

/// How many more may be begun, given how many were accepted and how many are under way.
#[must_use]
pub const fn room(clean: i64, in_flight: i64) -> i64 {
    let room = FIRST + clean - in_flight;
    if room > 0 { room } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stage_always_ends_and_is_never_wider_than_ten_and_what_was_accepted(
            devices in 1..400_i64,
            asks in prop::collection::vec(1..120_i64, 1..20),
            fates in prop::collection::vec(any::<bool>(), 1..50),
            slow in prop::collection::vec(any::<bool>(), 1..50),
        ) {
            let (mut left, mut clean, mut open) = (devices, 0, std::collections::VecDeque::new());
            let (mut fates, mut slow) = (fates.into_iter().cycle(), slow.into_iter().cycle());
            for want in asks.into_iter().cycle() {
                let in_flight: i64 = open.iter().sum();
                let granted = want.min(left).min(room(clean, in_flight));
                left -= granted;
                if granted > 0 {
                    open.push_back(granted);
                    prop_assert!(in_flight + granted <= 10 + clean);
                    // Others ask, too, before anything of this has ended.
                    if slow.next() == Some(true) {
                        continue;
                    }
                }
                // Whatever becomes of the oldest segment, its end makes room.
                let Some(ended) = open.pop_front() else {
                    prop_assert_eq!(left, 0, "nothing is under way, and nothing is granted");
                    break;
                };
                clean += fates.by_ref().take(usize::try_from(ended).expect("small")).map(i64::from).sum::<i64>();
            }
        }
    }

    #[test]
    fn it_doubles_with_every_clean_round() {
        let (mut clean, mut rounds) = (0, Vec::new());
        while clean < OVER {
            let round = room(clean, 0);
            rounds.push(round);
            clean += round;
        }
        assert_eq!(rounds, [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560]);
    }

    #[test]
    fn it_never_widens_on_what_was_not_accepted_and_never_stands_still() {
        assert_eq!(room(0, 0), 10);
        assert_eq!(room(0, 10), 0);
        assert_eq!(room(3, 10), 3);
        assert_eq!(room(0, 25), 0);
    }
}
