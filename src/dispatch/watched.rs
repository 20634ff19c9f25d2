//! The guard, watched: a rule that does not come back stops neither the batch nor the process.
//!
//! The guard is synchronous, and has no clock. So a batch's questions are asked on a thread of their own, one hand-over a
//! batch, while whoever asks looks now and then whether the guard still moves. If it does not, its thread is left behind,
//! because a thread cannot be ended from outside; the rule that it hangs in counts as broken *for that job*, and the rest of
//! the batch goes on elsewhere.
//!
//! - **I3 unknown-is-no**: what did not come back has cleared nothing. What a broken rule says is the guard's to say: closed
//!   for campaigns, open for direct jobs within their bounds.
//! - A thread that is left behind may hold a processor for ever. When a few have been, the process stops in order, as if a
//!   role of it had died, so that whoever supervises it starts it anew; what it had not judged goes back to its queue.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;

use super::judge;
use crate::{
    audience::Policy,
    guard::{self, DirectReach, Facts, Finding, FoundRecipient, Past, Progress, Rule, Rules, Verdict, Watch},
    metrics::Metrics,
    model::{Job, JobKey},
};

/// How often somebody looks whether the guard still moves.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// After so many looks at one and the same step it does not come back. A step takes microseconds; four looks are a second in
/// which this process ran, since each of them needs it to: one that was stopped, or starved, does not take its own sleep for
/// the rule's.
const LOOKS: u32 = 4;

/// With so many threads left behind at once the process stops: fewer than a small machine has processors to lose.
const MOST_LEFT_BEHIND: usize = 3;

/// What the guard is asked of one job.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) asking: Asking,
    pub(crate) key: JobKey,
    pub(crate) job: Job,
    /// See [`Facts`], and so on.
    pub(crate) recipients: Vec<FoundRecipient>,
    pub(crate) max_recipients: usize,
    pub(crate) received_at: Timestamp,
    pub(crate) past: Past,
    pub(crate) reach: DirectReach,
}

/// Which rules are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// All, of a job that has just come.
    All,
    /// Those that are asked again of a job on record.
    Again,
}

impl Question {
    /// Of a campaign.
    pub(crate) fn of_campaign(
        asking: Asking,
        (key, job): (&JobKey, &Job),
        received_at: Timestamp,
        past: Past,
    ) -> Self {
        let Facts { max_recipients, reach, .. } = Facts::of_campaign(received_at, past);
        let (key, job) = (key.clone(), job.clone());
        Self { asking, key, job, recipients: Vec::new(), max_recipients, received_at, past, reach }
    }

    fn put(&self, rules: Rules, policy: &Policy, now: Timestamp, watch: Watch<'_>) -> Verdict {
        let facts = Facts {
            recipients: &self.recipients,
            max_recipients: self.max_recipients,
            received_at: self.received_at,
            past: self.past,
            reach: self.reach,
        };
        let asked = (&self.job, &self.key);
        match self.asking {
            Asking::All => rules.clear(asked, policy, &facts, now, watch),
            Asking::Again => rules.recheck(asked, policy, &facts, now, watch),
        }
    }
}

/// Too many threads were left behind: this process judges nothing more, and stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the guard does not come back; this process stops")]
pub(crate) struct GivenUp;

/// The guard of this process, under its policy. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Watched(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: Arc<Policy>,
    metrics: Metrics,
    rules: Rules,
    /// Threads that nobody asks anything now. There are as many as batches were ever judged at once.
    idle: Mutex<Vec<mpsc::Sender<Work>>>,
    left_behind: Arc<AtomicUsize>,
    over: CancellationToken,
}

/// A batch, and who is told that it is done.
type Work = (Arc<Batch>, oneshot::Sender<()>);

