//! Apple's protocol: the request, and what each answer means. Pure.
//!
//! Source: Sending notification requests to APNs; Handling notification responses from APNs.
//! <https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns>
//! <https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns>

use bytes::{BufMut as _, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::AUTHORIZATION,
    uri::{Authority, InvalidUriParts, Parts, PathAndQuery, Scheme},
};
use jiff::Timestamp;
use uuid::Uuid;

use super::answer::{Answer, Step, retry_after};
use crate::model::{Outcome, Priority, Reason, ThrottleScope};

static APNS_ID: HeaderName = HeaderName::from_static("apns-id");
static APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");
static APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
static APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
static APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
static APNS_COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");

/// What one request says, besides its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    /// The device token; visible ASCII without `/`.
    pub(super) token: &'a str,
    pub(super) message_id: Uuid,
    pub(super) collapse_id: &'a str,
    pub(super) priority: Priority,
    pub(super) expires_at: Timestamp,
}

/// Builds requests of one app.
#[derive(Debug)]
pub(super) struct Requests {
    authority: Authority,
    topic: HeaderValue,
}

impl Requests {
    pub(super) const fn new(authority: Authority, topic: HeaderValue) -> Self {
        Self { authority, topic }
    }

    /// `POST /3/device/{token}`. `authorization` is marked sensitive by whoever made it, and so is never
    /// indexed by HPACK: valid under both of Apple's contradicting pages.
    pub(super) fn build(
        &self,
        ask: &Ask<'_>,
        authorization: HeaderValue,
    ) -> Result<Request<()>, http::Error> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri(ask.token)?;
        let headers = request.headers_mut();
        headers.reserve(7);
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(&APNS_TOPIC, self.topic.clone());
        headers.insert(&APNS_PUSH_TYPE, HeaderValue::from_static("alert"));
        headers.insert(
            &APNS_PRIORITY,
            HeaderValue::from_static(match ask.priority {
                Priority::High => "10",
                Priority::Normal => "5",
            }),
        );
        headers.insert(&APNS_EXPIRATION, HeaderValue::from(ask.expires_at.as_second()));
        headers.insert(&APNS_COLLAPSE_ID, HeaderValue::from_str(ask.collapse_id)?);
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        let mut id = HeaderValue::from_str(ask.message_id.hyphenated().encode_lower(&mut id))?;
        // Not secret, but never the same twice: it would only push useful entries out of HPACK's table.
        id.set_sensitive(true);
        headers.insert(&APNS_ID, id);
        Ok(request)
    }

    fn uri(&self, token: &str) -> Result<Uri, http::Error> {
        const PATH: &[u8] = b"/3/device/";
        let mut path = BytesMut::with_capacity(PATH.len() + token.len());
        path.put_slice(PATH);
        path.put_slice(token.as_bytes());
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(path.freeze())?);
        Uri::from_parts(parts).map_err(|error: InvalidUriParts| error.into())
    }
}

#[derive(serde::Deserialize, Default)]
struct Body {
    reason: Option<String>,
    /// Milliseconds since the epoch: since when the token is dead.
    timestamp: Option<i64>,
}

/// Reads Apple's answer. A reason that is not listed keeps its word and acts by its status.
pub(super) fn read_answer(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Answer {
    if status == StatusCode::OK {
        let id = headers.get(&APNS_ID).and_then(|id| id.to_str().ok());
        return Answer::tell(Outcome::Accepted { provider_id: id.map(Into::into) });
    }
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let word = body.reason.as_deref().unwrap_or_default();
    let reason = Reason::new(if word.is_empty() { status.as_str() } else { word });
    let throttled = |scope, reason| {
        Answer::tell(Outcome::Throttled { scope, retry_after: retry_after(headers, now), reason })
    };
    match (status.as_u16(), word) {
        (400, "IdleTimeout") => Answer::tell(unavailable(headers, now, reason)).step(Step::Reconnect),
        (403, "ExpiredProviderToken") => Answer::stop(reason).step(Step::Reauthorize),
        (403, "UnrelatedKeyIdInToken") => Answer::stop(reason).step(Step::Reconnect),
        (403, "Forbidden") => Answer::rejected(reason).step(Step::CountForbidden).unproven(),
        // The rest of 403 speaks of credentials, also in words that are not known yet.
        (401 | 403, _) | (400, "TopicDisallowed") => Answer::stop(reason),
        (410, "Unregistered" | "ExpiredToken") => {
            let since = body.timestamp.and_then(|ms| Timestamp::from_millisecond(ms).ok());
            Answer::gone(reason, since, true)
        }
        // A wrong environment or topic of ours looks the same.
        (400, "BadDeviceToken" | "DeviceTokenNotForTopic") | (410, _) => Answer::gone(reason, None, false),
        (429, "TooManyProviderTokenUpdates") => {
            throttled(ThrottleScope::Project, reason).step(Step::KeepToken)
        }
        (429, _) => throttled(ThrottleScope::Device, reason),
        (503, "Shutdown") => Answer::tell(unavailable(headers, now, reason)).step(Step::Retire),
        (500..=599, _) => Answer::tell(unavailable(headers, now, reason)),
        (400..=499, _) => Answer::rejected(reason),
        // Nothing that Apple documents: it may mean anything.
        _ => Answer::tell(Outcome::Unknown { retry_after: retry_after(headers, now), reason }),
    }
}

fn unavailable(headers: &HeaderMap, now: Timestamp, reason: Reason) -> Outcome {
    Outcome::Unavailable { retry_after: retry_after(headers, now), reason }
}

/// The reason of a GOAWAY that says that our credentials are refused.
pub(super) fn farewell_stops(reason: &Reason) -> bool {
    matches!(
        reason.as_str(),
        "BadCertificate"
            | "BadCertificateEnvironment"
            | "InvalidProviderToken"
            | "MissingProviderToken"
            | "BadEnvironmentKeyIdInToken"
            | "BadEnvironmentKeyInToken"
    )
}

#[cfg(test)]
mod tests;
