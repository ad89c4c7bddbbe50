-- What layout 3 has beside its predecessors; a database of an earlier layout gets it at its next start.

-- access::Recording: recordings that are held, asked to be deleted, or deleted.
CREATE TABLE recordings (
    session TEXT PRIMARY KEY,
    deleted INTEGER NOT NULL,
    body    TEXT NOT NULL
) WITHOUT ROWID;

-- ledger::entry::RewrapFacts: keys of recordings that were wrapped again, each as it was the last time.
CREATE TABLE rewrapped (
    session TEXT PRIMARY KEY,
    body    TEXT NOT NULL
) WITHOUT ROWID;
