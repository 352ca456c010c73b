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

-- Work that came wakes the workers that listen: one notification a statement, with
-- the organisation's number alone, or 0 where there are several. Whoever can't listen
-- polls. Notifying takes its turn at commit, so nothing that workers do in their
-- normal course may notify. An intake does it itself.
CREATE FUNCTION notify_workers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    first bigint;
    last  bigint;
BEGIN
    IF imagepurge_command() <> 'enqueue' THEN
        SELECT min(organization_id), max(organization_id) INTO first, last FROM arrived;
        IF first IS NOT NULL THEN
            PERFORM pg_notify('imagepurge_work', CASE WHEN first = last THEN first ELSE 0 END::text);
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER notify_workers AFTER INSERT ON image_deletion_tasks
    REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION notify_workers();
-- +goose StatementEnd
