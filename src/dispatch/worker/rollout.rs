//! One rollout, as long as it runs and this process works: claims, exchanges, segments.

mod wind_up;

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use super::{
    Shared,
    cleared::clear,
    flow::Flow,
    gone::Gone,
    held::{Held, Piece},
    limits::{Limits, Through},
    numbers::Numbers,
    segment::{self, Ended, Place},
    sleepers::{Share, asleep},
    watch::Watch,
};
use crate::{
    guard::Cleared,
    ledger::{
        CampaignRecord, Claimable, Exchange, Exchanged, LedgerError, NoIntent, RolloutRecord, SegmentEnd,
    },
    model::{RolloutId, SEGMENT_DEVICES},
    rollout::Nights,
};

/// How many devices a worker has open at a limited rate before it knows how many it gets through, and beyond that later.
const LEAST: usize = 20;

/// What a worker has open of a stage that is doubtful: no more than a slow start begins with.
const FIRST: usize = 10;

/// Chunks that are claimed at once.
const CLAIM_AT_ONCE: usize = 4;

/// How long to wait where there is nothing to claim.
const IDLE: Duration = Duration::from_millis(200);

/// How long the outcomes of a segment wait for others, to be recorded with them.
const COMPANY: Duration = Duration::from_millis(20);

/// How long a slow start waits for outcomes before it asks again.
const WINDOW: Duration = Duration::from_millis(5);

/// Beyond the streams, one in so many more is on its way: they must not stand idle during a round trip to the ledger.
const AHEAD: usize = 2;

/// An exchange is worth its round trip once there is room for so many, or for one in so many of all that may be on its way.
const ENOUGH: usize = 250;
const ENOUGH_SHARE: usize = 4;

/// The state of the work.
struct Work {
    shared: Arc<Shared>,
    campaign: CampaignRecord,
    cleared: Arc<Cleared>,
    stopped: Arc<AtomicBool>,
    epoch: u32,
    held: Vec<Held>,
    segments: JoinSet<Ended>,
    /// Over, and not recorded yet.
    ends: Vec<SegmentEnd>,
    gone: Gone,
    /// What is on its way.
    flow: Arc<Flow>,
    renewed: Instant,
    through: Through,
    /// The last look found chunks to claim, or there was none yet.
    may_claim: bool,
    /// When chunks were looked for last.
    looked: Instant,
    /// A slow start gave nothing when it was asked last.
    is_refused: bool,
    /// Who is asleep; `None` if the plan has no quiet hours.
    nights: Option<Nights>,
    share: Share,
    breakers: Watch,
    numbers: Numbers,
}

/// Works at one rollout until it is over, stopped, or the process is.
pub(super) async fn work(
    shared: Arc<Shared>,
    seen: RolloutRecord,
    stopped: Arc<AtomicBool>,
    flow: Arc<Flow>,
) -> RolloutId {
    let rollout = seen.rollout;
    let cleared = clear(&shared, &seen).await;
    let breakers = match &cleared {
        Some((campaign, ..)) => Watch::of(&shared, campaign, seen.epoch).await,
        None => None,
    };
    if let Some(((campaign, cleared, nights), breakers)) = cleared.zip(breakers) {
        let work = Work {
            campaign,
            cleared: Arc::new(cleared),
            epoch: seen.epoch,
            held: Vec::new(),
            segments: JoinSet::new(),
            ends: Vec::new(),
            gone: Gone::none(shared.clock.monotonic()),
            flow,
            renewed: shared.clock.monotonic(),
            through: Through::since(shared.clock.monotonic()),
            may_claim: true,
            looked: shared.clock.monotonic(),
            is_refused: false,
            nights,
            share: Share::of(Arc::clone(&shared)),
            breakers,
            numbers: Numbers::default(),
            stopped,
            shared: Arc::clone(&shared),
        };
        work.run().await;
    } else {
        // Asked again at the next look; a policy that refuses does not change every quarter of a second.
        tokio::select! {
            () = shared.stop.cancelled() => {}
            () = sleep(Duration::from_secs(1)) => {}
        }
    }
    rollout
}