/// What one thread is asked at once: the questions from `first` on.
#[derive(Debug)]
struct Batch {
    rules: Rules,
    policy: Arc<Policy>,
    now: Timestamp,
    questions: Vec<Question>,
    first: usize,
    /// What did not come back on the first of them.
    left_out: Vec<Rule>,
    progress: Progress,
    /// In the order of the questions; `None` once nobody waits for more.
    verdicts: Mutex<Option<Vec<Verdict>>>,
    left_behind: Arc<AtomicUsize>,
}

impl Batch {
    fn verdicts(&self) -> MutexGuard<'_, Option<Vec<Verdict>>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self) {
        let mut left_out = &self.left_out[..];
        for question in &self.questions[self.first..] {
            let watch = Watch { progress: &self.progress, left_out };
            let put = || question.put(self.rules, &self.policy, self.now, watch);
            let verdict = catch_unwind(AssertUnwindSafe(put)).unwrap_or_else(|_| guard::not_come_back());
            let Some(verdicts) = &mut *self.verdicts() else {
                // It came back after all.
                self.left_behind.fetch_sub(1, Ordering::Relaxed);
                return;
            };
            verdicts.push(verdict);
            left_out = &[];
        }
    }
}

/// How a batch ended.
enum Ended {
    /// With these verdicts.
    Whole(Vec<Verdict>),
    /// With these, and then the guard hung in this rule, or between the rules.
    Hangs(Vec<Verdict>, Option<Rule>),
}

impl Watched {
    /// Nothing runs until something is asked.
    #[must_use]
    pub fn new(policy: Arc<Policy>, metrics: Metrics) -> Self {
        Self::with(Rules::ALL, policy, metrics)
    }

    fn with(rules: Rules, policy: Arc<Policy>, metrics: Metrics) -> Self {
        let (idle, left_behind, over) = Default::default();
        Self(Arc::new(Inner { policy, metrics, rules, idle, left_behind, over }))
    }

    /// The policy that it judges by.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// Returns when the process must stop, because too many threads were left behind.
    pub async fn given_up(&self) {
        self.0.over.cancelled().await;
    }

    /// True from then on.
    #[must_use]
    pub fn has_given_up(&self) -> bool {
        self.0.over.is_cancelled()
    }

    /// Asks of each, and gives the questions back with their verdicts, in order.
    pub(crate) async fn ask(
        &self,
        mut questions: Vec<Question>,
        now: Timestamp,
    ) -> Result<Vec<(Question, Verdict)>, GivenUp> {
        let mut verdicts = Vec::with_capacity(questions.len());
        let mut left_out = Vec::new();
        while verdicts.len() < questions.len() {
            let batch = Arc::new(Batch {
                rules: self.0.rules,
                policy: Arc::clone(&self.0.policy),
                now,
                first: verdicts.len(),
                left_out: std::mem::take(&mut left_out),
                progress: Progress::default(),
                verdicts: Mutex::new(Some(Vec::with_capacity(questions.len() - verdicts.len()))),
                questions,
                left_behind: Arc::clone(&self.0.left_behind),
            });
            let ended = self.judged(&batch).await;
            let tried = batch.left_out.clone();
            // A thread that was left behind keeps its own.
            questions =
                Arc::try_unwrap(batch).map_or_else(|kept| kept.questions.clone(), |own| own.questions);
            let (judged, hangs) = match ended {
                Ended::Whole(judged) => (judged, None),
                Ended::Hangs(judged, rule) => (judged, Some(rule)),
            };
            // What had been left out is left out of the question that it was about, and no other.
            left_out = if judged.is_empty() { tried } else { Vec::new() };
            verdicts.extend(judged);
            if let Some(rule) = hangs {
                self.left_behind(&questions[verdicts.len()].key, rule)?;
                if let Some(rule) = rule {
                    left_out.push(rule);
                } else {
                    verdicts.push(guard::not_come_back());
                    left_out.clear();
                }
            }
        }
        let answered: Vec<_> = questions.into_iter().zip(verdicts).collect();
        for (question, verdict) in &answered {
            self.count_broken(&question.key, verdict.findings());
        }
        Ok(answered)
    }

