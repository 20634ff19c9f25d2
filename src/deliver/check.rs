//! Whether the providers can be reached, asked without ringing anybody.

use futures_util::future::join_all;

use super::{Deliver, credentials::NoAccess, h2pool::ConnectError, sender::Sender};
use crate::model::{AppId, Provider};

/// One line of `bellwether check`.
#[derive(Debug)]
pub struct Check {
    /// Which app.
    pub app: AppId,
    /// Its credentials at whom.
    pub provider: Provider,
    /// The address that was connected to.
    pub endpoint: String,
    /// What came of it.
    pub result: Result<(), CheckFailed>,
}

/// Why a provider could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckFailed {
    /// There is no token. Says whether the endpoint refused it or did not answer.
    #[error("{0}")]
    Credentials(String),
    /// There is no connection.
    #[error("{0}")]
    Connection(String),
}

impl Deliver {
    /// For every sender: gets a token (signed here, or exchanged with Google) and opens a connection with TLS and the
    /// provider's SETTINGS. The keys themselves were checked by [`Deliver::new`].
    pub async fn check(&self) -> Vec<Check> {
        // All at once: one that does not answer takes the whole of its time to connect.
        let checks = self.senders().map(async |sender| Check {
            app: sender.app().clone(),
            provider: sender.provider(),
            endpoint: sender.pool().endpoint().to_string(),
            result: check(sender).await,
        });
        let mut checks = join_all(checks).await;
        checks.sort_by(|a, b| (&a.app, a.provider, &a.endpoint).cmp(&(&b.app, b.provider, &b.endpoint)));
        checks
    }
}

async fn check(sender: &Sender) -> Result<(), CheckFailed> {
    let connected = sender.pool().connect().await;
    connected.map_err(|error: ConnectError| CheckFailed::Connection(error.to_string()))?;
    sender.authorize().await.map_err(|error: NoAccess| CheckFailed::Credentials(error.to_string()))
}
