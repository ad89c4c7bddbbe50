//! What reading recordings costs, beside the plain tools on the same bytes: search, verify, seal, size, seek.
//!
//! `cargo bench --bench reading -- PART [--size MIB] [--place DIRECTORY]` prints a table for one part, or for all. The
//! peer runs in turns with ours in the same minutes, so compare ratios: a shared machine has no absolute figures.

#[path = "reading/desk.rs"]
mod desk;
#[path = "reading/made.rs"]
mod made;
#[path = "reading/parts.rs"]
mod parts;
#[path = "reading/seek.rs"]
mod seek;

use made::Outcome;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let size = value("--size").map_or(Ok(256), |size| size.parse::<usize>())? << 20;
    let place = match value("--place") {
        Some(place) => tempfile::tempdir_in(place)?,
        None => tempfile::tempdir()?,
    };
    let part = arguments.first().filter(|first| !first.starts_with("--")).map(String::as_str);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let is_wanted = |name: &str| part.is_none_or(|part| part == name);
    if is_wanted("search") {
        parts::search(&runtime, place.path(), size)?;
    }
    if is_wanted("verify") {
        parts::verify(&runtime, place.path(), size)?;
    }
    if is_wanted("seal") {
        parts::seal(&runtime, place.path(), size)?;
    }
    if is_wanted("size") {
        parts::size(&runtime, place.path(), size)?;
    }
    if is_wanted("seek") {
        seek::seek(&runtime, place.path(), size)?;
    }
    Ok(())
}
