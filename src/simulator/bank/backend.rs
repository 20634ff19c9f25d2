//! The login backend: one queue, served in order, at a finite speed.
//!
//! It collapses, as such backends do, by working for people who have left. While its queue is shorter than what callers wait
//! for, everything it does is of use. Beyond that, each login that it finishes was given up before, and its owner stands
//! at the end of the queue again: it is as busy as can be, and nobody is let in. The cause of the overload may be long gone;
//! what keeps it there is the queue and the repeated attempts (Bronson and others, *Metastable failures in distributed
//! systems*, Workshop on Hot Topics in Operating Systems, 2021). No line here says "collapse": it follows from the queue, the
//! time-out and the repetition.

use std::collections::VecDeque;

use super::{
    people::{Attempts, count},
    terms::{MOST_TRIES, TICKS, Terms, ticks},
};

/// Attempts that came in the same tick, and are not served yet.
#[derive(Debug, Clone)]
struct Waiting {
    since: u64,
    attempts: Attempts,
}

/// What ended in one tick.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ended {
    /// Let in while somebody still waited for it.
    pub(super) let_in: u32,
    /// Of these, later than was promised.
    pub(super) late: u32,
    /// Turned away, or given up by the app.
    pub(super) failed: Attempts,
}

#[derive(Debug, Clone)]
pub(super) struct Backend {
    terms: Terms,
    queue: VecDeque<Waiting>,
    /// Attempts in `queue`, whether or not anybody waits for them.
    length: u32,
    /// So many entries at the front of `queue` have nobody who waits for them.
    left: usize,
    /// Work that can be done now, in tenths of a login (a tick does a tenth of the capacity).
    work: u32,
}

impl Backend {
    pub(super) const fn new(terms: Terms) -> Self {
        Self { terms, queue: VecDeque::new(), length: 0, left: 0, work: 0 }
    }

    /// Lets one tick pass: takes these attempts, works, and says what ended.
    pub(super) fn tick(&mut self, now: u64, attempts: &Attempts) -> Ended {
        let mut ended = Ended { failed: self.take(now, attempts), ..Ended::default() };
        self.work += self.terms.capacity;
        self.work_off(now, &mut ended);
        self.give_up(now, &mut ended.failed);
        ended
    }

    /// Takes what has room, of each kind the same share, and answers with what is turned away.
    fn take(&mut self, now: u64, attempts: &Attempts) -> Attempts {
        let (came, room) = (count(attempts), self.terms.queue.saturating_sub(self.length));
        if came == 0 {
            return [0; MOST_TRIES];
        }
        let taken = attempts.map(|kind| {
            let share = u64::from(kind) * u64::from(room.min(came)) / u64::from(came);
            u32::try_from(share).expect("a part of a u32")
        });
        self.length += count(&taken);
        self.queue.push_back(Waiting { since: now, attempts: taken });
        std::array::from_fn(|kind| attempts[kind] - taken[kind])
    }

    fn work_off(&mut self, now: u64, ended: &mut Ended) {
        let service = ticks(self.terms.service_time);
        let (time_out, promised) = (ticks(self.terms.time_out), ticks(self.terms.promised));
        while let Some(first) = self.queue.front_mut() {
            let done = serve(&mut first.attempts, self.work / TICKS);
            self.work -= done * TICKS;
            self.length -= done;
            let took = now - first.since + service;
            if took <= time_out {
                ended.let_in += done;
                ended.late += if took > promised { done } else { 0 };
            }
            if count(&first.attempts) > 0 {
                return;
            }
            self.queue.pop_front();
            self.left = self.left.saturating_sub(1);
        }
        // Nobody waits: what could have been done cannot be saved up.
        self.work %= TICKS;
    }

    /// The apps of those who would not be answered in time any more give up. The attempts stay where they are.
    fn give_up(&mut self, now: u64, failed: &mut Attempts) {
        let (service, time_out) = (ticks(self.terms.service_time), ticks(self.terms.time_out));
        while let Some(next) = self.queue.get(self.left) {
            if now + 1 - next.since + service <= time_out {
                return;
            }
            failed.iter_mut().zip(next.attempts).for_each(|(failed, more)| *failed += more);
            self.left += 1;
        }
    }
}

/// Serves at most so many; says how many. Among those of one tick who failed most often are first, which changes nothing:
/// it is the same tick.
fn serve(attempts: &mut Attempts, most: u32) -> u32 {
    let mut left = most;
    for kind in attempts.iter_mut().rev() {
        let now = (*kind).min(left);
        *kind -= now;
        left -= now;
    }
    most - left
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many new attempts in each tick, and what came of each tick.
    fn ticks_of(backend: &mut Backend, from: u64, load: &[u32]) -> Vec<Ended> {
        (from..).zip(load).map(|(now, new)| backend.tick(now, &[*new, 0, 0, 0, 0])).collect()
    }

    #[test]
    fn what_it_can_do_it_does_at_once() {
        let ended = ticks_of(&mut Backend::new(Terms::default()), 0, &[20; 100]);
        assert!(ended.iter().all(|tick| *tick == Ended { let_in: 20, ..Ended::default() }));
    }

    #[test]
    fn idleness_is_not_saved_up() {
        let ended = ticks_of(&mut Backend::new(Terms::default()), 0, &[0, 0, 0, 0, 50]);
        assert_eq!(ended[4].let_in, 20);
    }

    #[test]
    fn a_short_overload_makes_it_late_and_nobody_fails() {
        // 1,000 at once are five seconds of work.
        let ended = ticks_of(&mut Backend::new(Terms::default()), 0, &[&[1_000], &[0; 60][..]].concat());
        assert_eq!(ended.iter().map(|tick| tick.let_in).sum::<u32>(), 1_000);
        assert!(ended.iter().all(|tick| count(&tick.failed) == 0));
        // All but those of the first six ticks took longer than 0.8 s, of which 0.3 are the login itself.
        assert_eq!(ended.iter().map(|tick| tick.late).sum::<u32>(), 1_000 - 6 * 20);
    }

    #[test]
    fn beyond_the_time_out_it_works_for_nobody() {
        // 4,000 at once are twenty seconds of work; half of them are given up after ten, and done all the same.
        let mut backend = Backend::new(Terms::default());
        let ended = ticks_of(&mut backend, 0, &[&[4_000], &[0; 199][..], &[1]].concat());
        let let_in: u32 = ended.iter().map(|tick| tick.let_in).sum();
        let failed: u32 = ended.iter().map(|tick| count(&tick.failed)).sum();
        // The first tick's twenty wait for nothing, the 98th's for 9.7 s, with the login itself ten.
        assert_eq!((let_in, failed), (98 * 20 + 1, 4_000 - 98 * 20));
        assert_eq!(ended[150].let_in, 0, "it works, and nobody is let in");
        assert_eq!((ended[200].let_in, backend.length), (1, 0), "what comes after is served again");
    }

    #[test]
    fn what_has_no_room_is_turned_away_at_once() {
        let mut backend = Backend::new(Terms { capacity: 10, queue: 100, ..Terms::default() });
        let ended = backend.tick(0, &[150, 0, 0, 50, 0]);
        assert_eq!(ended.failed, [75, 0, 0, 25, 0], "of each kind the same share");
        assert_eq!((ended.let_in, backend.length), (1, 99));
    }
}
