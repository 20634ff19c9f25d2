//! A number of our own systems, as a status page and an exporter for Prometheus have it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// `None` while it cannot be read.
type Value = Arc<Mutex<Option<i64>>>;

/// The number.
pub(crate) struct Number {
    pub(crate) address: SocketAddr,
    value: Value,
    _serving: AbortOnDropHandle<()>,
}

fn read(value: &Value) -> Option<i64> {
    *value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Number {
    /// Begins with this.
    pub(crate) async fn start(number: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, value) =
            (listener.local_addr().expect("an address"), Arc::new(Mutex::new(Some(number))));
        let status = async |State(value): State<Value>| match read(&value) {
            None => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
            Some(number) => (StatusCode::OK, format!("{{\"now\": {{\"number\": {number}}}}}")),
        };
        let metrics = async |State(value): State<Value>| {
            read(&value).map(|number| format!("number {number}\n")).unwrap_or_default()
        };
        let router = Router::new()
            .route("/status", get(status))
            .route("/metrics", get(metrics))
            .with_state(Arc::clone(&value));
        let serving = async move { axum::serve(listener, router).await.expect("it serves") };
        Self { address, value, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    /// From now on.
    pub(crate) fn is(&self, number: i64) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
    }

    /// Nobody can read it.
    pub(crate) fn is_away(&self) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How a policy reads it off the status page.
    pub(crate) fn probe(&self) -> String {
        format!("http = \"http://{}/status\"\njson = \"/now/number\"", self.address)
    }
}
