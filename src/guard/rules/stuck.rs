//! A rule that does not come back until a test lets it go. Which jobs it holds, the test says by their ids.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
};

use super::{Entry, Rule, Rules, Severity, TABLE};
use crate::{guard::Finding, guard::case::Case, model::JobId};

/// What the rule does at a job.
struct Gate {
    /// Told when the rule is at the job.
    entered: mpsc::Sender<()>,
    /// It comes back when the other end is gone.
    leaves: mpsc::Receiver<()>,
}

static GATES: Mutex<BTreeMap<JobId, VecDeque<Gate>>> = Mutex::new(BTreeMap::new());

fn gates() -> MutexGuard<'static, BTreeMap<JobId, VecDeque<Gate>>> {
    GATES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A job at which the rule waits for as long as this lives.
pub(crate) struct Held {
    /// Says when it is there.
    pub(crate) entered: mpsc::Receiver<()>,
    /// Dropped, it lets the rule go.
    pub(crate) lets_go: mpsc::Sender<()>,
}

/// The next time that the rule is at this job, it waits there.
pub(crate) fn hold(job: &JobId) -> Held {
    let ((tell, entered), (lets_go, leaves)) = (mpsc::channel(), mpsc::channel());
    gates().entry(job.clone()).or_default().push_back(Gate { entered: tell, leaves });
    Held { entered, lets_go }
}

fn check(case: &Case<'_>) -> Vec<Finding> {
    let gate = gates().get_mut(&case.key.id).and_then(VecDeque::pop_front);
    if let Some(gate) = gate {
        let _heard = gate.entered.send(());
        let _let_go = gate.leaves.recv();
    }
    Vec::new()
}

impl Rules {
    /// The rules that say who may ring whom, and this one, in whose place is the one that waits.
    pub(crate) fn stuck_in(rule: Rule) -> Self {
        let of = |rule: Rule| Entry { ..TABLE[rule as usize] };
        let stuck = Entry { check, again: true, ..of(rule) };
        let table = vec![of(Rule::LabelMissing), of(Rule::ProducerScope), stuck, of(Rule::Expired)];
        Self(Box::leak(table.into_boxed_slice()))
    }

    /// Two of them.
    pub(crate) fn stuck_in_two(one: Rule, other: Rule) -> Self {
        let stuck = |rule: Rule| Entry { check, again: true, ..TABLE[rule as usize] };
        Self(Box::leak(vec![stuck(one), stuck(other)].into_boxed_slice()))
    }
}

#[test]
fn the_one_that_waits_stands_for_a_rule_of_the_table() {
    let Rules(table) = Rules::stuck_in(Rule::UnfilledTemplate);
    assert_eq!((table[2].id, table[2].broken), ("unfilled-template", Severity::Refuse));
}
