//! Bellwether: push notifications that cannot reach the wrong people, and do not knock over the right ones.
//!
//! A push cannot be rolled back. Whatever limits its harm happens before it is sent: who may send what to
//! whom, who looked at it, how fast it goes, how quickly it stops. This crate is that "before".
//!
//! # The way of a notification
//!
//! ```text
//! backend ──AMQP──▶ intake ──▶ guard ──▶ pace ──▶ deliver ──▶ ledger
//!                     │          │                  │           │
//!                 malformed   refusal           APNs, FCM    outcomes
//!                     ▼          ▼
//!               dead letters and events, with the reason
//! ```
//!
//! [`dispatch`] is that way as functions; every other module is one of its stations.
//!
//! # What always holds
//!
//! - **I1 no-test-to-production**: a test-intent job never reaches a device outside a test-class audience.
//!   Kept by [`guard`], asked again for each device when a [`deliver::Permit`] is made.
//! - **I2 no-send-without-permit**: only the guard's proof and the ledger's proof together make a permit;
//!   [`deliver`] takes one for each request. Forging, copying or keeping one does not compile.
//! - **I3 unknown-is-no**: a missing label, an unknown name, an unreachable ledger: nothing is sent.
//! - **I5 halt-is-now**: what a halt covers and was not handed to a connection when it was heard is not sent.
//! - **I6 once**: a device is sent a job once, except what was on the wire, unrecorded, when a process died:
//!   that is resent with the same ids, or with `at_most_once` left alone.
//! - **I7 nothing-lost**: a message is acknowledged only after what it asks for is durable.
//! - **I9 nothing-late**: nothing is sent after its expiry.
//! - **I10 explained**: every verdict and every halt stands in a hash-chained audit log.
//! - **I11 paced**: in any window the fleet sends at most rate × window and the leases alive.
//! - **I12 silent-logs**: no token, no text, no secret in a log, a metric, an event or an error.
//!
//! # The cast
//!
//! Core, synchronous and pure; time and facts are arguments: [`model`] (what is talked about), [`audience`]
//! (the policy), [`guard`] (may this be sent?), [`pace`] (how fast, when again).
//!
//! Shell, which carries decisions out: [`intake`] (RabbitMQ), [`dispatch`] (the way), [`deliver`] (APNs and
//! FCM), [`ledger`] (PostgreSQL or SQLite), [`api`] (HTTP), [`cli`], [`simulator`] (the providers, for tests
//! and the demo), [`app`] (puts it all together).

pub mod api;
pub mod app;
pub mod audience;
pub mod cli;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod dispatch;
pub mod guard;
pub mod intake;
pub mod ledger;
pub mod metrics;
pub mod model;
pub mod pace;
pub mod rollout;
pub mod simulator;
pub mod telemetry;
