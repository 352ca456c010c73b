-- +goose Up
-- +goose StatementBegin
-- What all workers of one API key share: its call slots and its pace. The rules are
-- those of package jobs/budget, whose Row and Pace these columns are.
CREATE TABLE rate_budgets (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Whose calls are counted: the host, and a digest of the key. Null until a
    -- worker has told them.
    host           text CHECK (host <> ''),
    key_digest     bytea CHECK (length(key_digest) = 32),
    -- The limit in calls a minute: as configured, with the share that is ours; as
    -- configured for an hour of the day in the zone; as a person has set it.
    per_minute     integer NOT NULL DEFAULT 100 CHECK (per_minute >= 2),
    hourly         integer[] CHECK (cardinality(hourly) = 24 AND 2 <= ALL (hourly)),
    zone           text,
    set_per_minute integer CHECK (set_per_minute >= 2),
    -- The slots.
    next_slot      timestamptz NOT NULL DEFAULT '-infinity',
    owed_until     timestamptz NOT NULL DEFAULT '-infinity',
    reserved       bigint NOT NULL DEFAULT 0,
    -- The pace, as 429s have taught it.
    paused_until   timestamptz,      -- no intent before then
    pace           double precision CHECK (pace > 0),    -- null: the whole limit
    held           double precision CHECK (held > 0),    -- the highest at which a minute passed without a 429
    settled        boolean NOT NULL DEFAULT false,
    strikes        timestamptz[] NOT NULL DEFAULT '{}',
    pace_since     timestamptz,
    pace_reserved  bigint NOT NULL DEFAULT 0,
    step_at        timestamptz,      -- when the pace is to be looked at
    UNIQUE (host, key_digest),
    CHECK ((host IS NULL) = (key_digest IS NULL)),
    CHECK ((hourly IS NULL) = (zone IS NULL)),
    CHECK (pace IS NULL OR pace_since IS NOT NULL),
    CHECK ((pace_since IS NULL) = (step_at IS NULL))
) WITH (fillfactor = 20);

-- Whose customers they are, at the API: a number that stands in the tokens of
-- their images. Several labels of ours may mean one, and then share its customers;
-- until the number was seen each has a row of its own. The number stands alone: one
-- organisation may be reached by several hosts, and move to another. Two that have one
-- number on different clusters only exclude each other more than they must.
CREATE TABLE remote_organizations (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number bigint UNIQUE CHECK (number > 0)
);

-- A brand with its own credentials and limits. No credential is ever stored here.
CREATE TABLE organizations (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    budget_id           bigint NOT NULL REFERENCES rate_budgets,
    remote_id           bigint NOT NULL REFERENCES remote_organizations,
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
CREATE INDEX organizations_of_budget ON organizations (budget_id);
CREATE INDEX organizations_of_remote ON organizations (remote_id);

-- An organisation has a budget and a remote organisation of its own until more is
-- known of it.
CREATE FUNCTION complete_organization() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.budget_id IS NULL THEN
        INSERT INTO rate_budgets DEFAULT VALUES RETURNING id INTO NEW.budget_id;
    END IF;
    IF NEW.remote_id IS NULL THEN
        INSERT INTO remote_organizations DEFAULT VALUES RETURNING id INTO NEW.remote_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER complete_organization BEFORE INSERT ON organizations FOR EACH ROW EXECUTE FUNCTION complete_organization();

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
-- +goose StatementEnd