impl Work {
    async fn run(mut self) {
        while !self.is_stopping() {
            self.claim().await;
            let may_open = !self.breakers.has_tripped()
                && !self.breakers.would_fail(&self.ends)
                && self.numbers.allow(&self.shared, &self.campaign).await;
            let opened = self.exchange(may_open).await;
            self.breakers.judge(&self.shared).await;
            self.breakers.tell(&self.shared).await;
            self.gone.mark_some(&self.shared).await;
            self.wait(opened).await;
        }
        self.wind_up().await;
    }

    fn is_stopping(&self) -> bool {
        self.shared.stop.is_cancelled() || self.stopped.load(Ordering::Acquire)
    }

    /// The stage's rate, if its plan names one: at most, where a signal moves it.
    fn stage_rate(&self, stage: u16) -> Option<NonZeroU32> {
        self.campaign.plan.max_rate(stage)
    }

    fn limits(&self, stage: u16) -> Limits {
        Limits::of(&self.shared, &self.campaign, self.stage_rate(stage))
    }

    /// How many devices may be on their way: this rollout's share of the streams and a little ahead of them, and at a slow
    /// rate about as many as this worker got through in the last second, so that an intent is never long before its
    /// request, however many workers share the rate.
    fn capacity(&mut self) -> usize {
        let (share, slowest) = (self.share(), self.slowest());
        let at_once = slowest.map_or(usize::MAX, |rate| {
            let of_fleet = usize::try_from(rate.get()).unwrap_or(usize::MAX);
            let through = self.through.last_second(self.flow.finished(), self.shared.clock.monotonic());
            (through + LEAST).min(of_fleet)
        });
        (share + share / AHEAD).min(at_once).max(1)
    }

    /// How many more devices may be begun.
    fn room(&mut self) -> usize {
        self.capacity().saturating_sub(self.flow.on_the_way())
    }

    /// How many of the streams are this rollout's.
    fn share(&self) -> usize {
        self.shared.streams.get() / self.shared.working.load(Ordering::Acquire).max(1)
    }

    /// The slowest rate among the stages of what is held.
    fn slowest(&self) -> Option<NonZeroU32> {
        self.held.iter().filter_map(|held| self.stage_rate(held.claim.stage)).min()
    }

    async fn claim(&mut self) {
        let left = self.held.iter().filter(|held| !held.is_asked()).count();
        if self.room() == 0 || self.breakers.has_tripped() {
            return;
        }
        let asked = self.shared.clock.monotonic();
        // A slow start has no room while what somebody left behind counts as under way. Whoever waits for room takes that over;
        // otherwise all would wait, with nothing of their own under way, for what nobody has.
        let which = if left < CLAIM_AT_ONCE / 2 {
            Claimable::Any
        } else if self.is_refused && asked.saturating_duration_since(self.looked) >= IDLE {
            Claimable::LeftBehind
        } else {
            return;
        };
        self.looked = asked;
        let shared = &self.shared;
        let claim = shared.ledger.claim_chunks(
            self.campaign.rollout,
            &shared.name,
            CLAIM_AT_ONCE,
            which,
            shared.lease,
            asked,
        );
        match shared.patience.answer(claim).await {
            Ok(claims) => {
                if which == Claimable::Any {
                    self.may_claim = !claims.is_empty();
                }
                self.held.extend(claims.into_iter().map(Held::new));
                // In rising order: two exchanges never wait for each other in a circle.
                self.held.sort_by_key(|held| held.claim.chunk);
            }
            Err(error) => {
                self.may_claim = false;
                tracing::debug!(%error, "no chunk is claimed");
            }
        }
        self.share.set(!self.held.is_empty());
    }

