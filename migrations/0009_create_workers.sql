-- +goose Up
-- +goose StatementBegin
-- One row for each worker: a process has one for each organisation. It says every
-- three seconds that it is there; nothing that is promised rests on it. What changes
-- with every beat stands in no index, and pages have room, so that a beat is a HOT
-- update and the table stays as small as the fleet.
CREATE TABLE workers (
    name            text PRIMARY KEY,               -- lease_owner of its tasks
    organization_id bigint NOT NULL REFERENCES organizations,
    host            text NOT NULL,
    pid             integer NOT NULL,
    version         text NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at        timestamptz,                    -- it stopped in order
    in_flight       integer NOT NULL DEFAULT 0 CHECK (in_flight >= 0),  -- calls
    in_hand         integer NOT NULL DEFAULT 0 CHECK (in_hand >= 0),    -- customers
    calls           bigint NOT NULL DEFAULT 0 CHECK (calls >= 0)        -- since started_at
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX workers_live ON workers (organization_id) WHERE ended_at IS NULL;
-- +goose StatementEnd
