//! The guard's proof has private fields: nobody else can write one down.
use bellwether::guard::Cleared;

fn main() {
    let _cleared = Cleared {};
}
