//! Logs: JSON in `serve`, plain text for a person elsewhere. Always on standard error.
//!
//! **I12 silent-logs**: nothing here redacts. The types do: a token, a secret and a notification's text have no
//! printable form, so they cannot be logged by mistake.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line: for a collector.
    Json,
    /// For a person at a terminal.
    Text,
}

/// Makes a panic say where, and not what: its message may quote what it choked on (I12).
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect: the program panicked here; please report it");
    }));
}

/// The client of RabbitMQ logs as errors what it also answers as errors, in the program's own words (`Close { reply_code:
/// 404, …`). Whoever called it tells it better, once, or has expected it.
const TOLD_ANYWAY: &str = "lapin=off";

/// Starts logging. `BELLWETHER_LOG` sets the filter (`info`, `bellwether=debug`, …); it defaults to `default_filter`.
///
/// A second call changes nothing: the first one wins.
pub fn start(format: LogFormat, default_filter: &str) {
    let filter = EnvFilter::try_from_env("BELLWETHER_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("{default_filter},{TOLD_ANYWAY}")));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Json => registry
            .with(
                fmt::layer().json().flatten_event(true).with_current_span(true).with_writer(std::io::stderr),
            )
            .try_init(),
        LogFormat::Text => registry
            .with(
                fmt::layer()
                    .with_target(false)
                    .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging had been started before");
    }
}
