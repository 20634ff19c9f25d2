//! How somebody on another thread sees that a rule does not come back.
//!
//! The guard has no clock, and a rule that never returns cannot be stopped from within. So the guard leaves a mark before
//! each step; whoever waits looks at the mark, by their own clock, and asks again with that rule left out.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Rule;

/// Where the guard is. One thread marks, any thread looks.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

/// A step that the guard was at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Counts the steps: two looks that find the same number found the same step.
    number: u64,
    /// The rule that was asked, unless it was something between the rules.
    pub rule: Option<Rule>,
}

/// How many bits the mark has for the rule: more than there will ever be rules.
const RULE_BITS: u32 = 8;

impl Progress {
    /// The next step begins.
    pub(super) fn begin(&self, rule: Option<Rule>) {
        // Only this thread writes; nothing else is told by the mark, so no order with other memory is needed.
        let number = (self.0.load(Ordering::Relaxed) >> RULE_BITS) + 1;
        let place = rule.map_or(0, |rule| rule as u64 + 1);
        self.0.store((number << RULE_BITS) | place, Ordering::Relaxed);
    }

    /// The step that the guard is at; `None` before the first.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        let mark = self.0.load(Ordering::Relaxed);
        let (number, place) = (mark >> RULE_BITS, mark & ((1 << RULE_BITS) - 1));
        let rule =
            usize::try_from(place).ok().and_then(|place| Rule::ALL.get(place.checked_sub(1)?).copied());
        (number > 0).then_some(Step { number, rule })
    }
}

/// How one question is watched.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// Where the guard leaves its marks.
    pub progress: &'a Progress,
    /// Rules that did not come back on this job. They are not asked again: each counts as one that broke.
    pub left_out: &'a [Rule],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_the_rule_and_no_two_steps_look_the_same() {
        let progress = Progress::default();
        assert_eq!(progress.step(), None);
        let mut seen = Vec::new();
        for rule in
            [None, Some(Rule::LabelMissing), Some(Rule::LanguageMismatch), Some(Rule::LanguageMismatch)]
        {
            progress.begin(rule);
            let step = progress.step().expect("it has begun");
            assert_eq!((step.rule, step.number), (rule, seen.len() as u64 + 1));
            assert_eq!(progress.step(), Some(step));
            assert!(!seen.contains(&step), "{step:?}");
            seen.push(step);
        }
    }
}
