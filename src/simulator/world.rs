//! What the simulated vendors know, and how they decide about one request.

#![expect(clippy::result_large_err, reason = "the error is the answer itself, made once and moved twice")]

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, request::Parts};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};

use super::{
    Environment, FaultAction, Profile, Provider, QuotaScope, RecordDetail, RecordedRequest, apns,
    dice::Dice,
    fault::Faults,
    fcm,
    oauth::AccessTokens,
    phones::{Picture, Unreachable},
    profile::{Fate, Incident},
    provider_token::ProviderTokens,
    record::Record,
    reply::Reply,
};
use crate::clock::Clock;

/// Where on the wire a request came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) connection: u64,
    pub(super) stream: u32,
}

/// What to do with the stream of a request.
#[derive(Debug)]
pub(super) enum Act {
    Answer(Reply),
    RefuseStream,
    ResetStream,
    CloseConnection,
    GoAway { graceful: bool, reason: Option<String>, answer: Option<Reply> },
    Silence,
}

/// A decision about one request.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) act: Act,
    pub(super) delay: Duration,
    /// The sender's credentials were accepted.
    pub(super) trusted: bool,
}

/// A correct request, the same for both providers.
struct Asked<'a> {
    token: &'a str,
    registered_with: &'a str,
    slot: Option<&'a str>,
    text: Option<(&'a str, &'a str)>,
}

/// What was decided before it is recorded.
struct Outcome {
    act: Act,
    delay: Duration,
    taken: bool,
}

/// Whether bodies are taken: a provider whose windows are shut has the beginning of a request and nothing more.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    withheld: AtomicBool,
    pub(super) turned: Notify,
    /// Requests whose beginning came while the windows were shut, and whose body has not come yet.
    pub(super) awaited: AtomicU64,
}

impl Bodies {
    pub(super) fn are_withheld(&self) -> bool {
        self.withheld.load(Ordering::Acquire)
    }

    pub(super) fn withhold(&self, withheld: bool) {
        self.withheld.store(withheld, Ordering::Release);
        self.turned.notify_waiters();
    }
}

/// Everything that connections share.
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) started: Instant,
    pub(super) seed: u64,
    pub(super) profile: Profile,
    pub(super) detail: RecordDetail,
    pub(super) topics: Vec<String>,
    pub(super) environment: Environment,
    pub(super) project: String,
    pub(super) provider_tokens: ProviderTokens,
    pub(super) access_tokens: AccessTokens,
    pub(super) faults: Faults,
    pub(super) record: Mutex<Record>,
    pub(super) arrived: Notify,
    pub(super) connections: AtomicU64,
    pub(super) bodies: Bodies,
    /// True while pushes are read, recorded and not answered.
    pub(super) answers_held: watch::Sender<bool>,
}

impl World {
    /// Returns when answers are not held.
    pub(super) async fn may_answer(&self) {
        if *self.answers_held.borrow() {
            let mut held = self.answers_held.subscribe();
            // It cannot fail: the sender is here.
            let _released = held.wait_for(|held| !held).await;
        }
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Decides about a push request that was read to its end, and records it.
    pub(super) fn decide(&self, provider: Provider, seat: Seat, parts: &Parts, body: &[u8]) -> Decision {
        match provider {
            Provider::Apns => self.decide_apns(seat, parts, body),
            Provider::Fcm | Provider::OAuth => self.decide_fcm(seat, parts, body),
        }
    }

    /// Counts a stream that was refused before it was read.
    pub(super) fn note_refused(&self, provider: Provider) {
        self.record().count(provider, None, "REFUSED_STREAM".into());
        self.arrived.notify_waiters();
    }

    fn decide_apns(&self, seat: Seat, parts: &Parts, body: &[u8]) -> Decision {
        let now = self.clock.now();
        let id = self.message_id(&parts.headers, seat);
        let sender = apns::check_sender(parts, &self.provider_tokens, now);
        let trusted = sender.is_ok();
        let checked = sender.and_then(|token| apns::check_request(token, &parts.headers, body, &self.topics));
        let asked = checked.as_ref().map(|request| Asked {
            token: request.token,
            registered_with: request.app,
            // The id is always ASCII: it is either a checked UUID or one of ours.
            slot: request.collapse_id.or_else(|| id.to_str().ok()),
            text: request.text.as_ref().map(|text| (&*text.title, &*text.body)),
        });
        let mut decision = self.settle(Provider::Apns, seat, parts, body, trusted, &asked);
        if let Act::Answer(reply) | Act::GoAway { answer: Some(reply), .. } = &mut decision.act {
            reply.apns_id = Some(id);
        }
        decision
    }

    fn decide_fcm(&self, seat: Seat, parts: &Parts, body: &[u8]) -> Decision {
        let now = self.clock.now();
        let sender = fcm::check_sender(parts, &self.project, &self.access_tokens, now);
        let trusted = sender.is_ok();
        let checked = sender.and_then(|()| fcm::check_message(body));
        let asked = checked.as_ref().map(|message| Asked {
            token: &message.token,
            registered_with: &self.project,
            slot: message.tag.as_deref(),
            text: message.text.as_ref().map(|(title, body)| (&**title, &**body)),
        });
        self.settle(Provider::Fcm, seat, parts, body, trusted, &asked)
    }

    /// The `apns-id` of the request if it is one, else one of our own.
    fn message_id(&self, headers: &HeaderMap, seat: Seat) -> HeaderValue {
        let given = headers.get("apns-id");
        let given = given.filter(|id| id.to_str().is_ok_and(apns::is_message_id));
        given.cloned().unwrap_or_else(|| {
            let mut dice = Dice::new(self.seed, &[1, seat.connection, seat.stream.into()]);
            let id = uuid::Uuid::from_u64_pair(dice.next(), dice.next()).to_string();
            HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static(""))
        })
    }

