//! Reading requests: every mistake is a [`Code::Malformed`](crate::api::wire::Code) that says what is wrong.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::answer::ApiError;
use crate::{
    api::wire::{Code, REASON_CHARS, Scope},
    ledger::Authenticated,
    model::CampaignId,
};

/// Who asks. The door put it there.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Authenticated);

impl Caller {
    /// An error unless the token has this scope.
    pub(crate) fn need(&self, scope: &Scope) -> Result<(), ApiError> {
        self.need_any(std::slice::from_ref(scope))
    }

    /// An error unless the token has one of these scopes.
    pub(crate) fn need_any(&self, scopes: &[Scope]) -> Result<(), ApiError> {
        if scopes.iter().any(|scope| self.0.scopes.contains(scope)) {
            return Ok(());
        }
        let words: Vec<_> = scopes.iter().map(Scope::to_string).collect();
        let detail = format!(
            "this needs a token with the scope {}; `bellwether whoami` shows yours",
            words.join(" or ")
        );
        Err(ApiError::new(Code::NotAllowed, detail))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let missing = || ApiError::new(Code::NotAuthenticated, "this needs a token");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// A body, as JSON.
#[derive(Debug)]
pub(crate) struct Said<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Said<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        is_json(request.headers())?;
        let bytes = whole(request, state).await?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let read = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| ApiError::malformed(format!("the body: {error}")))?;
        json.end().map_err(|error| ApiError::malformed(format!("the body: {error}")))?;
        Ok(Self(read))
    }
}

/// The body as it came. The door has bounded it.
pub(crate) async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state)
        .await
        .map_err(|_| ApiError::new(Code::TooLarge, "the body is too large, or broke off"))
}

/// An error unless the body says that it is JSON: no form of a foreign page can say that.
pub(crate) fn is_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::malformed("send JSON, with the header content-type: application/json"))
}

/// What stands behind the question mark.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(read) = Query::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::malformed(format!("the address: {}", error.body_text())))?;
        Ok(Self(read))
    }
}

/// A part of the path that reads as `T`.
#[derive(Debug)]
pub(crate) struct Named<T>(pub(crate) T);

impl<T: std::str::FromStr<Err: std::fmt::Display>, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text): Path<String> = Path::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::malformed(format!("the address: {}", error.body_text())))?;
        text.parse().map(Self).map_err(|error: T::Err| ApiError::malformed(error.to_string()))
    }
}

/// A campaign in the path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Campaign(pub(crate) CampaignId);

impl std::str::FromStr for Campaign {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(|id| Self(CampaignId::from_uuid(id))).map_err(|_| "a campaign's id is a UUID")
    }
}

/// A reason that may stand in the audit and on a terminal. Blank is none.
pub(crate) fn reason(said: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(text) = said.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let length = text.chars().count();
    if length > REASON_CHARS {
        let detail = format!("reason: {length} characters; at most {REASON_CHARS} are accepted");
        return Err(ApiError::malformed(detail));
    }
    if text.chars().any(char::is_control) {
        return Err(ApiError::malformed("reason: control characters are not accepted, line breaks neither"));
    }
    Ok(Some(text))
}

/// The same where one is needed.
pub(crate) fn needed_reason(said: Option<String>) -> Result<String, ApiError> {
    reason(said)?.ok_or_else(|| ApiError::malformed("reason: say why; it stands in the audit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_line_of_a_thousand_characters_or_none() {
        let read = |text: &str| reason(Some(text.to_owned()));
        assert_eq!(read("zły tekst").expect("accepted").as_deref(), Some("zły tekst"));
        assert_eq!(read(&"ż".repeat(1_000)).expect("accepted").map(|text| text.chars().count()), Some(1_000));
        assert_eq!(read(" ").expect("accepted"), None);
        for wrong in
            ["ż".repeat(1_001), "a\nb".into(), "\u{1b}[2J".into(), "a\u{0}".into(), "\u{9b}1m".into()]
        {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
        assert!(needed_reason(None).is_err());
    }
}
