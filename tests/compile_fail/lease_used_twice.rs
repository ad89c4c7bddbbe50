//! Must fail with E0599.
//! A lease has one owner: it cannot be kept by one session and handed to another.

fn twice(lease: postern::credential::Lease) -> (postern::credential::Lease, postern::credential::Lease) {
    (lease.clone(), lease)
}

fn main() {}
