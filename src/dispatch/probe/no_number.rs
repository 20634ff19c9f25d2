//! Why there is no number.

use http::StatusCode;

/// Why a number could not be read. In plain words, which are for everybody: nothing that was answered is in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoNumber {
    /// There is nobody to ask.
    #[error("no Prometheus is configured: write downstream.prometheus")]
    NotConfigured,
    /// The token's file cannot be read, or holds no token.
    #[error("downstream.bearer_file holds no token that can be sent")]
    NoToken,
    /// What the policy has is no address.
    #[error("its address is no URL")]
    NoUrl,
    /// There was no answer, or no end of it, in time.
    #[error("no answer in time")]
    TimedOut,
    /// Nobody listens, or it is not whom it should be.
    #[error("no connection, or no trust in it")]
    NoConnection,
    /// The connection ended before the answer did.
    #[error("the connection broke")]
    Broken,
    /// The answer leads elsewhere.
    #[error("status {}: redirects are not followed", .0.as_u16())]
    Redirected(StatusCode),
    /// The answer is that there is none.
    #[error("status {}", .0.as_u16())]
    Status(StatusCode),
    /// More than is read.
    #[error("an answer of more than 64 KiB")]
    TooLong,
    /// The answer is no JSON.
    #[error("an answer that is no JSON")]
    NotJson,
    /// The answer is not one of Prometheus's.
    #[error("an answer that is not Prometheus's")]
    NotPrometheus,
    /// Prometheus could not evaluate the query.
    #[error("Prometheus could not evaluate the query")]
    NotEvaluated,
    /// Some of what the number is made of could not be read.
    #[error("an answer to which parts are missing")]
    Partial,
    /// The query has several values over time, or a text.
    #[error("the query gives no value of one moment")]
    NotOneMoment,
    /// The query found nothing.
    #[error("no series: the query finds nothing")]
    NoSeries,
    /// The query found several.
    #[error("{0} series: the query must give one, such as by sum()")]
    ManySeries(usize),
    /// The document has no such field.
    #[error("the document has no {0}")]
    NoField(String),
    /// Something is there, and it is no number.
    #[error("not a number")]
    NotANumber,
    /// Nothing divided by nothing, or something too large.
    #[error("not a finite number")]
    NotFinite,
}
