//! A secret cannot be moved out of the value that wipes it.
//!
//! Must fail with E0507.

use postern::model::Secret;

fn main() {
    let secret = Secret::new(String::from("correct horse"));
    let _text: String = *secret.expose();
}
