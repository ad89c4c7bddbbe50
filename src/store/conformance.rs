//! What every backend must do, as tests over a factory: SQLite today, any other later.
//!
//! A backend's tests call [`all`] with a way to open itself on a fresh place, and again on the same place.

use std::collections::BTreeSet;

use super::backend::{Backend, Batch, Filter, Row, SessionRecord, StoredEntry};
use super::tests::{live_session, person_row};
use crate::access::Node;
use crate::ledger::{TileNode, TreeHash};
use crate::model::SessionId;

/// Opens a backend on one place; called again, it opens what the last one left.
pub(super) type Open<'a> = &'a dyn Fn() -> Box<dyn Backend>;

/// Runs the suite; `fresh` gives a new place each time.
pub(super) fn all(fresh: &dyn Fn() -> Box<dyn Fn() -> Box<dyn Backend>>) {
    let cases: [fn(Open<'_>); 6] = [
        an_empty_store_has_nothing,
        a_batch_is_read_back_whole_and_survives_reopening,
        a_batch_that_cannot_be_written_leaves_nothing,
        rows_replace_rows_of_the_same_key,
        a_frozen_reader_sees_one_moment,
        history_is_filtered_and_newest_first,
    ];
    for case in cases {
        case(&fresh());
    }
}

fn stored(seq: u64) -> StoredEntry {
    let bytes = format!("entry {seq}").into_bytes();
    StoredEntry { seq, leaf: TreeHash::leaf(&bytes), bytes }
}

fn batch(seqs: std::ops::Range<u64>, rows: Vec<Row>) -> Batch {
    let head = format!("head over {}", seqs.end);
    Batch { entries: seqs.map(stored).collect(), nodes: Vec::new(), rows, head }
}

fn an_empty_store_has_nothing(open: Open<'_>) {
    let reader = open().reader().unwrap();
    assert_eq!(reader.head().unwrap(), None);
    assert_eq!(reader.entries(0, 10).unwrap(), []);
    assert_eq!(reader.hashes(0, 0, 10).unwrap(), []);
    assert_eq!(reader.live().unwrap(), super::backend::Live::default());
    reader.integrity().unwrap();
}

fn a_batch_is_read_back_whole_and_survives_reopening(open: Open<'_>) {
    let mut first = batch(0..300, vec![person_row(0)]);
    let node = TileNode { level: 1, index: 0, hash: TreeHash::leaf(b"node") };
    first.nodes.push(node);
    open().commit(&first).unwrap();
    let again = open();
    let reader = again.reader().unwrap();
    assert_eq!(reader.head().unwrap().as_deref(), Some("head over 300"));
    assert_eq!(reader.entries(298, 10).unwrap(), [stored(298), stored(299)]);
    assert_eq!(reader.entries(5, 2).unwrap(), [stored(5), stored(6)]);
    assert_eq!(reader.hashes(0, 7, 1).unwrap(), [stored(7).leaf]);
    assert_eq!(reader.hashes(1, 0, 10).unwrap(), [node.hash]);
    assert_eq!(reader.live().unwrap().people.len(), 1);
}

fn a_batch_that_cannot_be_written_leaves_nothing(open: Open<'_>) {
    let mut backend = open();
    backend.commit(&batch(0..3, Vec::new())).unwrap();
    // Entry 2 exists: the whole batch fails, its rows and head too.
    assert!(backend.commit(&batch(2..5, vec![person_row(0)])).is_err());
    let reader = backend.reader().unwrap();
    assert_eq!(reader.entries(0, 10).unwrap().len(), 3);
    assert_eq!(reader.head().unwrap().as_deref(), Some("head over 3"));
    assert!(reader.live().unwrap().people.is_empty());
    backend.commit(&batch(3..5, vec![person_row(0)])).unwrap();
    assert_eq!(reader.entries(0, 10).unwrap().len(), 5, "and the next one is written");
}

fn rows_replace_rows_of_the_same_key(open: Open<'_>) {
    let mut backend = open();
    let session: SessionId = "ses_aaaaaaaaaaaaaaaa".parse().unwrap();
    let left = |texts: &[&str]| {
        Row::LeftOver(session.clone(), texts.iter().map(|&text| text.to_owned()).collect::<BTreeSet<_>>())
    };
    let node = Node { origin: "gate".to_owned(), ..Node::default() };
    let rows = vec![person_row(0), person_row(0), left(&["a", "b"]), Row::Node(Box::new(node.clone()))];
    backend.commit(&batch(0..1, rows)).unwrap();
    let live = backend.reader().unwrap().live().unwrap();
    assert_eq!((live.people.len(), live.left_over.len(), &live.node), (1, 1, &node));
    backend.commit(&batch(1..2, vec![left(&[])])).unwrap();
    assert!(backend.reader().unwrap().live().unwrap().left_over.is_empty());
    let (nodes, rows) = (vec![], vec![person_row(1), person_row(2)]);
    backend.replace_derived(&nodes, &rows).unwrap();
    let reader = backend.reader().unwrap();
    let live = reader.live().unwrap();
    assert_eq!((live.people.len(), live.node), (2, Node::default()), "only what was given is there");
    assert_eq!(reader.entries(0, 10).unwrap().len(), 2, "entries stay");
}

fn a_frozen_reader_sees_one_moment(open: Open<'_>) {
    let mut backend = open();
    backend.commit(&batch(0..1, Vec::new())).unwrap();
    let reader = backend.reader().unwrap();
    reader.freeze().unwrap();
    assert_eq!(reader.entries(0, 10).unwrap().len(), 1);
    backend.commit(&batch(1..2, Vec::new())).unwrap();
    assert_eq!(reader.entries(0, 10).unwrap().len(), 1);
    assert_eq!(reader.head().unwrap().as_deref(), Some("head over 1"));
    reader.thaw().unwrap();
    assert_eq!(reader.entries(0, 10).unwrap().len(), 2);
}

fn history_is_filtered_and_newest_first(open: Open<'_>) {
    let mut backend = open();
    let sessions: Vec<SessionRecord> = (0..6).map(live_session).collect();
    let rows = sessions.iter().map(|record| Row::Session(Box::new(record.clone()))).collect();
    backend.commit(&batch(0..1, rows)).unwrap();
    let reader = backend.reader().unwrap();
    let find = |filter: Filter| -> Vec<usize> {
        let found = reader.sessions(&filter).unwrap();
        found.iter().map(|f| sessions.iter().position(|s| s == f).unwrap()).collect()
    };
    assert_eq!(find(Filter::default()), [5, 4, 3, 2, 1, 0]);
    assert_eq!(find(Filter { most: 2, ..Filter::default() }), [5, 4]);
    let id = sessions[3].session.facts.session.as_str();
    assert_eq!(find(Filter::by_prefix(id)), [3]);
    assert!(find(Filter::by_prefix("ses_zz' OR 1=1")).is_empty());
    let person = sessions[1].session.facts.person.clone();
    assert_eq!(
        find(Filter { person: Some(person), ..Filter::default() }),
        [5, 3, 1],
        "odd ones are one person's"
    );
    let target = "web-0".parse().ok();
    assert_eq!(find(Filter { target, ..Filter::default() }), [3, 0], "every third is on web-0");
    let (from, before) = (Some(sessions[2].session.started), Some(sessions[4].session.started));
    assert_eq!(find(Filter { from, before, ..Filter::default() }), [3, 2]);
    // A page ends in the middle of rows that share a time.
    let last = |id: &str| Some((sessions[4].session.started, id.to_owned()));
    assert_eq!(
        find(Filter { after: last(sessions[4].session.facts.session.as_str()), ..Filter::default() }),
        [3, 2, 1, 0]
    );
    assert_eq!(find(Filter { after: last("ses_"), ..Filter::default() }), [4, 3, 2, 1, 0]);
}
