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
        if self.0.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = TALLIED.iter().map(|code| code.as_str()).collect();
        let width = names.len() + 2;
        let row = |row: usize| {
            let values: Vec<String> =
                (0..width).map(|place| format!("${}", row * width + place + 3)).collect();
            format!("($1, $2, {})", values.join(", "))
        };
        let rows: Vec<String> = (0..self.0.len()).map(row).collect();
        let sums: Vec<String> =
            names.iter().map(|name| format!("{name} = tally.{name} + excluded.{name}")).collect();
        let sql = format!(
            "insert into tally (rollout, worker, stage, provider, {}) values {} \
             on conflict (rollout, stage, provider, worker) do update set {}",
            names.join(", "),
            rows.join(", "),
            sums.join(", ")
        );
        on_either!(tx, c => {
            let mut query = sqlx::query(&sql).bind(rollout.get()).bind(worker);
            for ((stage, provider), counts) in self.0 {
                query = query.bind(i64::from(stage)).bind(provider.as_str());
                for count in counts {
                    query = query.bind(count);
                }
            }
            query.execute(c).await?;
        });
        Ok(())
    }
}
