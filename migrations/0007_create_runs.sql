-- +goose Up
-- +goose StatementBegin
-- The schedule in use: that of the worker that was started last.
CREATE TABLE organization_schedules (
    organization_id bigint PRIMARY KEY REFERENCES organizations,
    schedule        text NOT NULL CHECK (schedule <> ''), -- on one line: windows; zone; blackout dates
    since           timestamptz NOT NULL DEFAULT clock_timestamp(),
    recorded_by     text NOT NULL                         -- the worker's name
);

-- The run of a tick: made by whichever worker comes first, joined by all others.
-- closes_at is fixed with it, whatever the schedule says later.
CREATE TABLE schedule_runs (
    organization_id bigint NOT NULL REFERENCES organizations,
    tick            timestamptz NOT NULL,
    closes_at       timestamptz NOT NULL,
    schedule        text NOT NULL,        -- under which it was made
    opened_at       timestamptz NOT NULL DEFAULT clock_timestamp(), -- after tick, where no worker ran then
    opened_by       text NOT NULL,
    ended_at        timestamptz,          -- when a worker saw that it was over
    ended_by        text,
    PRIMARY KEY (organization_id, tick),
    CHECK (closes_at > tick),
    CHECK (opened_at >= tick AND opened_at < closes_at),
    CHECK (ended_at >= closes_at),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
    -- No two runs of an organisation have an instant in common, also where two
    -- workers mean two schedules.
    CONSTRAINT schedule_runs_apart EXCLUDE USING gist
        (int8range(organization_id, organization_id, '[]') WITH &&, tstzrange(tick, closes_at) WITH &&)
);
CREATE INDEX schedule_runs_not_ended ON schedule_runs (organization_id) WHERE ended_at IS NULL;
-- +goose StatementEnd
