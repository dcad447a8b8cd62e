-- Entries: users, groups, roles, bindings, tokens, robots, projects. The store reads their kinds, names and owners.

-- `value` may be large: last, so that other reads stop before it.
CREATE TABLE entry (
    id         INTEGER PRIMARY KEY,
    kind       TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    value      TEXT    NOT NULL,
    UNIQUE (kind, name)
) STRICT;

-- An entry does not outlive its owners. Its kind and name stand here again, so that one index gives what an owner
-- has of a kind, in order.
CREATE TABLE entry_owner (
    owner_id INTEGER NOT NULL REFERENCES entry (id),
    kind     TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    entry_id INTEGER NOT NULL REFERENCES entry (id),
    PRIMARY KEY (owner_id, kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_owner_entry ON entry_owner (entry_id, owner_id);

-- What an event is about, where that is an entry: `project` and `repository` are empty then.
ALTER TABLE event ADD COLUMN entry_kind TEXT;
ALTER TABLE event ADD COLUMN entry_name TEXT;

-- A project that goes hands its repositories over.
CREATE INDEX repository_project ON repository (project_id);
