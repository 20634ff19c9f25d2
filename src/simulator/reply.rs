//! Answers in each provider's own words.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header};
use serde_json::{Value, json};

use super::{FaultAnswer, Provider, QuotaScope};

/// The reason under which a request that was taken is counted.
pub(super) const ACCEPTED: &str = "Accepted";
const APNS_ID: HeaderName = HeaderName::from_static("apns-id");

/// An answer before it becomes an HTTP response.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) reason: Cow<'static, str>,
    pub(super) body: Bytes,
    pub(super) retry_after: Option<u32>,
    pub(super) apns_id: Option<HeaderValue>,
    content_type: Option<&'static str>,
}

impl Reply {
    /// The head of the HTTP response; the body goes apart, as `h2` wants it.
    pub(super) fn head(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::IM_A_TEAPOT);
        let headers = response.headers_mut();
        if let Some(id) = &self.apns_id {
            headers.insert(APNS_ID, id.clone());
        }
        if let Some(kind) = self.content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// APNs took it: 200 without a body.
    pub(super) fn apns_accepted() -> Self {
        Self::new(200, ACCEPTED, Bytes::new(), None)
    }

    /// APNs did not: `{"reason": …}`.
    pub(super) fn apns(status: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        let reason = reason.into();
        let body = json!({ "reason": reason });
        Self::new(status, reason, body.to_string().into(), None)
    }

    /// The app was removed from the phone.
    pub(super) fn apns_gone(reason: impl Into<Cow<'static, str>>, since_ms: i64) -> Self {
        let reason = reason.into();
        let body = json!({ "reason": reason, "timestamp": since_ms });
        Self::new(410, reason, body.to_string().into(), None)
    }

    /// FCM took it.
    pub(super) fn fcm_accepted(project: &str, number: [u64; 2]) -> Self {
        let [first, second] = number;
        let name = format!(
            r#"{{"name":"projects/{project}/messages/0:{:016}%{second:016x}"}}"#,
            first % 10_u64.pow(16),
        );
        Self::new(200, ACCEPTED, name.into(), Some(JSON))
    }

    /// An error of FCM itself, with its code in the details.
    pub(super) fn fcm(status: u16, code: impl Into<Cow<'static, str>>, message: &str) -> Self {
        Self::fcm_with(status, code, message, None)
    }

    /// The same with one more detail behind it.
    pub(super) fn fcm_with(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: &str,
        more: Option<Value>,
    ) -> Self {
        let code = code.into();
        let error = json!({
            "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError",
            "errorCode": code,
        });
        let details = std::iter::once(error).chain(more).collect();
        google(status, code, message, details)
    }

    /// A field of the message is wrong. Google's parser answers for names and types, without an
    /// `FcmError`; FCM answers for values.
    pub(super) fn fcm_field(field: &str, description: &str, from_parser: bool) -> Self {
        let violations = json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{ "field": field, "description": description }],
        });
        if from_parser {
            google(400, "INVALID_ARGUMENT".into(), description, vec![violations])
        } else {
            Self::fcm_with(400, "INVALID_ARGUMENT", description, Some(violations))
        }
    }

    /// An error of Google's front end: the request never came to FCM.
    pub(super) fn google(status: u16, reason: impl Into<Cow<'static, str>>, message: &str) -> Self {
        google(status, reason.into(), message, Vec::new())
    }

    /// What Google answers to a path that no service has: a page for people.
    pub(super) fn google_no_such_path() -> Self {
        let page = "<!DOCTYPE html><html lang=en><title>Error 404 (Not Found)!!1</title>";
        Self::new(404, "no such path", Bytes::from_static(page.as_bytes()), Some("text/html"))
    }

    /// A throttle, with the quota that was exceeded.
    pub(super) fn fcm_quota(scope: QuotaScope, project: &str) -> Self {
        let (subject, what) = match scope {
            QuotaScope::Device => ("device".to_owned(), "Device message rate exceeded."),
            QuotaScope::Topic => ("topic".to_owned(), "Topic message rate exceeded."),
            QuotaScope::Project => (format!("project:{project}"), "Message rate exceeded."),
        };
        let failure = json!({
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{ "subject": subject, "description": what }],
        });
        Self::fcm_with(429, "QUOTA_EXCEEDED", what, Some(failure))
    }

    /// An OAuth error (RFC 6749, section 5.2).
    pub(super) fn oauth(status: u16, error: impl Into<Cow<'static, str>>, why: &str) -> Self {
        let error = error.into();
        let body = json!({ "error": error, "error_description": why });
        Self::new(status, error, body.to_string().into(), Some(JSON))
    }

    /// A bearer token.
    pub(super) fn oauth_granted(access_token: &str, expires_in: u64) -> Self {
        let body = json!({
            "access_token": access_token, "expires_in": expires_in, "token_type": "Bearer",
        });
        Self::new(200, "granted", body.to_string().into(), Some(JSON))
    }

    /// A scripted answer.
    pub(super) fn scripted(provider: Provider, answer: FaultAnswer, project: &str, now_ms: i64) -> Self {
        let FaultAnswer { status, reason, retry_after, .. } = answer;
        let message = "A scripted fault.";
        let mut reply = match (provider, status) {
            (Provider::Apns, 200) => Self::apns_accepted(),
            (Provider::Apns, 410) => Self::apns_gone(reason, answer.timestamp_ms.unwrap_or(now_ms)),
            (Provider::Apns, _) => Self::apns(status, reason),
            (Provider::Fcm, _) if answer.without_fcm_error => Self::google(status, reason, message),
            (Provider::Fcm, 429) => Self::fcm_quota(answer.quota, project),
            (Provider::Fcm, _) => Self::fcm(status, reason, message),
            (Provider::OAuth, _) => Self::oauth(status, reason, message),
        };
        reply.retry_after = retry_after;
        reply
    }

    fn new(
        status: u16,
        reason: impl Into<Cow<'static, str>>,
        body: Bytes,
        content_type: Option<&'static str>,
    ) -> Self {
        let reason = reason.into();
        Self { status, reason, body, retry_after: None, apns_id: None, content_type }
    }
}

const JSON: &str = "application/json; charset=UTF-8";

/// `google.rpc.Status` as Google's JSON interfaces show it.
fn google(status: u16, reason: Cow<'static, str>, message: &str, details: Vec<Value>) -> Reply {
    let word = match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    let mut error = json!({ "code": status, "message": message, "status": word });
    if !details.is_empty() {
        error["details"] = Value::Array(details);
    }
    let body = json!({ "error": error }).to_string();
    Reply::new(status, reason, body.into(), Some(JSON))
}
