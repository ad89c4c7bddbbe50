-- The ledger in SQLite. `entries`, `heads` are the truth; every other table is made from the entries and can be made
-- again with `postern ledger rebuild`. Times are microseconds since 1970 in UTC; bodies are JSON of the types named.

-- The leaves, in order. `leaf` is SHA-256 over 0x00 and `bytes` (RFC 6962).
CREATE TABLE entries (
    seq   INTEGER PRIMARY KEY,
    leaf  BLOB NOT NULL CHECK (length(leaf) = 32),
    bytes BLOB NOT NULL
);

-- The newest checkpoint (C2SP signed note). One row.
CREATE TABLE heads (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    note TEXT NOT NULL
);

-- Inner hashes of the tree at every eighth level: level 1 over 256 leaves, level 2 over 65,536, and so on.
CREATE TABLE nodes (
    level INTEGER NOT NULL,
    idx   INTEGER NOT NULL,
    hash  BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, idx)
) WITHOUT ROWID;

-- access::Node. One row.
CREATE TABLE node (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    body TEXT NOT NULL
);

-- access::Person, with every identity they have or had.
CREATE TABLE people (
    id   TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
) WITHOUT ROWID;

-- Whose an identity is or was: the same facts as in `people`, for looking up by hand.
CREATE TABLE identities (
    issuer   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    person   TEXT NOT NULL,
    linked   INTEGER NOT NULL,
    unlinked INTEGER
);
CREATE INDEX identities_by_person ON identities (person);
CREATE INDEX identities_by_subject ON identities (issuer, subject);

-- model::Target. Removed targets are in the entries only.
CREATE TABLE targets (
    id   TEXT PRIMARY KEY,
    body TEXT NOT NULL
) WITHOUT ROWID;

-- store::RequestRecord, open and over.
CREATE TABLE requests (
    id     TEXT PRIMARY KEY,
    person TEXT NOT NULL,
    target TEXT NOT NULL,
    at     INTEGER NOT NULL,
    live   INTEGER NOT NULL,
    body   TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX requests_by_time ON requests (at);
CREATE INDEX requests_live ON requests (id) WHERE live = 1;

-- store::GrantRecord, in force and over.
CREATE TABLE grants (
    id     TEXT PRIMARY KEY,
    person TEXT NOT NULL,
    target TEXT NOT NULL,
    at     INTEGER NOT NULL,
    live   INTEGER NOT NULL,
    body   TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX grants_by_time ON grants (at);
CREATE INDEX grants_live ON grants (id) WHERE live = 1;

-- store::SessionRecord, live and over.
CREATE TABLE sessions (
    id     TEXT PRIMARY KEY,
    person TEXT NOT NULL,
    target TEXT NOT NULL,
    at     INTEGER NOT NULL,
    live   INTEGER NOT NULL,
    body   TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_by_time ON sessions (at);
CREATE INDEX sessions_by_person ON sessions (person, at);
CREATE INDEX sessions_by_target ON sessions (target, at);
CREATE INDEX sessions_live ON sessions (id) WHERE live = 1;

-- What a session left on its target and nobody has cleaned so far: a JSON list of texts.
CREATE TABLE left_over (
    session TEXT PRIMARY KEY,
    body    TEXT NOT NULL
) WITHOUT ROWID;
