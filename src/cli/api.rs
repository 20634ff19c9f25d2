//! Asking the operators' API for a command.

use crate::{
    api::client::{Client, ClientError},
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
