-- +goose Up

CREATE TABLE users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username      text        NOT NULL,
    email         text        NOT NULL,
    password_hash text        NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);
-- Kept as typed, compared without case. The names of these two indexes tell
-- pkg/store which field a sign-up clashes on.
CREATE UNIQUE INDEX users_username_key ON users (lower(username));
CREATE UNIQUE INDEX users_email_key ON users (lower(email));

CREATE TABLE runbooks (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner_id   bigint      NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title      text        NOT NULL,
    content    text        NOT NULL,
    privacy    text        NOT NULL DEFAULT 'PRIVATE' CHECK (privacy IN ('PRIVATE', 'SHARED', 'PUBLIC')),
    revision   bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
-- Newest first is by id: unlike updated_at it never changes under a reader who
-- is turning pages.
CREATE INDEX runbooks_owner_idx ON runbooks (owner_id, id DESC);

CREATE TABLE sessions (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id          bigint      NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    runbook_id       bigint      NOT NULL REFERENCES runbooks (id) ON DELETE CASCADE,
    status           text        NOT NULL CHECK (status IN ('ACTIVE', 'EXPIRED', 'TERMINATED')),
    container_id     text,       -- null while the container is starting
    created_at       timestamptz NOT NULL,
    last_activity_at timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    ended_at         timestamptz,
    end_reason       text,
    CONSTRAINT sessions_ended_check CHECK (
        (status = 'ACTIVE') = (ended_at IS NULL) AND (ended_at IS NULL) = (end_reason IS NULL)
    )
);
-- However many tabs connect at once, one of them makes the session.
CREATE UNIQUE INDEX sessions_active_key ON sessions (user_id, runbook_id) WHERE status = 'ACTIVE';
CREATE INDEX sessions_expiry_idx ON sessions (expires_at) WHERE status = 'ACTIVE';
CREATE INDEX sessions_user_idx ON sessions (user_id, id DESC);
CREATE INDEX sessions_runbook_idx ON sessions (runbook_id);

-- runbook_id and user_id repeat what the session says, so that the history of a
-- block needs no join. They are filled from the session and go with it, and have
-- no foreign keys of their own: those would take locks on a runbook while the
-- session is locked, the opposite order to that of deleting the runbook.
CREATE TABLE executions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id   bigint      NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    runbook_id   bigint      NOT NULL,
    user_id      bigint      NOT NULL,
    block_index  integer     NOT NULL,
    runtime      text        NOT NULL,
    code         text        NOT NULL,
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    state        text        NOT NULL CHECK (state IN ('running', 'ended')),
    exit_code    integer,
    signal       text,
    reason       text CHECK (reason IN ('exited', 'timeout', 'stopped', 'memory', 'output_limit')),
    error_code   text CHECK (error_code IN ('session_lost', 'shutdown', 'internal')),
    duration_ms  bigint,
    output_bytes bigint      NOT NULL DEFAULT 0,
    -- An execution ends with an exit, which has a reason, or with an error, which has a code.
    CONSTRAINT executions_ended_check CHECK (
        (state = 'running') = (ended_at IS NULL)
        AND num_nonnulls(reason, error_code) = CASE state WHEN 'ended' THEN 1 ELSE 0 END
    )
);
CREATE INDEX executions_session_idx ON executions (session_id);
CREATE INDEX executions_running_idx ON executions (session_id) WHERE state = 'running';
CREATE INDEX executions_block_idx ON executions (runbook_id, block_index, id DESC);

-- +goose Down

DROP TABLE executions;
DROP TABLE sessions;
DROP TABLE runbooks;
DROP TABLE users;
