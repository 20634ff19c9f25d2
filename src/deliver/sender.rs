//! One app's sender to one provider: credentials, connections and what an answer sets off.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, Request};
use jiff::Timestamp;

use super::{
    answer::{Answer, Step},
    apns,
    config::{ApnsConfig, Endpoint, FcmConfig, Transport},
    credentials::{AccessToken, CannotSign, CredentialError, NoAccess, ProviderToken, Renewal},
    fcm,
    gate::Gate,
    h2pool::{Asked, Lease, NoReply, NoStream, Pool, Reply, Streams},
    permit::Permit,
    tls::provider_tls,
};
use crate::{
    clock::Clock,
    model::{AppId, Message, NotSent, Outcome, Provider, Reason},
};

/// What is sent to whom. Only a permit is made into one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parcel<'p> {
    pub(super) message: &'p Message,
    /// The message is worthless after this, on the monotonic clock.
    pub(super) until: Instant,
    /// Says whether the intent may still be acted on.
    pub(super) permit: &'p Permit<'p>,
}

/// What came of one send.
#[derive(Debug)]
pub(super) enum Delivered {
    Done(Outcome),
    /// The provider did not take the stream.
    NotTaken,
}

/// An app's sender.
#[derive(Debug)]
pub(super) struct Sender {
    app: AppId,
    clock: Clock,
    gate: Gate,
    pool: Pool,
    provider: Adapter,
}

#[derive(Debug)]
enum Adapter {
    Apns { requests: apns::Requests, token: Arc<ProviderToken> },
    Fcm { requests: fcm::Requests, token: Arc<AccessToken> },
}

/// What has been tried already: each remedy is tried once.
#[derive(Debug, Default)]
struct Tried {
    reauthorized: bool,
    reconnected: bool,
    repeated: bool,
}

/// Why there is no answer to read.
enum NoAnswer {
    Outcome(Outcome),
    NotTaken,
}

impl Sender {
    pub(super) fn apns(
        app: AppId,
        config: &ApnsConfig,
        endpoint: Endpoint,
        token: Arc<ProviderToken>,
        transport: Transport,
        clock: Clock,
    ) -> Result<Self, CredentialError> {
        let topic = HeaderValue::from_str(&config.topic)
            .map_err(|_| CredentialError::Setting { setting: "topic" })?;
        let requests = apns::Requests::new(endpoint.authority().clone(), topic);
        let tls = provider_tls(config.ca_file.as_deref())?;
        let pool = Pool::new(endpoint, tls, Streams::OneUntilProven, transport, clock.clone());
        let gate = Gate::new(clock.clone());
        Ok(Self { app, clock, gate, pool, provider: Adapter::Apns { requests, token } })
    }

    pub(super) fn fcm(
        app: AppId,
        config: &FcmConfig,
        token: Arc<AccessToken>,
        transport: Transport,
        clock: Clock,
    ) -> Result<Self, CredentialError> {
        let requests = fcm::Requests::new(&config.endpoint, config)
            .map_err(|_| CredentialError::Setting { setting: "project" })?;
        let tls = provider_tls(config.ca_file.as_deref())?;
        let pool = Pool::new(config.endpoint.clone(), tls, Streams::AtOnce, transport, clock.clone());
        let gate = Gate::new(clock.clone());
        Ok(Self { app, clock, gate, pool, provider: Adapter::Fcm { requests, token } })
    }

    pub(super) const fn app(&self) -> &AppId {
        &self.app
    }

