//! What every campaign of crashes and faults shares: how long it is, and what must hold when it is over.
//!
//! A campaign is short in CI and long on demand (`POSTERN_CAMPAIGN=long`, see `docs/operations.md`). Whatever was done to
//! the bastion, nobody lends a hand afterwards: it is started again, and that is all. The campaigns themselves are in
//! `killing`, `faults`, `full_disk`, `power` and `time`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::client::run;
use crate::postern::{field, id};
use crate::wait;
use crate::world::World;

/// How soon after a start every session has its end, and every recording its final name.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);

/// How many rounds to make: the first number in CI, the second on demand.
pub(crate) fn rounds(short: usize, long: usize) -> usize {
    if std::env::var("POSTERN_CAMPAIGN").is_ok_and(|how| how == "long") { long } else { short }
}

/// Starts the bastion and waits until everything an earlier run left has its end; says how long that took.
pub(crate) fn start_again(world: &World) -> Duration {
    let began = wait::now();
    world.serve();
    wait::until(RECOVERED_WITHIN, "everything left behind has its end", || {
        let rows = world.machine.list(&["sessions"]);
        let are_over = rows.iter().all(|row| row["ended"].is_object());
        (are_over && unfinished(world) == 0).then_some(())
    });
    began.elapsed()
}

/// How many recordings are not at their final name.
fn unfinished(world: &World) -> usize {
    fs::read_dir(world.state.join("recordings/open")).unwrap().count()
}

/// The sessions on a target that are not in `known`, which learns of them.
pub(crate) fn new_sessions(
    world: &World,
    target: &str,
    known: &mut BTreeSet<String>,
) -> Vec<(String, Value)> {
    let rows = world.machine.list(&["sessions"]);
    let named = |row: &Value| field(row, "target") == Some(&Value::from(target));
    let rows = rows.into_iter().filter(named);
    let with_id = rows.map(|row| (id(&row.to_string(), "ses_").expect("a session has an id"), row));
    with_id.filter(|(session, _)| known.insert(session.clone())).collect()
}

/// Nothing panicked, the ledger holds together, every recording verifies, and the bastion still serves.
pub(crate) fn is_well(world: &World, target: &str) {
    let log = world.log();
    assert!(!log.contains("panicked at"), "{log}");
    world.machine.ok(&["ledger", "verify"]);
    let carol = world.hand("carol");
    world.sign_in(&carol);
    carol.ok(&["verify", "--all", "--identity", &world.reading_key()]);
    assert_eq!(world.client("alice").ok(target, "echo well"), "well\n");
}

/// Copies a directory as it is; what is empty in its files stays so.
pub(crate) fn copy(from: &Path, to: &Path) {
    let said = run(Command::new("cp").args(["-a", "--sparse=always"]).args([from, to]));
    assert_eq!(said.code, 0, "{said:?}");
}