    /// Decides and records under one lock, so that a screen never runs ahead of the record.
    fn settle(
        &self,
        provider: Provider,
        seat: Seat,
        parts: &Parts,
        body: &[u8],
        trusted: bool,
        asked: &Result<Asked<'_>, &Reply>,
    ) -> Decision {
        let at_micros = self.clock.now().as_microsecond();
        let mut record = self.record();
        let token = asked.as_ref().ok().map(|asked| asked.token);
        let outcome = match asked {
            Ok(asked) => self.outcome(provider, seat, asked, at_micros / 1000, &mut record),
            // Wrong requests are answered at once: there is no profile of them.
            Err(reply) => Outcome { act: Act::Answer((*reply).clone()), delay: Duration::ZERO, taken: false },
        };
        if let (Ok(asked), true) = (asked, outcome.taken) {
            let picture = Picture { slot: asked.slot, text: asked.text };
            record.phones.show(asked.token, &picture, at_micros);
        }
        let (status, reason) = told(&outcome.act);
        let number = record.count(provider, status, reason.clone());
        if self.detail == RecordDetail::Full {
            let seen = RecordedRequest {
                number,
                at_micros,
                elapsed_micros: self.elapsed_micros(),
                provider,
                connection: seat.connection,
                stream: seat.stream,
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                headers: headers_of(&parts.headers, trusted),
                body: String::from_utf8_lossy(body).into_owned(),
                token: token.map(str::to_owned),
                status,
                reason,
                taken: outcome.taken,
            };
            record.requests.push(Arc::new(seen));
        }
        drop(record);
        self.arrived.notify_waiters();
        Decision { act: outcome.act, delay: outcome.delay, trusted }
    }

    pub(super) fn elapsed_micros(&self) -> u64 {
        let elapsed = self.clock.monotonic().saturating_duration_since(self.started);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }

    /// A scripted fault first, then what the phone is, then what the profile draws.
    fn outcome(
        &self,
        provider: Provider,
        seat: Seat,
        asked: &Asked<'_>,
        now_ms: i64,
        record: &mut Record,
    ) -> Outcome {
        let mut dice = Dice::new(self.seed, &[2, seat.connection, seat.stream.into()]);
        let mut delay = self.profile.delay(&mut dice);
        let strike = self.faults.strike(provider, asked.token);
        delay = strike.as_ref().and_then(|strike| strike.delay).unwrap_or(delay);
        let reached = record.phones.reach(provider, asked.token, asked.registered_with, self.environment);
        let (act, taken) = match strike.map(|strike| strike.action) {
            None | Some(FaultAction::Proceed) => {
                self.ordinary(provider, asked.token, reached, now_ms, &mut dice)
            }
            Some(FaultAction::Answer(answer)) => {
                let taken = answer.taken;
                let reply = Reply::scripted(provider, answer, &self.project, now_ms);
                (Act::Answer(reply), taken)
            }
            Some(FaultAction::RefuseStream) => (Act::RefuseStream, false),
            Some(FaultAction::ResetStream { taken }) => (Act::ResetStream, taken),
            Some(FaultAction::CloseConnection { taken }) => (Act::CloseConnection, taken),
            Some(FaultAction::Silence { taken }) => (Act::Silence, taken),
            Some(FaultAction::GoAway { graceful: false, reason }) => {
                (Act::GoAway { graceful: false, reason, answer: None }, false)
            }
            Some(FaultAction::GoAway { graceful: true, reason }) => {
                let ordinary = self.ordinary(provider, asked.token, reached, now_ms, &mut dice);
                let answer = if let (Act::Answer(reply), _) = &ordinary { Some(reply.clone()) } else { None };
                let taken = ordinary.1 && answer.is_some();
                (Act::GoAway { graceful: true, reason, answer }, taken)
            }
        };
        Outcome { act, delay, taken }
    }

