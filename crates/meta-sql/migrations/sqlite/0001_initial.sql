-- The first schema. Rules: integer surrogate keys; digests as one byte for the algorithm and the raw bytes;
-- texts compared bytewise; times in microseconds UTC. A migration that has been released is never edited.

CREATE TABLE project (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE repository (
    id         INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name       TEXT    NOT NULL UNIQUE,
    kind       TEXT    NOT NULL,            -- 'hosted'; others have an upstream
    upstream   TEXT,
    created_at INTEGER NOT NULL
) STRICT;

-- One stored object. Of a digest, one row is live or deletable; any number are condemned.
CREATE TABLE blob (
    id         INTEGER PRIMARY KEY,
    digest     BLOB    NOT NULL,
    size       INTEGER NOT NULL,
    object     BLOB    NOT NULL UNIQUE,
    state      INTEGER NOT NULL CHECK (state IN (0, 1, 2)),  -- live, deletable, condemned
    since      INTEGER CHECK ((since IS NULL) = (state = 0)),
    damaged_at INTEGER
) STRICT;
CREATE UNIQUE INDEX blob_digest ON blob (digest) WHERE state < 2;
CREATE INDEX blob_deletable ON blob (since) WHERE state = 1;
CREATE INDEX blob_condemned ON blob (since) WHERE state = 2;

-- A repository holds a blob; `since` it is not needed by any of its manifests, NULL while it is.
-- The blob comes first: new links append, and "who holds this blob" needs no second index.
CREATE TABLE link (
    blob_id       INTEGER NOT NULL REFERENCES blob (id),
    repository_id INTEGER NOT NULL REFERENCES repository (id),
    since         INTEGER,
    PRIMARY KEY (blob_id, repository_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX link_unreferenced ON link (since) WHERE since IS NOT NULL;

-- The bytes of manifests, shared by repositories.
CREATE TABLE content (
    id     INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    bytes  BLOB NOT NULL
) STRICT;

-- `annotations` may be large and is read for referrers only: last, so that other reads stop before it.
CREATE TABLE manifest (
    id            INTEGER PRIMARY KEY,
    repository_id INTEGER NOT NULL REFERENCES repository (id),
    content_id    INTEGER NOT NULL REFERENCES content (id),
    digest        BLOB    NOT NULL,
    size          INTEGER NOT NULL,
    media_type    TEXT    NOT NULL,
    pushed_at     INTEGER NOT NULL,
    used_day      INTEGER NOT NULL,
    artifact_type TEXT,
    subject       BLOB,
    annotations   TEXT,
    UNIQUE (repository_id, digest)
) STRICT;
CREATE INDEX manifest_subject ON manifest (repository_id, subject, digest) WHERE subject IS NOT NULL;
CREATE INDEX manifest_content ON manifest (content_id);

-- What manifests refer to, by digest: it may be absent. Kinds: 0 blob, 1 foreign blob, 2 manifest.
CREATE TABLE manifest_ref (
    manifest_id   INTEGER NOT NULL REFERENCES manifest (id),
    kind          INTEGER NOT NULL,
    digest        BLOB    NOT NULL,
    repository_id INTEGER NOT NULL,         -- the manifest's, so that one index answers "who needs this blob here"
    PRIMARY KEY (manifest_id, kind, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_ref_blob ON manifest_ref (repository_id, digest) WHERE kind < 2;

CREATE TABLE tag (
    repository_id INTEGER NOT NULL REFERENCES repository (id),
    name          TEXT    NOT NULL,
    manifest_id   INTEGER NOT NULL REFERENCES manifest (id),
    updated_at    INTEGER NOT NULL,
    actor         TEXT    NOT NULL,
    PRIMARY KEY (repository_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_manifest ON tag (manifest_id);

-- What tags pointed to before, appended when they move or go; what they point to now is in `tag`.
CREATE TABLE tag_history (
    id            INTEGER PRIMARY KEY,
    repository_id INTEGER NOT NULL REFERENCES repository (id),
    name          TEXT    NOT NULL,
    digest        BLOB    NOT NULL,
    from_at       INTEGER NOT NULL,
    until_at      INTEGER NOT NULL,
    actor         TEXT    NOT NULL          -- who had set it
) STRICT;
CREATE INDEX tag_history_name ON tag_history (repository_id, name);

-- Names, not keys: events outlive what they tell of.
CREATE TABLE event (
    position   INTEGER PRIMARY KEY,
    version    INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    project    TEXT    NOT NULL,
    repository TEXT    NOT NULL,
    digest     BLOB,
    tag        TEXT,
    tag_before BLOB,
    actor      TEXT    NOT NULL,
    address    TEXT,
    agent      TEXT,
    request    TEXT,
    time       INTEGER NOT NULL
) STRICT;

-- Counters are appended here and folded into `usage` and `totals` by a job: no push updates a shared row.
CREATE TABLE usage_delta (
    id            INTEGER PRIMARY KEY,
    repository_id INTEGER,                  -- NULL for what belongs to none
    repositories  INTEGER NOT NULL,
    manifests     INTEGER NOT NULL,
    tags          INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    blobs         INTEGER NOT NULL,
    stored_bytes  INTEGER NOT NULL
) STRICT;

CREATE TABLE usage (
    repository_id INTEGER PRIMARY KEY REFERENCES repository (id),
    manifests     INTEGER NOT NULL,
    tags          INTEGER NOT NULL,
    bytes         INTEGER NOT NULL
) STRICT;

CREATE TABLE totals (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    repositories INTEGER NOT NULL,
    manifests    INTEGER NOT NULL,
    tags         INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    blobs        INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL
) STRICT;
INSERT INTO totals VALUES (1, 0, 0, 0, 0, 0, 0);

CREATE TABLE setting (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
