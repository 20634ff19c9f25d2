//! Asking the operators' API for a command.

use super::exit::advised;
use crate::{
    api::{
        client::{Client, ClientError, URL_VARIABLE},
        wire::Code,
    },
    clock::Clock,
};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// True if the environment says where the API is.
pub(super) fn is_configured() -> bool {
    Client::is_configured(variable)
}

/// The API as the environment has it.
pub(super) fn client() -> Result<Client, ClientError> {
    Client::from_variables(variable, Clock::system())
}

/// True if the API was not there to say yes or no: also if what it depends on was not.
pub(super) fn is_away(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(
            ClientError::Unreachable { .. }
            | ClientError::Untrusted { .. }
            | ClientError::TooSlow { .. }
            | ClientError::NotOurs { .. },
        ) => true,
        Some(ClientError::Problem(problem)) => problem.code == Code::Unavailable,
        _ => false,
    }
}

/// What only looks can look into the ledger instead, while the API is away.
pub(super) fn or_the_ledger(error: anyhow::Error) -> anyhow::Error {
    if !is_away(&error) {
        return error;
    }
    let advice = format!(
        "without {URL_VARIABLE} (`env -u {URL_VARIABLE} bellwether …`) this command reads the ledger itself, where the \
         service's configuration is"
    );
    advised(&error, &advice)
}
