-- +goose Up
-- +goose StatementBegin
-- Tasks that were handed in together: a file, or what came by SQL in one UTC day.
CREATE TABLE batches (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint NOT NULL REFERENCES organizations,
    kind            text NOT NULL CHECK (kind IN ('file', 'ad_hoc')),
    name            text NOT NULL,
    state           text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'cancelled')),
    dry_run         boolean NOT NULL DEFAULT false,
    ad_hoc_day      date,
    intake_key      text CHECK (intake_key <> ''),    -- an explicit --key
    content_digest  bytea CHECK (length(content_digest) = 32),
    requested_by    text,
    reason          text,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    deadline        timestamptz,                      -- the earliest that a task of it ever had
    -- Counts, kept by the statements that end and reopen tasks. Nothing counts
    -- rows to draw a page; `imagepurge doctor --recount` sets them right.
    tasks_total     bigint NOT NULL DEFAULT 0,
    tasks_completed bigint NOT NULL DEFAULT 0,
    tasks_failed    bigint NOT NULL DEFAULT 0,
    tasks_review    bigint NOT NULL DEFAULT 0,
    tasks_cancelled bigint NOT NULL DEFAULT 0,
    images_found    bigint NOT NULL DEFAULT 0,
    images_deleted  bigint NOT NULL DEFAULT 0,
    api_calls       bigint NOT NULL DEFAULT 0,
    UNIQUE (id, organization_id),
    CHECK ((kind = 'ad_hoc') = (ad_hoc_day IS NOT NULL))
);
CREATE UNIQUE INDEX batches_ad_hoc ON batches (organization_id, ad_hoc_day) WHERE kind = 'ad_hoc';
CREATE UNIQUE INDEX batches_intake_key ON batches (organization_id, intake_key) WHERE intake_key IS NOT NULL;
CREATE INDEX batches_content ON batches (organization_id, content_digest) WHERE content_digest IS NOT NULL;

-- Tasks that came to a batch by SQL and are not in its tasks_total yet, and
-- their deadline. A row of
-- its own, because whoever inserts may keep his transaction open for long, and
-- must not hold up the workers that end tasks of the same batch.
CREATE TABLE batch_arrivals (
    batch_id bigint NOT NULL REFERENCES batches,
    tasks    bigint NOT NULL,
    deadline timestamptz                              -- the earliest of these
);
CREATE INDEX batch_arrivals_of ON batch_arrivals (batch_id);
-- +goose StatementEnd