    /// Records what is over and opens what is next. True if anything was opened.
    async fn exchange(&mut self, open_more: bool) -> bool {
        let pieces = if open_more { self.pieces() } else { Vec::new() };
        let ends = std::mem::take(&mut self.ends);
        let done = self.done(&ends, &pieces);
        let asked = self.shared.clock.monotonic();
        let is_due = !self.held.is_empty() && asked.duration_since(self.renewed) >= self.shared.lease / 4;
        if pieces.is_empty() && ends.is_empty() && done.is_empty() && !is_due {
            return false;
        }
        let held: Vec<(u32, u32)> =
            self.held.iter().map(|held| (held.claim.chunk, held.claim.number)).collect();
        let asks: Vec<_> = pieces.iter().map(|(place, piece)| self.held[*place].ask(piece)).collect();
        let exchange = Exchange {
            rollout: self.campaign.rollout,
            epoch: self.epoch,
            worker: &self.shared.name,
            lease: self.shared.lease,
            asked,
            ends: &ends,
            asks: &asks,
            done: &done,
            held: &held,
            key: &self.campaign.key,
            digest: self.campaign.digest,
            stopped: &self.stopped,
            zones: self.nights.is_some(),
        };
        let answer = self.shared.patience.answer(self.shared.ledger.exchange(&exchange)).await;
        drop(asks);
        match answer {
            Ok(answer) => {
                self.renewed = asked;
                for end in &ends {
                    self.breakers.note(end, asked);
                    if let Some(held) = self.held.iter_mut().find(|held| held.claim.chunk == end.chunk) {
                        held.open = held.open.saturating_sub(1);
                    }
                }
                self.take(answer, pieces, &done)
            }
            Err(error) => {
                self.put_back(ends, pieces, &error).await;
                false
            }
        }
    }

    /// The ledger is away: what is over is kept, what was asked for is asked for again.
    async fn put_back(&mut self, ends: Vec<SegmentEnd>, pieces: Vec<(usize, Piece)>, error: &LedgerError) {
        tracing::warn!(campaign = %self.campaign.id, %error, "outcomes are not recorded yet; nothing new is sent meanwhile");
        self.ends = ends;
        // The answer may be all that was lost: what was asked for is asked for again with the same borders, so that it meets
        // the intents that are on record then.
        for (place, piece) in pieces.into_iter().rev() {
            self.held[place].put_back(Piece { again: true, ..piece });
        }
        sleep(IDLE).await;
    }

    /// The next segments, as far as there is room.
    fn pieces(&mut self) -> Vec<(usize, Piece)> {
        let mut room = self.room();
        // The first word of a provider on probation decides: one small segment at a time until then.
        let on_probation = self.breakers.are_on_probation();
        if on_probation {
            room = if self.flow.on_the_way() == 0 && self.ends.is_empty() { room.min(LEAST) } else { 0 };
        }
        let latest = self.held.iter().map(|held| held.claim.stage).max();
        if latest.is_some_and(|stage| self.breakers.is_doubtful(stage, &self.ends)) {
            room = room.min(FIRST.saturating_sub(self.flow.on_the_way()));
        }
        // At slow rates a segment is about a second's worth.
        let most = self.slowest();
        let most =
            most.map_or(SEGMENT_DEVICES, |rate| usize::try_from(rate.get()).unwrap_or(SEGMENT_DEVICES));
        let mut pieces = Vec::new();
        // What was begun before, of every chunk, comes before anything new of any.
        for only_begun in [true, false] {
            for (place, held) in self.held.iter_mut().enumerate() {
                while room > 0 {
                    let next = if only_begun { held.next_begun() } else { held.next(most.min(room)) };
                    let Some(piece) = next else { break };
                    room = if on_probation { 0 } else { room.saturating_sub(piece.positions.len()) };
                    pieces.push((place, piece));
                }
            }
        }
        pieces
    }

    /// Chunks of which, with these ends, everything is over.
    fn done(&self, ends: &[SegmentEnd], asked: &[(usize, Piece)]) -> Vec<(u32, u32)> {
        let is_done = |(place, held): &(usize, &Held)| {
            let ending = ends.iter().filter(|end| end.chunk == held.claim.chunk).count();
            // What is being asked for just now may be refused.
            held.is_asked() && held.open == ending && asked.iter().all(|(of, _)| of != place)
        };
        self.held
            .iter()
            .enumerate()
            .filter(is_done)
            .map(|(_, held)| (held.claim.chunk, held.claim.number))
            .collect()
    }

