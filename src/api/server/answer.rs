//! What the API says when it says no.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    api::wire::{Code, Problem},
    ledger::{LedgerError, VerbRefused},
    rollout::machine::Because,
};

/// A refusal, on its way to the client.
#[derive(Debug)]
pub(crate) struct ApiError {
    problem: Box<Problem>,
    /// When it may be worth asking again, in seconds.
    retry_after: Option<u64>,
}

impl ApiError {
    /// A problem of this kind, in these words. They are shown to whoever asked: no text, no token.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// The request cannot be understood.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::Malformed, detail)
    }

    /// Ask again in so many seconds.
    pub(crate) fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds.max(1)), ..self }
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), retry_after: None }
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        if error.is_transient() {
            tracing::warn!(%error, "the operators' API waits for the ledger");
            return Self::new(Code::Unavailable, "the ledger does not answer; try again in a moment")
                .after(1);
        }
        tracing::error!(%error, "the ledger refused the operators' API");
        Self::new(Code::Internal, "the ledger refused; the service's log says why")
    }
}

impl From<VerbRefused> for ApiError {
    fn from(refused: VerbRefused) -> Self {
        let code = match &refused {
            VerbRefused::NotFound => Code::NotFound,
            VerbRefused::OtherDigest | VerbRefused::OtherPolicy => Code::StaleDigest,
            VerbRefused::ApprovalsExpired | VerbRefused::Findings(_) => Code::Waits,
            VerbRefused::UnderHalt(_) => Code::Halted,
            VerbRefused::Machine(refused) => code_of(refused.because),
        };
        Self::new(code, refused.to_string())
    }
}

/// What kind of problem it is that the state machine says no.
const fn code_of(because: Because) -> Code {
    match because {
        Because::Over => Code::Over,
        Because::OwnRequest | Because::Twice => Code::NotAllowed,
        Because::Freezing
        | Because::NotApproved
        | Because::NoReason
        | Because::NoData
        | Because::GateClosed
        | Because::AtGate => Code::Waits,
        Because::ApprovedAlready
        | Because::NotStarted
        | Because::StartedAlready
        | Because::Sending
        | Because::NotSending
        | Because::Paused
        | Because::NotPaused
        | Because::PromotedAlready
        | Because::OtherStage
        | Because::LastStage
        | Because::StagesLeft
        | Because::NothingApproved => Code::Conflict,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.problem.code;
        let body = serde_json::to_vec(&self.problem).expect("a problem has a JSON form");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.problem.status).expect("every code has a status that exists");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if code == Code::NotAuthenticated {
            // RFC 6750, section 3.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(code);
        response
    }
}
