//! Must fail with E0451.
//! A permit is the answer to a question: nobody can write one down.

fn main() {
    let _permit = postern::session::Permit { subject: loop {}, _subscription: loop {} };
}