    /// Acts on what the ledger answered.
    fn take(&mut self, answer: Exchanged, pieces: Vec<(usize, Piece)>, done: &[(u32, u32)]) -> bool {
        let mut opened = false;
        let mut back = Vec::new();
        for ((place, piece), segment) in pieces.into_iter().zip(answer.segments) {
            match segment {
                Ok(open) => {
                    let (start, granted) = (piece.positions.start, open.len());
                    if granted < piece.positions.len() {
                        back.push((
                            place,
                            Piece { positions: start + granted..piece.positions.end, again: false },
                        ));
                    }
                    let held = &mut self.held[place];
                    held.open += 1;
                    let of =
                        Place { chunk: held.claim.chunk, stage: held.claim.stage, claim: held.claim.number };
                    self.flow.begin(granted);
                    let limits = Arc::new(self.limits(of.stage));
                    let (shared, cleared) = (Arc::clone(&self.shared), Arc::clone(&self.cleared));
                    let (flow, asleep) = (Arc::clone(&self.flow), asleep(self.nights.as_mut(), &open));
                    self.segments.spawn(segment::send(shared, cleared, limits, flow, of, open, asleep));
                    opened = true;
                }
                Err(NoIntent::Window | NoIntent::StageClosed) => back.push((place, piece)),
                // Its outcomes came in, or somebody else answers for it.
                Err(NoIntent::Recorded | NoIntent::ClaimLost) => {}
                Err(why @ (NoIntent::Stopped | NoIntent::Halted | NoIntent::Expired)) => {
                    if why == NoIntent::Halted {
                        self.flow.halt(self.campaign.id);
                    }
                    self.stopped.store(true, Ordering::Release);
                    // Still to be sent, as far as its chunk is concerned: it must not look done.
                    back.push((place, piece));
                }
            }
        }
        for (place, piece) in back.into_iter().rev() {
            self.held[place].put_back(piece);
        }
        let mut until = answer.until.into_iter();
        self.held.retain_mut(|held| {
            let until = until.next().flatten();
            let is_done = done.contains(&(held.claim.chunk, held.claim.number));
            if let Some(until) = until {
                held.claim.until = until;
            }
            until.is_some() && !is_done
        });
        opened
    }

    /// Waits until an exchange is worth its round trip: there is room for a segment, outcomes have waited for company, or
    /// somebody has news. `opened` says whether the last one opened anything.
    async fn wait(&mut self, opened: bool) {
        let shared = Arc::clone(&self.shared);
        let wants_more = self.may_claim || self.held.iter().any(|held| !held.is_asked());
        let capacity = self.capacity();
        let enough = ENOUGH.min(capacity / ENOUGH_SHARE).max(1);
        // Room that was there and was not given is a slow start's: outcomes are awaited, this worker's or another's.
        let is_refused = wants_more && !opened && self.room() >= enough;
        self.is_refused = is_refused;
        let awaits_room = wants_more && !is_refused;
        let pause = if is_refused && self.segments.is_empty() { WINDOW } else { IDLE };
        let now = || tokio::time::Instant::from_std(shared.clock.monotonic());
        let mut until = now() + if self.ends.is_empty() { pause } else { COMPANY };
        let flow = Arc::clone(&self.flow);
        loop {
            tokio::select! {
                Some(ended) = self.segments.join_next(), if !self.segments.is_empty() => {
                    self.note(ended);
                    while let Some(ended) = self.segments.try_join_next() {
                        self.note(ended);
                    }
                    if is_refused || self.segments.is_empty() {
                        return;
                    }
                    until = until.min(now() + COMPANY);
                }
                () = flow.falls_to(capacity - enough), if awaits_room => return,
                () = tokio::time::sleep_until(until) => return,
                () = shared.work.notified() => return,
                () = shared.stop.cancelled() => return,
            }
        }
    }

    fn note(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        match ended {
            Ok(Ended { end, gone }) => {
                self.gone.note(gone, self.shared.clock.monotonic());
                // Counted as open until it is recorded; see `done`.
                self.ends.push(end);
            }
            Err(error) => {
                // Its chunk would be held for ever: everything is given back, and begun anew at the next look.
                tracing::error!(%error, "a segment's task died");
                self.stopped.store(true, Ordering::Release);
            }
        }
    }
}
