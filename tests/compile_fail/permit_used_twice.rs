//! Must fail with E0599.
//! A permit is for one session.

fn twice(permit: postern::session::Permit) -> (postern::session::Permit, postern::session::Permit) {
    (permit.clone(), permit)
}

fn main() {}
