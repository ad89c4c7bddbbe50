//! A secret cannot be put into text.
//!
//! Must fail with E0277.

use postern::model::Secret;

fn main() {
    let secret = Secret::new(String::from("correct horse"));
    println!("{secret}");
}
