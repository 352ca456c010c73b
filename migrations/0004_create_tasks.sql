-- +goose Up
-- +goose StatementBegin
-- One customer of one organisation to be purged, of all images or of named ones.
CREATE TABLE image_deletion_tasks (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint NOT NULL,
    batch_id        bigint NOT NULL,
    customer_id     bigint NOT NULL CHECK (customer_id > 0),
    image_tokens    text[],
    state           text NOT NULL DEFAULT 'pending'
                    CHECK (state IN ('pending', 'running', 'completed', 'failed', 'review', 'cancelled', 'held')),
    outcome         text,
    error_code      text,
    error_message   text,
    http_status     integer,
    images_found    integer NOT NULL DEFAULT 0 CHECK (images_found >= 0),
    images_deleted  integer NOT NULL DEFAULT 0 CHECK (images_deleted BETWEEN 0 AND images_found),
    images_new      integer NOT NULL DEFAULT 0 CHECK (images_new >= 0),
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    api_calls       integer NOT NULL DEFAULT 0 CHECK (api_calls >= 0),
    priority        integer NOT NULL DEFAULT 0 CHECK (priority BETWEEN -1000 AND 1000),
    deadline        timestamptz,
    mode            text CHECK (mode IN ('economy', 'verified', 'paranoid')),
    scope           text CHECK (scope IN ('snapshot', 'until_empty')),
    source          text CHECK (source <> ''),
    account_id      text CHECK (account_id <> ''),
    verified_at     timestamptz,
    due_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    waiting_for     text CHECK (waiting_for IN ('settle', 'backoff', 'breaker', 'listing_lag', 'customer', 'due')),
    lease_owner     text,
    lease_epoch     bigint NOT NULL DEFAULT 0 CHECK (lease_epoch >= 0),
    lease_until     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at      timestamptz,
    finished_at     timestamptz,
    -- What the procedure has to remember between two claims.
    dry_run         boolean NOT NULL DEFAULT false,
    listed          boolean NOT NULL DEFAULT false,  -- the targets are written
    relisting       boolean NOT NULL DEFAULT false,  -- the next listing is believed
    review_as       text,                            -- goes to review so once settled
    call_sequence   integer NOT NULL DEFAULT 0,
    still_present   integer NOT NULL DEFAULT 0,
    contradictions  integer NOT NULL DEFAULT 0,
    refusals        integer NOT NULL DEFAULT 0,
    -- The order of work: an hour of age is worth an hour, a step of priority a
    -- day, and a deadline pulls a task forward from thirty days before it on, as far
    -- as the highest priority would. It is cut to the hour: what was handed in within
    -- one has equal order, and its batches take turns. It is computed once, so that the
    -- claim walks one index, and never lies more than 24,000 hours from created_at, so
    -- that nothing starves.
    sort_at         timestamptz NOT NULL,

    FOREIGN KEY (batch_id, organization_id) REFERENCES batches (id, organization_id),

    CONSTRAINT outcome_of_state CHECK (CASE state
        WHEN 'completed' THEN outcome IS NOT NULL AND outcome IN ('images_deleted', 'no_images', 'already_absent', 'customer_erased', 'customer_gone', 'dry_run')
        WHEN 'failed'    THEN outcome IS NOT NULL AND outcome IN ('customer_not_found', 'invalid_customer', 'attempts_exhausted')
        WHEN 'review'    THEN outcome IS NOT NULL AND outcome IN ('merged_customer', 'bystander_missing', 'still_present', 'index_contradiction', 'unexpected_response')
        WHEN 'cancelled' THEN outcome IS NOT NULL AND outcome = 'cancelled'
        ELSE outcome IS NULL END),
    CONSTRAINT finished_at_of_state CHECK ((finished_at IS NOT NULL) = (state IN ('completed', 'failed', 'review', 'cancelled'))),
    CONSTRAINT lease_of_state CHECK ((lease_owner IS NOT NULL) = (state = 'running') AND (lease_until IS NOT NULL) = (state = 'running')),
    CONSTRAINT waiting_of_state CHECK (waiting_for IS NULL OR state IN ('pending', 'held')),
    CONSTRAINT started_by_a_claim CHECK ((started_at IS NOT NULL) = (lease_epoch > 0)),
    CONSTRAINT review_as_review CHECK (review_as IN ('merged_customer', 'bystander_missing', 'still_present', 'index_contradiction', 'unexpected_response')),
    CONSTRAINT named_is_snapshot CHECK (image_tokens IS NULL OR scope = 'snapshot' OR scope IS NULL),
    CONSTRAINT tokens_hashed CHECK (image_tokens IS NULL OR (cardinality(image_tokens) > 0
        AND array_position(image_tokens, NULL) IS NULL
        AND array_to_string(image_tokens, ',') ~ '^[0-9a-f]{64}(,[0-9a-f]{64})*$')),
    CONSTRAINT dry_run_deletes_nothing CHECK (NOT dry_run OR images_deleted = 0)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);

