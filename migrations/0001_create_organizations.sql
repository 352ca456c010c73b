-- +goose Up
-- +goose StatementBegin
-- A brand with its own credentials and limits. No credential is ever stored here.
CREATE TABLE organizations (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    -- What a task made by SQL alone is given. Null until a worker or an intake has
    -- told the settings; such a task is given them when it is first claimed.
    mode                text CHECK (mode IN ('economy', 'verified', 'paranoid')),
    scope               text CHECK (scope IN ('snapshot', 'until_empty')),
    source              text CHECK (source <> ''),
    account_id          text CHECK (account_id <> ''),
    -- The breaker: open while breaker_reason is set.
    breaker_reason      text CHECK (breaker_reason IN ('refused', 'api_unavailable', 'wrong_organisation')),
    breaker_kind        text CHECK (breaker_kind IN ('list', 'delete')),
    breaker_code        text,
    breaker_http_status integer,
    breaker_since       timestamptz,
    probe_at            timestamptz,
    probe_delay         interval,
    probe_task_id       bigint,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((breaker_reason IS NULL) = (breaker_since IS NULL)),
    CHECK ((breaker_reason IS NULL) = (probe_at IS NULL))
);

-- What all workers of one key share. Slots shared among processes will stand here.
CREATE TABLE rate_budgets (
    organization_id bigint PRIMARY KEY REFERENCES organizations,
    paused_until    timestamptz      -- after a 429: no intent before then
);

-- Pauses of everything (no organisation) or of one organisation. Rows stay.
CREATE TABLE pauses (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint REFERENCES organizations,
    paused_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused_by       text NOT NULL,
    reason          text NOT NULL CHECK (reason <> ''),
    resumed_at      timestamptz,
    resumed_by      text,
    CHECK ((resumed_at IS NULL) = (resumed_by IS NULL))
);
CREATE UNIQUE INDEX pauses_in_force ON pauses ((coalesce(organization_id, 0))) WHERE resumed_at IS NULL;

-- Customers whose images must not be touched.
CREATE TABLE legal_holds (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint NOT NULL REFERENCES organizations,
    customer_id     bigint NOT NULL CHECK (customer_id > 0),
    held_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    held_by         text NOT NULL,
    reason          text NOT NULL CHECK (reason <> ''),
    released_at     timestamptz,
    released_by     text
);
CREATE UNIQUE INDEX legal_holds_in_force ON legal_holds (organization_id, customer_id) WHERE released_at IS NULL;

-- Which server and timeline this database was last seen on. A fail-over or a
-- restore changes it, and then nothing is claimed for one settle time: an intent
-- that had been committed may be lost.
CREATE TABLE server_identity (
    only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    system_identifier bigint NOT NULL,
    timeline          text NOT NULL,
    claims_from       timestamptz NOT NULL DEFAULT '-infinity',
    -- Epochs up to here may have been given by a server that is gone: they hold
    -- nothing any more, and are not given again.
    epoch_floor       bigint NOT NULL DEFAULT 0 CHECK (epoch_floor >= 0),
    seen_at           timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO server_identity (system_identifier, timeline)
SELECT system_identifier, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM pg_control_system();

-- Every installation has an organisation from the start.
INSERT INTO organizations (name) VALUES ('default');
INSERT INTO rate_budgets (organization_id) SELECT id FROM organizations;
-- +goose StatementEnd
