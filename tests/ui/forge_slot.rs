//! A slot comes from a ceiling alone.
use bellwether::pace::Slot;

fn main() {
    let _slot = Slot(());
}