    pub(super) const fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) const fn provider(&self) -> Provider {
        match self.provider {
            Adapter::Apns { .. } => Provider::Apns,
            Adapter::Fcm { .. } => Provider::Fcm,
        }
    }

    /// When the credentials at hand stop being valid; `None` before there are any.
    pub(super) fn credential_expiry(&self) -> Option<Timestamp> {
        match &self.provider {
            Adapter::Apns { token, .. } => token.expires_at(),
            Adapter::Fcm { token, .. } => token.expires_at(),
        }
    }

    /// Makes sure that there are credentials, without sending anything.
    pub(super) async fn authorize(&self) -> Result<(), NoAccess> {
        self.authorization().await.map(drop)
    }

    /// Sends a parcel: once, and once more for each remedy that an answer asks for.
    pub(super) async fn send(&self, parcel: &Parcel<'_>) -> Delivered {
        let _pass = match self.gate.pass() {
            Ok(pass) => pass,
            Err(why) => return Delivered::Done(Outcome::NotSent(why)),
        };
        let mut tried = Tried::default();
        loop {
            let outcome = match self.attempt(parcel).await {
                Ok((answer, lease, used)) => match self.act(answer, &lease, &used, &mut tried).await {
                    Some(outcome) => outcome,
                    None => continue,
                },
                Err(NoAnswer::Outcome(outcome)) => outcome,
                Err(NoAnswer::NotTaken) => return Delivered::NotTaken,
            };
            if self.gate.learn(&outcome) {
                // Apple: a revoked key or a moved app means new connections.
                self.pool.retire_all();
                let (app, provider) = (&self.app, self.provider());
                let reason = outcome.reason();
                tracing::error!(%app, %provider, ?reason, "credentials are refused; the sender stops");
            }
            return Delivered::Done(outcome);
        }
    }

    /// One request and its answer, with the stream it used and the authorization it carried.
    async fn attempt(&self, parcel: &Parcel<'_>) -> Result<(Answer, Lease, HeaderValue), NoAnswer> {
        let stop = |reason| NoAnswer::Outcome(Outcome::CredentialStop { reason });
        let authorization = self.authorization().await.map_err(|error| match error {
            NoAccess::Refused(reason) => stop(reason),
            NoAccess::Unavailable(reason) => {
                NoAnswer::Outcome(Outcome::Unavailable { retry_after: None, reason })
            }
        })?;
        let mut lease = self.pool.lease(parcel.until).await.map_err(|error| {
            NoAnswer::Outcome(match error {
                NoStream::NoConnection => Outcome::NotSent(NotSent::NoConnection),
                NoStream::Late => Outcome::Expired,
            })
        })?;
        let replied = match self.begin(parcel, &mut lease, &authorization)? {
            Ok(asked) => lease.answer(asked).await,
            Err(refused) => Err(refused),
        };
        match replied {
            Ok(reply) => Ok((self.read(&reply), lease, authorization)),
            Err(NoReply::NotTaken(Some(reason))) if apns::farewell_stops(&reason) => Err(stop(reason)),
            Err(NoReply::NotTaken(_)) => Err(NoAnswer::NotTaken),
            Err(NoReply::Unknown(reason)) => {
                Err(NoAnswer::Outcome(Outcome::Unknown { retry_after: None, reason }))
            }
        }
    }

    /// Writes the request, unless it is too late. Apart from the waiting, so that the request is no part of every
    /// send's future.
    fn begin(
        &self,
        parcel: &Parcel<'_>,
        lease: &mut Lease,
        authorization: &HeaderValue,
    ) -> Result<Result<Asked, NoReply>, NoAnswer> {
        let (request, body) = self.request(parcel, authorization.clone()).map_err(|_| {
            NoAnswer::Outcome(Outcome::Rejected { reason: Reason::new("request_cannot_be_built") })
        })?;
        // I5 halt-is-now, I9 nothing-late: asked last, after every wait.
        let now = self.clock.monotonic();
        if let Err(why) = parcel.permit.is_valid(now) {
            return Err(NoAnswer::Outcome(Outcome::NotSent(why)));
        }
        if now >= parcel.until {
            return Err(NoAnswer::Outcome(Outcome::Expired));
        }
        let until = parcel.permit.until().map_or(parcel.until, |until| until.min(parcel.until));
        Ok(lease.ask(request, body, until))
    }

    async fn authorization(&self) -> Result<HeaderValue, NoAccess> {
        match &self.provider {
            Adapter::Apns { token, .. } => {
                token.authorization().map_err(|CannotSign| NoAccess::Refused(Reason::new("cannot_sign")))
            }
            Adapter::Fcm { token, .. } => token.authorization().await,
        }
    }

    fn request(
        &self,
        parcel: &Parcel<'_>,
        authorization: HeaderValue,
    ) -> Result<(Request<()>, Bytes), http::Error> {
        let payload = parcel.message.for_device(parcel.permit.device());
        let token = parcel.permit.device().token.reveal();
        match &self.provider {
            Adapter::Apns { requests, .. } => {
                let ask = apns::Ask {
                    token,
                    message_id: parcel.permit.message_id(),
                    collapse_id: parcel.message.collapse_id(),
                    priority: parcel.message.priority(),
                    expires_at: parcel.message.expires_at(),
                };
                Ok((requests.build(&ask, authorization)?, payload.apns().clone()))
            }
            Adapter::Fcm { requests, .. } => Ok((requests.build(authorization), fcm::body(payload, token))),
        }
    }

    fn read(&self, reply: &Reply) -> Answer {
        let now = self.clock.now();
        match self.provider {
            Adapter::Apns { .. } => apns::read_answer(reply.status, &reply.headers, &reply.body, now),
            Adapter::Fcm { .. } => fcm::read_answer(reply.status, &reply.headers, &reply.body, now),
        }
    }

    /// Does what an answer asks for. `None` means: send again.
    async fn act(
        &self,
        answer: Answer,
        lease: &Lease,
        used: &HeaderValue,
        tried: &mut Tried,
    ) -> Option<Outcome> {
        let Answer { outcome, step, proves } = answer;
        if proves {
            lease.prove();
            self.gate.proven();
        }
        let first = |tried: &mut bool| !std::mem::replace(tried, true);
        match step {
            Step::Reauthorize if first(&mut tried.reauthorized) => {
                Box::pin(self.reauthorize(outcome, used)).await
            }
            Step::Reconnect if first(&mut tried.reconnected) => {
                lease.retire();
                None
            }
            Step::Repeat if first(&mut tried.repeated) => None,
            // Or the remedy has been tried already.
            Step::Tell | Step::Reauthorize | Step::Reconnect | Step::Repeat => Some(outcome),
            Step::Retire => {
                lease.retire();
                Some(outcome)
            }
            Step::KeepToken => {
                if let Adapter::Apns { token, .. } = &self.provider {
                    token.keep();
                }
                Some(outcome)
            }
            Step::CountForbidden => {
                let reason = outcome.reason().unwrap_or_else(|| Reason::new("Forbidden"));
                Some(self.gate.forbidden(outcome, reason))
            }
        }
    }

    async fn reauthorize(&self, otherwise: Outcome, used: &HeaderValue) -> Option<Outcome> {
        match &self.provider {
            Adapter::Apns { token, .. } => match token.expired(used) {
                Ok(Renewal::Renewed) => None,
                Ok(Renewal::WasFresh) => {
                    let app = &self.app;
                    tracing::error!(%app, "Apple calls a fresh provider token expired: suspect this host's clock");
                    Some(otherwise)
                }
                Err(CannotSign) => Some(otherwise),
            },
            Adapter::Fcm { token, .. } => match token.refused(used).await {
                Ok(_) => None,
                Err(NoAccess::Refused(_)) => Some(otherwise),
                Err(NoAccess::Unavailable(reason)) => {
                    Some(Outcome::Unavailable { retry_after: None, reason })
                }
            },
        }
    }
}
