//! The constructors that unit tests use do not exist in the library that is built.
use bellwether::{guard::Cleared, ledger::OpenJob, pace::Slot};

fn main() {
    let _ = Cleared::for_test;
    let _ = OpenJob::for_test;
    let _ = Slot::for_test;
}
