-- What layout 3 has beside its predecessors; a database of an earlier layout gets it at its next start.

-- access::Recording: recordings that are held, asked to be deleted, or deleted.
CREATE TABLE recordings (
    session TEXT PRIMARY KEY,
    deleted INTEGER NOT NULL,
    body    TEXT NOT NULL
) WITHOUT ROWID;

-- store::RewrapRecord: keys of recordings that were wrapped again; by each person, for each set of reviewers, the newest.
CREATE TABLE rewrapped (
    session TEXT NOT NULL,
    giver   TEXT NOT NULL,
    readers TEXT NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (session, giver, readers)
) WITHOUT ROWID;
