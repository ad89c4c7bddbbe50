//! `recordings-schema/events.schema.json` says what the event types say.
//!
//! The schema is what a stranger reads, so it is generated from the types and compared here: a kind of event that is
//! not in the file fails. Write it anew with `POSTERN_WRITE_VECTORS=1 cargo test --test recording_schema`.

use std::path::Path;

use postern::recording::event::Event;

#[test]
fn the_schema_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings-schema/events.schema.json");
    let schema = format!("{}\n", serde_json::to_string_pretty(&schemars::schema_for!(Event)).unwrap());
    if std::env::var_os("POSTERN_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        file == schema,
        "{} is not the schema of the types: run POSTERN_WRITE_VECTORS=1 cargo test --test recording_schema",
        path.display()
    );
}
