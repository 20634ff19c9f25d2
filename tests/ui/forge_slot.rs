//! A slot comes from a lease alone.
use bellwether::pace::Slot;

fn main() {
    let _slot = Slot(());
}
