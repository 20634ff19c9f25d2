//! What came of a stage, in sums: each recorded outcome is counted once, with the statement that records it.

use std::collections::BTreeMap;

use super::coordinator::TALLIED;
use crate::{
    ledger::{
        LedgerError,
        tx::{Tx, on_either},
    },
    model::{OutcomeCode, Provider, RolloutId, StageNumber},
};

/// Outcomes that are being recorded.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<(StageNumber, Provider), [i64; TALLIED.len()]>);

impl Counts {
    pub(super) fn add(&mut self, stage: StageNumber, provider: Provider, code: OutcomeCode) {
        if let Some(column) = TALLIED.iter().position(|tallied| *tallied == code) {
            self.0.entry((stage, provider)).or_default()[column] += 1;
        }
    }

    /// How many were accepted in a stage, at both providers.
    pub(super) fn accepted(&self, stage: StageNumber) -> i64 {
        self.0.iter().filter(|((of, _), _)| *of == stage).map(|(_, counts)| counts[0]).sum()
    }

    /// Adds them to this worker's rows.
    pub(super) async fn write(
        self,
        tx: &mut Tx,
        rollout: RolloutId,
        worker: &str,
    ) -> Result<(), LedgerError> {
        let names: Vec<&str> = TALLIED.iter().map(|code| code.as_str()).collect();
        let values: Vec<String> = (0..names.len()).map(|place| format!("${}", place + 5)).collect();
        let sums: Vec<String> =
            names.iter().map(|name| format!("{name} = tally.{name} + excluded.{name}")).collect();
        let sql = format!(
            "insert into tally (rollout, stage, provider, worker, {}) values ($1, $2, $3, $4, {}) \
             on conflict (rollout, stage, provider, worker) do update set {}",
            names.join(", "),
            values.join(", "),
            sums.join(", ")
        );
        for ((stage, provider), counts) in self.0 {
            on_either!(&mut *tx, c => {
                let mut query = sqlx::query(&sql)
                    .bind(rollout.get())
                    .bind(i64::from(stage))
                    .bind(provider.as_str())
                    .bind(worker);
                for count in counts {
                    query = query.bind(count);
                }
                query.execute(c).await?;
            });
        }
        Ok(())
    }
}
