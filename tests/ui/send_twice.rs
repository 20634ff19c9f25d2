//! A permit is spent by sending it, and so is a slot.
use bellwether::{
    deliver::{Deliver, Permit},
    model::Message,
    pace::Slot,
};

async fn permit_twice(deliver: &Deliver, permit: Permit<'_>, slots: (Slot, Slot), message: &Message) {
    let _first = deliver.send(permit, slots.0, message).await;
    let _second = deliver.send(permit, slots.1, message).await;
}

async fn slot_twice<'s>(deliver: &Deliver, permits: (Permit<'s>, Permit<'s>), slot: Slot, message: &Message) {
    let _first = deliver.send(permits.0, slot, message).await;
    let _second = deliver.send(permits.1, slot, message).await;
}

fn main() {}
