-- What layout 2 has beside `schema.sql`; a database of layout 1 gets it at its next start.

-- store::StoredRecord: where a recording was moved to.
CREATE TABLE stored (
    session TEXT PRIMARY KEY,
    body    TEXT NOT NULL
) WITHOUT ROWID;
