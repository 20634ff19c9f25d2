//! A permit cannot outlive the job whose intent is on record.
use bellwether::{deliver::Permit, guard::Cleared, ledger::OpenJob};

fn kept(cleared: &Cleared, mut job: OpenJob) -> Permit<'static> {
    let started = job.start().remove(0);
    Permit::new(cleared, started).expect("both proofs are of this job")
}

fn closed_early(cleared: &Cleared, mut job: OpenJob) {
    let started = job.start().remove(0);
    let permit = Permit::new(cleared, started);
    drop(job);
    drop(permit);
}

fn main() {}