    /// The answer without any script.
    fn ordinary(
        &self,
        provider: Provider,
        token: &str,
        reached: Result<(), Unreachable>,
        now_ms: i64,
        dice: &mut Dice,
    ) -> (Act, bool) {
        let ios = provider == Provider::Apns;
        let reached = reached.and_then(|()| match self.profile.fate(self.seed, token) {
            Fate::Alive => Ok(()),
            Fate::Dead => Err(Unreachable::Gone { since_ms: now_ms }),
            Fate::Bad => Err(Unreachable::Malformed),
        });
        if let Err(why) = reached {
            return (Act::Answer(if ios { no_apns(why) } else { no_fcm(why, token) }), false);
        }
        let failed = |apns: &'static str, status, code: &'static str| {
            Act::Answer(if ios {
                Reply::apns(status, apns)
            } else {
                Reply::fcm(status, code, "Internal error encountered.")
            })
        };
        match self.profile.incident(dice) {
            Incident::Nothing if ios => (Act::Answer(Reply::apns_accepted()), true),
            Incident::Nothing => {
                let number = [dice.next(), dice.next()];
                (Act::Answer(Reply::fcm_accepted(&self.project, number)), true)
            }
            Incident::Throttled if ios => (Act::Answer(Reply::apns(429, "TooManyRequests")), false),
            Incident::Throttled => (Act::Answer(Reply::fcm_quota(QuotaScope::Device, &self.project)), false),
            // APNs documents that it took nothing; Google that it may have.
            Incident::InternalError { taken } => {
                (failed("InternalServerError", 500, "INTERNAL"), taken && !ios)
            }
            Incident::Unavailable { taken } => {
                (failed("ServiceUnavailable", 503, "UNAVAILABLE"), taken && !ios)
            }
            Incident::Reset { taken } => (Act::ResetStream, taken),
        }
    }
}

fn no_apns(why: Unreachable) -> Reply {
    match why {
        Unreachable::Unknown | Unreachable::Malformed => Reply::apns(400, "BadDeviceToken"),
        Unreachable::Elsewhere => Reply::apns(400, "DeviceTokenNotForTopic"),
        Unreachable::Gone { since_ms } => Reply::apns_gone("Unregistered", since_ms),
    }
}

fn no_fcm(why: Unreachable, token: &str) -> Reply {
    match why {
        Unreachable::Elsewhere => Reply::fcm(403, "SENDER_ID_MISMATCH", "SenderId mismatch"),
        // Google tells a token that was never one from one that is none any more by its form.
        Unreachable::Unknown if token.contains(":APA91b") => fcm_gone(),
        Unreachable::Gone { .. } => fcm_gone(),
        Unreachable::Unknown | Unreachable::Malformed => Reply::fcm_field(
            "message.token",
            "The registration token is not a valid FCM registration token",
            false,
        ),
    }
}

fn fcm_gone() -> Reply {
    Reply::fcm(404, "UNREGISTERED", "Requested entity was not found.")
}

/// Status and reason as the record has them.
fn told(act: &Act) -> (Option<u16>, Cow<'static, str>) {
    match act {
        Act::Answer(reply) | Act::GoAway { answer: Some(reply), .. } => {
            (Some(reply.status), reply.reason.clone())
        }
        Act::RefuseStream => (None, "REFUSED_STREAM".into()),
        Act::ResetStream => (None, "RST_STREAM".into()),
        Act::CloseConnection => (None, "closed".into()),
        Act::GoAway { .. } => (None, "GOAWAY".into()),
        Act::Silence => (None, "silence".into()),
    }
}

/// All headers, the credential replaced.
pub(super) fn headers_of(headers: &HeaderMap, trusted: bool) -> Vec<(String, String)> {
    let shown = |name: &http::HeaderName, value: &HeaderValue| {
        if name != http::header::AUTHORIZATION {
            return String::from_utf8_lossy(value.as_bytes()).into_owned();
        }
        if trusted {
            return "valid".to_owned();
        }
        let digest = Sha256::digest(value.as_bytes());
        digest[..8].iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    };
    headers.iter().map(|(name, value)| (name.to_string(), shown(name, value))).collect()
}
