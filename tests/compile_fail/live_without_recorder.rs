//! Must fail with E0451.
//! A session that lives has a permit, a recorder and a lease: there is no other way to one.

fn main() {
    let _live = postern::session::Live { armed: loop {}, tap: loop {} };
}
