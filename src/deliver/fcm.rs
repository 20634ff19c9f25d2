//! Google's protocol (FCM HTTP v1): the request, and what each answer means. Pure.
//!
//! Source: REST resource projects.messages; FCM error codes; google.rpc error details.
//! <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send>
//! <https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode>

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    answer::{Answer, Step, retry_after},
    config::{Endpoint, FcmConfig},
};
use crate::model::{Outcome, Payload, Reason, ThrottleScope};

/// Builds requests of one project.
#[derive(Debug)]
pub(super) struct Requests {
    uri: Uri,
}

impl Requests {
    pub(super) fn new(endpoint: &Endpoint, config: &FcmConfig) -> Result<Self, http::Error> {
        let path = format!("/v1/projects/{}/messages:send", config.project);
        let uri = Uri::builder()
            .scheme("https")
            .authority(endpoint.authority().clone())
            .path_and_query(path)
            .build()?;
        Ok(Self { uri })
    }

    /// `POST /v1/projects/{project}/messages:send`.
    pub(super) fn build(&self, authorization: HeaderValue) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.reserve(2);
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }
}

/// The body for one device: only the token differs. A [`crate::model::Token`] needs no escaping in JSON.
pub(super) fn body(payload: &Payload, token: &str) -> Bytes {
    let (head, tail) = payload.fcm();
    let mut body = BytesMut::with_capacity(head.len() + token.len() + tail.len());
    body.extend_from_slice(head);
    body.extend_from_slice(token.as_bytes());
    body.extend_from_slice(tail);
    body.freeze()
}

#[derive(Deserialize)]
struct Accepted {
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failed {
    error: Failure,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failure {
    status: String,
    details: Vec<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    #[serde(rename = "@type")]
    kind: String,
    error_code: String,
    field_violations: Vec<FieldViolation>,
    violations: Vec<QuotaViolation>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FieldViolation {
    field: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct QuotaViolation {
    subject: String,
    description: String,
}

/// The details of an error that decide anything.
#[derive(Default)]
struct Details {
    fcm_error: Option<String>,
    token_is_at_fault: bool,
    quota: Option<ThrottleScope>,
}

impl Details {
    fn read(details: Vec<serde_json::Value>) -> Self {
        let mut all = Self::default();
        for detail in details {
            // One detail that is not understood must not hide the others.
            let Ok(detail) = serde_json::from_value::<Detail>(detail) else { continue };
            if detail.kind.ends_with("google.firebase.fcm.v1.FcmError") && !detail.error_code.is_empty() {
                all.fcm_error = Some(detail.error_code);
            } else if detail.kind.ends_with("google.rpc.BadRequest") {
                let at_fault = |violation: &FieldViolation| violation.field == "message.token";
                all.token_is_at_fault |= detail.field_violations.iter().any(at_fault);
            } else if detail.kind.ends_with("google.rpc.QuotaFailure") {
                all.quota = detail.violations.iter().map(QuotaViolation::scope).next();
            }
        }
        all
    }
}

impl QuotaViolation {
    /// Google's documentation tells the three quotas apart in words only.
    fn scope(&self) -> ThrottleScope {
        let says = |word: &str| [&self.subject, &self.description].iter().any(|text| has_word(text, word));
        if says("device") {
            ThrottleScope::Device
        } else if says("topic") {
            ThrottleScope::Topic
        } else {
            ThrottleScope::Project
        }
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part.eq_ignore_ascii_case(word))
}

/// Reads Google's answer: the `FcmError` first, then the status. A code that is not listed keeps its word and acts by
/// its status.
pub(super) fn read_answer(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Answer {
    if status == StatusCode::OK {
        let name = serde_json::from_slice::<Accepted>(body).ok().map(|accepted| accepted.name.into());
        return Answer::tell(Outcome::Accepted { provider_id: name });
    }
    let failure = serde_json::from_slice::<Failed>(body).unwrap_or_default().error;
    let details = Details::read(failure.details);
    let code = details.fcm_error.as_deref();
    let reason = Reason::new(match (code, failure.status.as_str()) {
        (Some(code), _) => code,
        (None, "") => status.as_str(),
        (None, status) => status,
    });
    let retry_after = retry_after(headers, now);
    let unknown = |reason| Answer::tell(Outcome::Unknown { retry_after, reason });
    match code {
        Some("INVALID_ARGUMENT") if details.token_is_at_fault => return Answer::gone(reason, None, true),
        Some("INVALID_ARGUMENT" | "THIRD_PARTY_AUTH_ERROR") => return Answer::rejected(reason),
        Some("UNREGISTERED") => return Answer::gone(reason, None, true),
        Some("SENDER_ID_MISMATCH") => return Answer::gone(reason, None, false),
        Some("INTERNAL" | "UNAVAILABLE") => return unknown(reason),
        Some("UNSPECIFIED_ERROR") => return Answer::rejected(reason).step(Step::Repeat),
        _ => {}
    }
    match status.as_u16() {
        429 => {
            let scope = details.quota.unwrap_or(ThrottleScope::Project);
            Answer::tell(Outcome::Throttled { scope, retry_after, reason })
        }
        400 if details.token_is_at_fault => Answer::gone(reason, None, true),
        401 => Answer::stop(reason).step(Step::Reauthorize),
        // A 404 without an FcmError is a wrong project or path, and says nothing about the token.
        403 | 404 => Answer::stop(reason),
        400..=499 => Answer::rejected(reason),
        // A 5xx may have been delivered; anything else is not documented and may mean anything.
        _ => unknown(reason),
    }
}

#[cfg(test)]
mod tests;