-- The claim: tasks that only wait for their turn, and those whose time has come.
CREATE INDEX tasks_ready ON image_deletion_tasks (batch_id, sort_at, id) WHERE state = 'pending' AND waiting_for IS NULL;
CREATE INDEX tasks_waiting ON image_deletion_tasks (batch_id, due_at, id) WHERE state = 'pending' AND waiting_for IS NOT NULL;
CREATE INDEX tasks_leased ON image_deletion_tasks (lease_until) WHERE state = 'running';
CREATE INDEX tasks_to_decide ON image_deletion_tasks (batch_id, id) WHERE state IN ('failed', 'review');
CREATE INDEX tasks_of_customer ON image_deletion_tasks (customer_id, organization_id, id);
CREATE INDEX tasks_of_batch ON image_deletion_tasks (batch_id, id);

-- One row for each image that was seen.
CREATE TABLE task_images (
    task_id     bigint NOT NULL REFERENCES image_deletion_tasks,
    image_key   bytea NOT NULL CHECK (length(image_key) = 32),
    position    integer NOT NULL CHECK (position >= 0),
    state       text NOT NULL CHECK (state IN ('planned', 'intended', 'unknown', 'deleted', 'absent', 'bystander')),
    evidence    text CHECK (evidence IN ('answer', 'listing')),
    intended_at timestamptz,
    answered_at timestamptz,
    http_status integer,
    error_code  text,
    sends       integer NOT NULL DEFAULT 0 CHECK (sends >= 0),
    missing     boolean NOT NULL DEFAULT false,     -- a bystander that is gone; reported once
    PRIMARY KEY (task_id, image_key),
    CONSTRAINT intended_has_a_time CHECK (state <> 'intended' OR intended_at IS NOT NULL),
    CONSTRAINT sent_before_deleted CHECK (state NOT IN ('intended', 'unknown', 'deleted') OR sends > 0),
    CONSTRAINT gone_has_evidence CHECK (state NOT IN ('deleted', 'absent') OR evidence IS NOT NULL),
    CONSTRAINT bystanders_are_never_sent CHECK (state <> 'bystander' OR sends = 0),
    CONSTRAINT only_bystanders_are_missed CHECK (NOT missing OR state = 'bystander')
);

-- One row for each call. A delete's row is there before it is sent.
CREATE TABLE image_calls (
    task_id     bigint NOT NULL REFERENCES image_deletion_tasks,
    sequence    integer NOT NULL CHECK (sequence > 0),
    kind        text NOT NULL CHECK (kind IN ('list', 'delete')),
    position    integer CHECK (position >= 0),
    image_key   bytea CHECK (length(image_key) = 32),
    targets     integer CHECK (targets > 0),        -- indexes in this one call
    sent_at     timestamptz,
    answered_at timestamptz,
    class       text CHECK (class IN ('listed', 'deleted', 'not_run', 'no_such_image', 'unknown', 'customer_erased',
                'customer_not_found', 'customer_merged', 'refused', 'over_limit', 'invalid', 'unexpected', 'not_sent')),
    http_status integer,
    error_code  text,
    images_seen integer CHECK (images_seen >= 0),
    -- What a listing showed, in index order: the first 8 bytes of each identity.
    -- That tells a customer's images apart; the whole ones are in task_images.
    shown       bytea,
    worker      text NOT NULL,
    lease_epoch bigint NOT NULL,
    PRIMARY KEY (task_id, sequence),
    CONSTRAINT delete_names_an_image CHECK ((kind = 'delete') = (position IS NOT NULL) AND (kind = 'delete') = (image_key IS NOT NULL)),
    CONSTRAINT shown_are_counted CHECK ((shown IS NULL) = (images_seen IS NULL) AND length(shown) = 8 * images_seen),
    CONSTRAINT answered_has_a_class CHECK ((answered_at IS NULL) = (class IS NULL))
);

-- There while a customer is leased or rests. One task at a time has a customer of
-- a remote organisation, whatever the batches and our own labels; and nobody has
-- him while a delete may still be under way. The claim is one guarded upsert of
-- this row, for a check across rows would race.
CREATE TABLE customer_leases (
    remote_id       bigint NOT NULL REFERENCES remote_organizations,
    customer_id     bigint NOT NULL,
    task_id         bigint,
    lease_owner     text,
    lease_epoch     bigint,
    lease_until     timestamptz,
    rest_until      timestamptz,
    PRIMARY KEY (remote_id, customer_id),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK ((lease_owner IS NULL) = (task_id IS NULL)),
    CHECK ((lease_owner IS NULL) = (lease_epoch IS NULL))
) WITH (fillfactor = 50);
CREATE INDEX customer_leases_over ON customer_leases (rest_until) WHERE lease_owner IS NULL;
-- +goose StatementEnd
