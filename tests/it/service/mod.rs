//! The whole service, from a job on a real broker to the phone's screen and the record.

mod crash;
mod load;
mod outage;
mod ringing;
mod sharing;
