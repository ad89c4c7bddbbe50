//! A secret has one owner and one end: it cannot be copied.
//!
//! Must fail with E0599.

use postern::model::Secret;

fn main() {
    let secret = Secret::new(String::from("correct horse"));
    let _copy = secret.clone();
}
