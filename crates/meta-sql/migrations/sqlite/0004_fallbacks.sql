-- What was read from registries that are being replaced, and what must not be: what was here and was deleted.

CREATE INDEX tag_history_digest ON tag_history (repository_id, digest);

-- Names, not keys: a repository that is read there need not be here.
CREATE TABLE fallback_use (
    id         INTEGER PRIMARY KEY,
    project    TEXT    NOT NULL,          -- the one that says which registry it replaces
    actor      TEXT    NOT NULL,
    repository TEXT    NOT NULL,
    reference  TEXT    NOT NULL,          -- a tag or a digest
    times      INTEGER NOT NULL,
    first_at   INTEGER NOT NULL,
    last_at    INTEGER NOT NULL,
    UNIQUE (project, actor, repository, reference)
) STRICT;
CREATE INDEX fallback_use_last ON fallback_use (project, last_at);
