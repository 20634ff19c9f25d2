//! The whole service, from a job on a real broker to the phone's screen and the record.

mod afternoon;
mod broadcast;
mod campaigns;
pub(crate) mod cli;
mod crash;
mod foreign_clients;
mod hostile;
pub(crate) mod load;
mod outage;
mod probe;
mod readme;
mod registering;
mod ringing;
mod sharing;
mod strange;
