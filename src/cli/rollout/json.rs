//! A rollout for programs: the API's own form, and beside it the fields that this command has always printed.

use serde_json::{Map, Value, json};

use crate::api::wire::{RolloutList, RolloutView};

/// Fields that are printed even while they say nothing.
const ALWAYS: [&str; 6] = ["cause", "stage", "finished_at", "digest", "late_tail", "waits"];

/// A rollout, whole. `stages` are the stages here; how many there are is their number.
pub(super) fn rollout(view: &RolloutView) -> Value {
    let mut told = object(view);
    if let Some(stages) = told.remove("stages_view") {
        told.insert("stages".to_owned(), stages);
    }
    told.insert("plan".to_owned(), json!({ "name": view.plan }));
    told.insert("frozen_digest".to_owned(), json!(view.digest));
    for field in ALWAYS {
        told.entry(field).or_insert(Value::Null);
    }
    Value::Object(told)
}

/// Rollouts in a line each.
pub(super) fn list(list: &RolloutList) -> Value {
    let line = |summary| {
        let mut told = object(summary);
        for field in &ALWAYS[..3] {
            told.entry(*field).or_insert(Value::Null);
        }
        Value::Object(told)
    };
    Value::Array(list.rollouts.iter().map(line).collect())
}

fn object(value: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        // Every view is an object with string keys.
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_fields_of_before_are_there() {
        let told = rollout(&samples::view());
        for field in
            ["state", "frozen", "producer", "job", "stages", "cause", "epoch", "after_halt", "late_tail"]
        {
            assert!(told.get(field).is_some(), "{field} in {told}");
        }
        assert_eq!(told["stages"][1]["outcomes"]["accepted"], 400);
        assert_eq!(told["stages"][1]["stage"], 2);
        assert_eq!(list(&samples::list())[0]["audience"], "customers-pl");
    }
}