    /// Asks of one. If this process has given up, the answer is no.
    pub(crate) async fn ask_one(&self, question: Question, now: Timestamp) -> Verdict {
        let answered = self.ask(vec![question], now).await.ok().and_then(|mut answered| answered.pop());
        answered.map_or_else(guard::not_come_back, |(_, verdict)| verdict)
    }

    /// Has a thread judge the batch, for as long as it moves.
    async fn judged(&self, batch: &Arc<Batch>) -> Ended {
        let thread = self.idle().pop().unwrap_or_else(started);
        let (tell, mut done) = oneshot::channel();
        // A thread waits for work as long as this end is there, so it hears; if it could not be started, nobody judges.
        let _heard = thread.send((Arc::clone(batch), tell));
        let (mut seen, mut looks) = (None, 0);
        loop {
            match timeout(LOOK_EVERY, &mut done).await {
                Ok(Ok(())) => {
                    self.idle().push(thread);
                    return Ended::Whole(batch.verdicts().take().unwrap_or_default());
                }
                // It died outside what is caught, or was never there.
                Ok(Err(_)) => return Ended::Hangs(batch.verdicts().take().unwrap_or_default(), None),
                Err(_) => {}
            }
            let mut verdicts = batch.verdicts();
            let step = batch.progress.step();
            // Before the first step it waits for a processor, as everybody does.
            looks = if step == seen && step.is_some() { looks + 1 } else { 1 };
            seen = step;
            if let Some(step) = step.filter(|_| looks >= LOOKS) {
                let rule = step.rule.filter(|rule| {
                    let is_first = verdicts.as_ref().is_some_and(Vec::is_empty);
                    !(is_first && batch.left_out.contains(rule))
                });
                self.0.left_behind.fetch_add(1, Ordering::Relaxed);
                return Ended::Hangs(verdicts.take().unwrap_or_default(), rule);
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<mpsc::Sender<Work>>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls somebody; and gives up, if it is one too many.
    fn left_behind(&self, key: &JobKey, rule: Option<Rule>) -> Result<(), GivenUp> {
        let threads = self.0.left_behind.load(Ordering::Relaxed);
        let rule = rule.map_or("none", Rule::id);
        tracing::error!(job = %key, rule, threads, "the guard does not come back; its thread is left behind");
        if threads >= MOST_LEFT_BEHIND {
            tracing::error!(threads, "too many threads of the guard are left behind; this process stops");
            self.0.over.cancel();
            return Err(GivenUp);
        }
        Ok(())
    }

    /// Counts what the guard found of a job that somebody submitted by hand.
    pub(crate) fn count_findings(&self, findings: &[Finding]) {
        judge::count_findings(findings, &self.0.metrics);
    }

    fn count_broken(&self, key: &JobKey, findings: &[Finding]) {
        for finding in findings.iter().filter(|finding| finding.broken) {
            let (rule, verdict) = (finding.rule.id(), finding.severity.as_str());
            self.0.metrics.guard_broken(rule);
            tracing::error!(job = %key, rule, verdict, "a rule of the guard broke");
        }
    }
}

/// A thread that judges one batch after the other, until nobody can ask it anything more.
fn started() -> mpsc::Sender<Work> {
    let (ask, asked) = mpsc::channel::<Work>();
    let work = move || {
        for (batch, done) in asked {
            batch.judge();
            // Before anybody hears of it: whoever asked takes the questions back.
            drop(batch);
            // Whoever asked may have stopped waiting.
            let _heard = done.send(());
        }
    };
    if let Err(error) = std::thread::Builder::new().name("guard".to_owned()).spawn(work) {
        tracing::error!(%error, "no thread could be started for the guard");
    }
    ask
}

#[cfg(test)]
mod tests;
