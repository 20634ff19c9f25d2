//! Jobs that this process is working on: the same key twice at once is done once.
//!
//! The ledger answers for jobs that were committed; between arrival and commit only this set knows. A second
//! copy is parked until the first is on record, and is then answered from there.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{intake::Delivery, model::JobKey};

#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<HashMap<JobKey, Vec<Delivery>>>);

impl InFlight {
    /// Gives the delivery back if the key is free (and takes the key), or parks it.
    pub(super) fn enter(&self, key: &JobKey, delivery: Delivery) -> Option<Delivery> {
        match self.jobs().entry(key.clone()) {
            Entry::Vacant(free) => {
                free.insert(Vec::new());
                Some(delivery)
            }
            Entry::Occupied(mut taken) => {
                taken.get_mut().push(delivery);
                None
            }
        }
    }

    /// Takes the key for a job that is on record, unless this process is at it already.
    pub(super) fn hold(&self, key: &JobKey) -> bool {
        match self.jobs().entry(key.clone()) {
            Entry::Vacant(free) => {
                free.insert(Vec::new());
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    /// Frees the key; the parked copies are to be looked at again.
    #[must_use]
    pub(super) fn leave(&self, key: &JobKey) -> Vec<Delivery> {
        self.jobs().remove(key).unwrap_or_default()
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<JobKey, Vec<Delivery>>> {
        // A panic elsewhere leaves the map whole: every operation on it is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
