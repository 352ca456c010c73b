-- The schema as the migrations make it, for reading; rows that they insert are not in it.
-- Write it anew with: go test . -run TestSchemaFile -update
-- pg_dump 15

CREATE FUNCTION accept_task() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    NEW.id := nextval('image_deletion_tasks_id_seq');
    NEW.created_at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE FUNCTION complete_organization() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF NEW.budget_id IS NULL THEN
        INSERT INTO rate_budgets DEFAULT VALUES RETURNING id INTO NEW.budget_id;
    END IF;
    IF NEW.remote_id IS NULL THEN
        INSERT INTO remote_organizations DEFAULT VALUES RETURNING id INTO NEW.remote_id;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION complete_task() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
DECLARE
    org   organizations%ROWTYPE;
    batch batches%ROWTYPE;
    n     bigint;
BEGIN
    IF NEW.state <> 'pending' OR NEW.outcome IS NOT NULL OR NEW.lease_epoch <> 0 OR NEW.started_at IS NOT NULL
       OR NEW.finished_at IS NOT NULL OR NEW.images_found <> 0 OR NEW.images_deleted <> 0 OR NEW.api_calls <> 0
       OR NEW.attempts <> 0 OR NEW.verified_at IS NOT NULL OR NEW.listed OR NEW.relisting OR NEW.review_as IS NOT NULL
       OR NEW.images_new <> 0 OR NEW.call_sequence <> 0 OR NEW.still_present <> 0 OR NEW.contradictions <> 0 OR NEW.refusals <> 0
       OR NEW.error_code IS NOT NULL OR NEW.error_message IS NOT NULL OR NEW.http_status IS NOT NULL THEN
        RAISE EXCEPTION 'a new task is pending and has no history'
            USING ERRCODE = 'check_violation', HINT = 'Insert only customer_id and, where wanted, image_tokens, priority, deadline, due_at.';
    END IF;

    IF NEW.image_tokens IS NOT NULL THEN
        IF cardinality(NEW.image_tokens) = 0 THEN
            RAISE EXCEPTION 'image_tokens is an empty array'
                USING ERRCODE = 'check_violation', HINT = 'Leave image_tokens null to delete all images of the customer.';
        END IF;
        IF array_ndims(NEW.image_tokens) > 1 THEN
            RAISE EXCEPTION 'image_tokens is an array of arrays'
                USING ERRCODE = 'check_violation', HINT = 'Give a plain array; every element is the s3Token of one image.';
        END IF;
        IF array_position(NEW.image_tokens, NULL) IS NOT NULL OR array_position(NEW.image_tokens, '') IS NOT NULL THEN
            RAISE EXCEPTION 'image_tokens has an empty or null element'
                USING ERRCODE = 'check_violation', HINT = 'Every element is the s3Token of one image.';
        END IF;
        -- Tokens are never stored. 64 hex digits are a digest already.
        NEW.image_tokens := ARRAY(
            SELECT DISTINCT CASE WHEN token ~ '^[0-9A-Fa-f]{64}$' THEN lower(token)
                                 ELSE encode(sha256(convert_to(token, 'UTF8')), 'hex') END
            FROM unnest(NEW.image_tokens) AS token ORDER BY 1);
    END IF;

    IF NEW.batch_id IS NOT NULL THEN
        SELECT * INTO batch FROM batches WHERE id = NEW.batch_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'there is no batch %', NEW.batch_id
                USING ERRCODE = 'foreign_key_violation', HINT = 'See: imagepurge batch list; or leave batch_id out.';
        END IF;
        IF batch.state = 'cancelled' THEN
            RAISE EXCEPTION 'batch % is cancelled and takes no more tasks', NEW.batch_id
                USING ERRCODE = 'check_violation', HINT = 'Leave batch_id out, or use: imagepurge enqueue';
        END IF;
        NEW.organization_id := coalesce(NEW.organization_id, batch.organization_id);
    END IF;

    IF NEW.organization_id IS NULL THEN
        SELECT count(*) INTO n FROM organizations;
        IF n <> 1 THEN
            RAISE EXCEPTION 'there are % organisations: a task must name one', n
                USING ERRCODE = 'not_null_violation', HINT = 'Give organization_id; see: imagepurge org list';
        END IF;
        SELECT * INTO org FROM organizations;
        NEW.organization_id := org.id;
    ELSIF NEW.mode IS NULL OR NEW.scope IS NULL OR NEW.source IS NULL THEN
        SELECT * INTO org FROM organizations WHERE id = NEW.organization_id;
    END IF;

    IF NEW.batch_id IS NULL THEN
        SELECT * INTO batch FROM batches
        WHERE organization_id = NEW.organization_id AND kind = 'ad_hoc' AND ad_hoc_day = (clock_timestamp() AT TIME ZONE 'UTC')::date;
        IF NOT FOUND THEN
            INSERT INTO batches (organization_id, kind, name, ad_hoc_day)
            VALUES (NEW.organization_id, 'ad_hoc', 'ad hoc ' || (clock_timestamp() AT TIME ZONE 'UTC')::date, (clock_timestamp() AT TIME ZONE 'UTC')::date)
            ON CONFLICT DO NOTHING;
            SELECT * INTO batch FROM batches
            WHERE organization_id = NEW.organization_id AND kind = 'ad_hoc' AND ad_hoc_day = (clock_timestamp() AT TIME ZONE 'UTC')::date;
        END IF;
        IF batch.state = 'cancelled' THEN
            RAISE EXCEPTION 'today''s ad hoc batch % is cancelled and takes no more tasks', batch.id
                USING ERRCODE = 'check_violation', HINT = 'Use: imagepurge enqueue';
        END IF;
        NEW.batch_id := batch.id;
    END IF;

    NEW.mode := coalesce(NEW.mode, org.mode);
    NEW.scope := coalesce(NEW.scope, CASE WHEN NEW.image_tokens IS NOT NULL THEN 'snapshot' ELSE org.scope END);
    NEW.source := coalesce(NEW.source, org.source);
    NEW.account_id := coalesce(NEW.account_id, org.account_id);
    NEW.dry_run := NEW.dry_run OR batch.dry_run;
    NEW.created_at := coalesce(NEW.created_at, clock_timestamp());
    NEW.sort_at := task_sort_at(NEW.created_at, NEW.priority, NEW.deadline);
    NEW.due_at := coalesce(NEW.due_at, clock_timestamp());
    NEW.waiting_for := CASE WHEN NEW.due_at > clock_timestamp() THEN 'due' END;
    RETURN NEW;
END $_$;

CREATE FUNCTION count_arrivals() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF imagepurge_command() <> 'enqueue' THEN -- an intake counts its own
        INSERT INTO batch_arrivals (batch_id, tasks, deadline) SELECT batch_id, count(*), min(deadline) FROM arrived GROUP BY batch_id;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION count_withdrawals() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO batch_arrivals (batch_id, tasks) SELECT batch_id, -count(*) FROM withdrawn GROUP BY batch_id;
    RETURN NULL;
END $$;

CREATE FUNCTION guard_answer() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF OLD.answered_at IS NOT NULL AND NEW IS DISTINCT FROM OLD THEN
        RAISE EXCEPTION 'task %, call %: its answer is written down already', OLD.task_id, OLD.sequence
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION guard_end() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF EXISTS (SELECT FROM task_images WHERE task_id = NEW.id AND (state = 'intended'
               OR state = 'unknown' AND NOT (NEW.state = 'review' AND NEW.outcome IN ('merged_customer', 'unexpected_response')))) THEN
        RAISE EXCEPTION 'task % would end in doubt: %', NEW.id, NEW.outcome USING ERRCODE = 'check_violation', CONSTRAINT = 'ends_told';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION guard_evidence() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF TG_OP IN ('INSERT', 'UPDATE') AND imagepurge_command() <> '' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% is evidence: % by hand is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'To look: imagepurge task show TASK';
END $$;

CREATE FUNCTION guard_task_delete() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF OLD.lease_epoch > 0 OR OLD.state <> 'pending' THEN
        RAISE EXCEPTION 'task % was started: it is evidence and can''t be deleted', OLD.id
            USING ERRCODE = 'restrict_violation', HINT = format('Use: imagepurge batch cancel %s --reason "…"', OLD.batch_id);
    END IF;
    RETURN OLD;
END $$;

CREATE FUNCTION guard_task_truncate() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF EXISTS (SELECT FROM image_deletion_tasks WHERE lease_epoch > 0 OR state <> 'pending') THEN
        RAISE EXCEPTION 'image_deletion_tasks holds tasks that were started: they are evidence'
            USING ERRCODE = 'restrict_violation', HINT = 'Use: imagepurge batch cancel BATCH --reason "…"';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION guard_task_update() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF (NEW.id, NEW.organization_id, NEW.batch_id, NEW.customer_id, NEW.created_at)
       IS DISTINCT FROM (OLD.id, OLD.organization_id, OLD.batch_id, OLD.customer_id, OLD.created_at)
       OR NEW.image_tokens IS DISTINCT FROM OLD.image_tokens THEN
        RAISE EXCEPTION 'task %: a task can''t be moved to another customer, batch or set of images', OLD.id
            USING ERRCODE = 'restrict_violation', HINT = 'Insert a new task; to stop this one: imagepurge batch cancel ' || OLD.batch_id;
    END IF;
    IF imagepurge_command() <> '' THEN
        IF OLD.state IN ('completed', 'failed', 'review', 'cancelled') AND imagepurge_command() NOT IN ('retry', 'resolve') THEN
            RAISE EXCEPTION 'task % has ended', OLD.id USING ERRCODE = 'restrict_violation';
        END IF;
        IF NEW.lease_epoch < OLD.lease_epoch THEN
            RAISE EXCEPTION 'task %: its epoch only rises', OLD.id USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.state IN ('completed', 'failed', 'review', 'cancelled') THEN
        RAISE EXCEPTION 'task % has ended: it can''t be changed by hand', OLD.id
            USING ERRCODE = 'restrict_violation',
                  HINT = CASE OLD.state
                         WHEN 'review' THEN format('Use: imagepurge task resolve %s --retry --reason "…"', OLD.id)
                         WHEN 'failed' THEN format('Use: imagepurge batch retry %s --reason "…"', OLD.batch_id)
                         ELSE 'To purge the customer again, insert a new task, or use: imagepurge enqueue' END;
    END IF;
    IF OLD.lease_epoch > 0 OR OLD.state <> 'pending' THEN
        RAISE EXCEPTION 'task % was started: it can''t be changed by hand', OLD.id
            USING ERRCODE = 'restrict_violation',
                  HINT = format('Use: imagepurge batch pause|resume|cancel|retry %s --reason "…"', OLD.batch_id);
    END IF;
    -- Of a task that was never started, due time, priority and deadline are free.
    IF (to_jsonb(NEW) - ARRAY['due_at', 'priority', 'deadline', 'waiting_for', 'sort_at'])
       IS DISTINCT FROM (to_jsonb(OLD) - ARRAY['due_at', 'priority', 'deadline', 'waiting_for', 'sort_at']) THEN
        RAISE EXCEPTION 'task %: only due_at, priority and deadline of a task that was not started may be changed', OLD.id
            USING ERRCODE = 'restrict_violation', HINT = format('Use: imagepurge batch pause|resume|cancel %s --reason "…"', OLD.batch_id);
    END IF;
    NEW.sort_at := task_sort_at(NEW.created_at, NEW.priority, NEW.deadline);
    NEW.waiting_for := CASE WHEN NEW.due_at > clock_timestamp() THEN 'due' END;
    IF NEW.deadline < OLD.deadline OR OLD.deadline IS NULL AND NEW.deadline IS NOT NULL THEN
        INSERT INTO batch_arrivals (batch_id, tasks, deadline) VALUES (NEW.batch_id, 0, NEW.deadline);
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION imagepurge_program() RETURNS void
    LANGUAGE sql
    BEGIN ATOMIC
END;

CREATE FUNCTION has_program_right() RETURNS boolean
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT has_function_privilege(SESSION_USER, ('imagepurge_program()'::regprocedure)::oid, 'EXECUTE'::text) AS has_function_privilege;
END;

CREATE FUNCTION imagepurge_command() RETURNS text
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT
         CASE
             WHEN has_program_right() THEN COALESCE(current_setting('imagepurge.command'::text, true), ''::text)
             ELSE ''::text
         END AS "case";
END;

CREATE FUNCTION notify_workers() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
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

CREATE FUNCTION refuse_audit_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION 'audit_entries only grows: % is refused', TG_OP
        USING ERRCODE = 'restrict_violation',
              HINT = 'A mistake is set right by a further entry; see: imagepurge task resolve --help';
END $$;

CREATE FUNCTION refuse_role() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION '%: % is for imagepurge alone, and the role % has not its right', TG_TABLE_NAME, TG_OP, session_user
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'To hand in work: INSERT INTO image_deletion_tasks (customer_id) …; everything else: imagepurge --help';
END $$;

CREATE FUNCTION task_sort_at(created timestamp with time zone, priority integer, deadline timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE
    BEGIN ATOMIC
 SELECT date_bin('01:00:00'::interval, LEAST((created - make_interval(hours => (24 * priority))),
         CASE
             WHEN (deadline IS NOT NULL) THEN GREATEST((deadline - '720:00:00'::interval), (created - '24000:00:00'::interval))
             ELSE NULL::timestamp with time zone
         END), to_timestamp((946684800)::double precision)) AS date_bin;
END;

CREATE TABLE audit_entries (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    actor text NOT NULL,
    host text NOT NULL,
    action text NOT NULL,
    organization_id bigint,
    batch_id bigint,
    task_id bigint,
    reason text,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT at_between_1970_and_9999 CHECK (((at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT audit_entries_action_check CHECK ((action ~ '^[a-z]+\.[a-z_]+$'::text))
);

ALTER TABLE audit_entries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME audit_entries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE batch_arrivals (
    batch_id bigint NOT NULL,
    tasks bigint NOT NULL,
    deadline timestamp with time zone,
    CONSTRAINT deadline_between_1970_and_9999 CHECK (((deadline >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (deadline <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT tasks_can_be_added CHECK ((abs(tasks) <= '1000000000000'::bigint))
);

CREATE TABLE batches (
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    state text DEFAULT 'active'::text NOT NULL,
    dry_run boolean DEFAULT false NOT NULL,
    ad_hoc_day date,
    intake_key text,
    content_digest bytea,
    requested_by text,
    reason text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    deadline timestamp with time zone,
    tasks_total bigint DEFAULT 0 NOT NULL,
    tasks_completed bigint DEFAULT 0 NOT NULL,
    tasks_failed bigint DEFAULT 0 NOT NULL,
    tasks_review bigint DEFAULT 0 NOT NULL,
    tasks_cancelled bigint DEFAULT 0 NOT NULL,
    images_found bigint DEFAULT 0 NOT NULL,
    images_deleted bigint DEFAULT 0 NOT NULL,
    api_calls bigint DEFAULT 0 NOT NULL,
    CONSTRAINT batches_check CHECK (((kind = 'ad_hoc'::text) = (ad_hoc_day IS NOT NULL))),
    CONSTRAINT batches_content_digest_check CHECK ((length(content_digest) = 32)),
    CONSTRAINT batches_intake_key_check CHECK ((intake_key <> ''::text)),
    CONSTRAINT batches_kind_check CHECK ((kind = ANY (ARRAY['file'::text, 'ad_hoc'::text]))),
    CONSTRAINT batches_state_check CHECK ((state = ANY (ARRAY['active'::text, 'paused'::text, 'cancelled'::text]))),
    CONSTRAINT counts_can_be_added CHECK ((GREATEST(abs(tasks_total), abs(tasks_completed), abs(tasks_failed), abs(tasks_review), abs(tasks_cancelled), abs(images_found), abs(images_deleted), abs(api_calls)) <= '1000000000000000'::bigint)),
    CONSTRAINT created_at_between_1970_and_9999 CHECK (((created_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (created_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT deadline_between_1970_and_9999 CHECK (((deadline >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (deadline <= '9999-12-31 00:00:00+00'::timestamp with time zone)))
);

ALTER TABLE batches ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME batches_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE customer_leases (
    remote_id bigint NOT NULL,
    customer_id bigint NOT NULL,
    task_id bigint,
    lease_owner text,
    lease_epoch bigint,
    lease_until timestamp with time zone,
    rest_until timestamp with time zone,
    CONSTRAINT customer_leases_check CHECK (((lease_owner IS NULL) = (lease_until IS NULL))),
    CONSTRAINT customer_leases_check1 CHECK (((lease_owner IS NULL) = (task_id IS NULL))),
    CONSTRAINT customer_leases_check2 CHECK (((lease_owner IS NULL) = (lease_epoch IS NULL))),
    CONSTRAINT lease_until_between_1970_and_9999 CHECK (((lease_until >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (lease_until <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT rest_until_between_1970_and_9999 CHECK (((rest_until >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (rest_until <= '9999-12-31 00:00:00+00'::timestamp with time zone)))
)
WITH (fillfactor='50');

CREATE TABLE image_calls (
    task_id bigint NOT NULL,
    sequence integer NOT NULL,
    kind text NOT NULL,
    "position" integer,
    image_key bytea,
    targets integer,
    sent_at timestamp with time zone,
    answered_at timestamp with time zone,
    class text,
    http_status integer,
    error_code text,
    images_seen integer,
    shown bytea,
    worker text NOT NULL,
    lease_epoch bigint NOT NULL,
    CONSTRAINT answered_at_between_1970_and_9999 CHECK (((answered_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (answered_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT answered_has_a_class CHECK (((answered_at IS NULL) = (class IS NULL))),
    CONSTRAINT delete_names_an_image CHECK ((((kind = 'delete'::text) = ("position" IS NOT NULL)) AND ((kind = 'delete'::text) = (image_key IS NOT NULL)))),
    CONSTRAINT image_calls_class_check CHECK ((class = ANY (ARRAY['listed'::text, 'deleted'::text, 'not_run'::text, 'no_such_image'::text, 'unknown'::text, 'customer_erased'::text, 'customer_not_found'::text, 'customer_merged'::text, 'refused'::text, 'over_limit'::text, 'invalid'::text, 'unexpected'::text, 'not_sent'::text]))),
    CONSTRAINT image_calls_image_key_check CHECK ((length(image_key) = 32)),
    CONSTRAINT image_calls_images_seen_check CHECK ((images_seen >= 0)),
    CONSTRAINT image_calls_kind_check CHECK ((kind = ANY (ARRAY['list'::text, 'delete'::text]))),
    CONSTRAINT image_calls_position_check CHECK (("position" >= 0)),
    CONSTRAINT image_calls_sequence_check CHECK ((sequence > 0)),
    CONSTRAINT image_calls_targets_check CHECK ((targets > 0)),
    CONSTRAINT sent_at_between_1970_and_9999 CHECK (((sent_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (sent_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT shown_are_counted CHECK ((((shown IS NULL) = (images_seen IS NULL)) AND (length(shown) = (8 * images_seen))))
);

CREATE TABLE image_deletion_tasks (
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    batch_id bigint NOT NULL,
    customer_id bigint NOT NULL,
    image_tokens text[],
    state text DEFAULT 'pending'::text NOT NULL,
    outcome text,
    error_code text,
    error_message text,
    http_status integer,
    images_found integer DEFAULT 0 NOT NULL,
    images_deleted integer DEFAULT 0 NOT NULL,
    images_new integer DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    api_calls integer DEFAULT 0 NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    deadline timestamp with time zone,
    mode text,
    scope text,
    source text,
    account_id text,
    verified_at timestamp with time zone,
    due_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    waiting_for text,
    lease_owner text,
    lease_epoch bigint DEFAULT 0 NOT NULL,
    lease_until timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    dry_run boolean DEFAULT false NOT NULL,
    listed boolean DEFAULT false NOT NULL,
    relisting boolean DEFAULT false NOT NULL,
    review_as text,
    call_sequence integer DEFAULT 0 NOT NULL,
    still_present integer DEFAULT 0 NOT NULL,
    contradictions integer DEFAULT 0 NOT NULL,
    refusals integer DEFAULT 0 NOT NULL,
    sort_at timestamp with time zone NOT NULL,
    CONSTRAINT created_at_between_1970_and_9999 CHECK (((created_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (created_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT deadline_between_1970_and_9999 CHECK (((deadline >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (deadline <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT dry_run_deletes_nothing CHECK (((NOT dry_run) OR (images_deleted = 0))),
    CONSTRAINT due_at_between_1970_and_9999 CHECK (((due_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (due_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT finished_at_between_1970_and_9999 CHECK (((finished_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (finished_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT finished_at_of_state CHECK (((finished_at IS NOT NULL) = (state = ANY (ARRAY['completed'::text, 'failed'::text, 'review'::text, 'cancelled'::text])))),
    CONSTRAINT image_deletion_tasks_account_id_check CHECK ((account_id <> ''::text)),
    CONSTRAINT image_deletion_tasks_api_calls_check CHECK ((api_calls >= 0)),
    CONSTRAINT image_deletion_tasks_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT image_deletion_tasks_check CHECK (((images_deleted >= 0) AND (images_deleted <= images_found))),
    CONSTRAINT image_deletion_tasks_customer_id_check CHECK ((customer_id > 0)),
    CONSTRAINT image_deletion_tasks_images_found_check CHECK ((images_found >= 0)),
    CONSTRAINT image_deletion_tasks_images_new_check CHECK ((images_new >= 0)),
    CONSTRAINT image_deletion_tasks_lease_epoch_check CHECK ((lease_epoch >= 0)),
    CONSTRAINT image_deletion_tasks_mode_check CHECK ((mode = ANY (ARRAY['economy'::text, 'verified'::text, 'paranoid'::text]))),
    CONSTRAINT image_deletion_tasks_priority_check CHECK (((priority >= '-1000'::integer) AND (priority <= 1000))),
    CONSTRAINT image_deletion_tasks_scope_check CHECK ((scope = ANY (ARRAY['snapshot'::text, 'until_empty'::text]))),
    CONSTRAINT image_deletion_tasks_source_check CHECK ((source <> ''::text)),
    CONSTRAINT image_deletion_tasks_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'running'::text, 'completed'::text, 'failed'::text, 'review'::text, 'cancelled'::text, 'held'::text]))),
    CONSTRAINT image_deletion_tasks_waiting_for_check CHECK ((waiting_for = ANY (ARRAY['settle'::text, 'backoff'::text, 'breaker'::text, 'listing_lag'::text, 'customer'::text, 'due'::text]))),
    CONSTRAINT lease_of_state CHECK ((((lease_owner IS NOT NULL) = (state = 'running'::text)) AND ((lease_until IS NOT NULL) = (state = 'running'::text)))),
    CONSTRAINT lease_until_between_1970_and_9999 CHECK (((lease_until >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (lease_until <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT named_is_snapshot CHECK (((image_tokens IS NULL) OR (scope = 'snapshot'::text) OR (scope IS NULL))),
    CONSTRAINT outcome_of_state CHECK (
CASE state
    WHEN 'completed'::text THEN ((outcome IS NOT NULL) AND (outcome = ANY (ARRAY['images_deleted'::text, 'no_images'::text, 'already_absent'::text, 'customer_erased'::text, 'customer_gone'::text, 'dry_run'::text])))
    WHEN 'failed'::text THEN ((outcome IS NOT NULL) AND (outcome = ANY (ARRAY['customer_not_found'::text, 'invalid_customer'::text, 'attempts_exhausted'::text])))
    WHEN 'review'::text THEN ((outcome IS NOT NULL) AND (outcome = ANY (ARRAY['merged_customer'::text, 'bystander_missing'::text, 'still_present'::text, 'index_contradiction'::text, 'unexpected_response'::text])))
    WHEN 'cancelled'::text THEN ((outcome IS NOT NULL) AND (outcome = 'cancelled'::text))
    ELSE (outcome IS NULL)
END),
    CONSTRAINT review_as_review CHECK ((review_as = ANY (ARRAY['merged_customer'::text, 'bystander_missing'::text, 'still_present'::text, 'index_contradiction'::text, 'unexpected_response'::text]))),
    CONSTRAINT sort_at_between_1960_and_10010 CHECK (((sort_at >= '1960-01-01 00:00:00+00'::timestamp with time zone) AND (sort_at <= '10010-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT started_at_between_1970_and_9999 CHECK (((started_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (started_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT started_by_a_claim CHECK (((started_at IS NOT NULL) = (lease_epoch > 0))),
    CONSTRAINT tokens_hashed CHECK (((image_tokens IS NULL) OR ((cardinality(image_tokens) > 0) AND (array_position(image_tokens, NULL::text) IS NULL) AND (array_to_string(image_tokens, ','::text) ~ '^[0-9a-f]{64}(,[0-9a-f]{64})*$'::text) AND (length(array_to_string(image_tokens, ','::text)) = ((65 * cardinality(image_tokens)) - 1))))),
    CONSTRAINT verified_at_between_1970_and_9999 CHECK (((verified_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (verified_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT waiting_of_state CHECK (((waiting_for IS NULL) OR (state = ANY (ARRAY['pending'::text, 'held'::text]))))
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_insert_scale_factor='0.05', autovacuum_analyze_scale_factor='0.02');

ALTER TABLE image_deletion_tasks ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME image_deletion_tasks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE legal_holds (
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    customer_id bigint NOT NULL,
    held_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    held_by text NOT NULL,
    reason text NOT NULL,
    released_at timestamp with time zone,
    released_by text,
    CONSTRAINT held_at_between_1970_and_9999 CHECK (((held_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (held_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT legal_holds_customer_id_check CHECK ((customer_id > 0)),
    CONSTRAINT legal_holds_reason_check CHECK ((reason <> ''::text)),
    CONSTRAINT released_at_between_1970_and_9999 CHECK (((released_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (released_at <= '9999-12-31 00:00:00+00'::timestamp with time zone)))
);

ALTER TABLE legal_holds ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME legal_holds_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE organization_schedules (
    organization_id bigint NOT NULL,
    schedule text NOT NULL,
    since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    recorded_by text NOT NULL,
    CONSTRAINT organization_schedules_schedule_check CHECK ((schedule <> ''::text)),
    CONSTRAINT since_between_1970_and_9999 CHECK (((since >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (since <= '9999-12-31 00:00:00+00'::timestamp with time zone)))
);

CREATE TABLE organizations (
    id bigint NOT NULL,
    name text NOT NULL,
    budget_id bigint NOT NULL,
    remote_id bigint NOT NULL,
    mode text,
    scope text,
    source text,
    account_id text,
    breaker_reason text,
    breaker_kind text,
    breaker_code text,
    breaker_http_status integer,
    breaker_since timestamp with time zone,
    probe_at timestamp with time zone,
    probe_delay interval,
    probe_task_id bigint,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    base_url text,
    settings_recorded text[] DEFAULT '{}'::text[] NOT NULL,
    settings_decided text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT breaker_since_between_1970_and_9999 CHECK (((breaker_since >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (breaker_since <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT created_at_between_1970_and_9999 CHECK (((created_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (created_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT organizations_account_id_check CHECK ((account_id <> ''::text)),
    CONSTRAINT organizations_base_url_check CHECK ((base_url ~ '^https?://[^/?#@]+$'::text)),
    CONSTRAINT organizations_breaker_kind_check CHECK ((breaker_kind = ANY (ARRAY['list'::text, 'delete'::text]))),
    CONSTRAINT organizations_breaker_reason_check CHECK ((breaker_reason = ANY (ARRAY['refused'::text, 'api_unavailable'::text, 'wrong_organisation'::text]))),
    CONSTRAINT organizations_check CHECK (((breaker_reason IS NULL) = (breaker_since IS NULL))),
    CONSTRAINT organizations_check1 CHECK (((breaker_reason IS NULL) = (probe_at IS NULL))),
    CONSTRAINT organizations_mode_check CHECK ((mode = ANY (ARRAY['economy'::text, 'verified'::text, 'paranoid'::text]))),
    CONSTRAINT organizations_name_check CHECK ((name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'::text)),
    CONSTRAINT organizations_scope_check CHECK ((scope = ANY (ARRAY['snapshot'::text, 'until_empty'::text]))),
    CONSTRAINT organizations_settings_decided_check CHECK ((settings_decided <@ ARRAY['mode'::text, 'scope'::text, 'source'::text, 'account_id'::text, 'base_url'::text])),
    CONSTRAINT organizations_settings_recorded_check CHECK ((settings_recorded <@ ARRAY['mode'::text, 'scope'::text, 'source'::text, 'account_id'::text, 'base_url'::text])),
    CONSTRAINT organizations_source_check CHECK ((source <> ''::text)),
    CONSTRAINT probe_at_between_1970_and_9999 CHECK (((probe_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (probe_at <= '9999-12-31 00:00:00+00'::timestamp with time zone)))
);

ALTER TABLE organizations ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME organizations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE pauses (
    id bigint NOT NULL,
    organization_id bigint,
    paused_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    paused_by text NOT NULL,
    reason text NOT NULL,
    resumed_at timestamp with time zone,
    resumed_by text,
    CONSTRAINT paused_at_between_1970_and_9999 CHECK (((paused_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (paused_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT pauses_check CHECK (((resumed_at IS NULL) = (resumed_by IS NULL))),
    CONSTRAINT pauses_reason_check CHECK ((reason <> ''::text)),
    CONSTRAINT resumed_at_between_1970_and_9999 CHECK (((resumed_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (resumed_at <= '9999-12-31 00:00:00+00'::timestamp with time zone)))
);

ALTER TABLE pauses ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pauses_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE rate_budgets (
    id bigint NOT NULL,
    host text,
    key_digest bytea,
    per_minute integer DEFAULT 100 NOT NULL,
    hourly integer[],
    zone text,
    set_per_minute integer,
    next_slot timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    owed_until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    reserved bigint DEFAULT 0 NOT NULL,
    paused_until timestamp with time zone,
    pace double precision,
    held double precision,
    settled boolean DEFAULT false NOT NULL,
    strikes timestamp with time zone[] DEFAULT '{}'::timestamp with time zone[] NOT NULL,
    pace_since timestamp with time zone,
    pace_reserved bigint DEFAULT 0 NOT NULL,
    step_at timestamp with time zone,
    CONSTRAINT next_slot_before_9999 CHECK ((next_slot <= '9999-12-31 00:00:00+00'::timestamp with time zone)),
    CONSTRAINT owed_until_before_9999 CHECK ((owed_until <= '9999-12-31 00:00:00+00'::timestamp with time zone)),
    CONSTRAINT pace_since_between_1970_and_9999 CHECK (((pace_since >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (pace_since <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT paused_until_between_1970_and_9999 CHECK (((paused_until >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (paused_until <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT rate_budgets_check CHECK (((host IS NULL) = (key_digest IS NULL))),
    CONSTRAINT rate_budgets_check1 CHECK (((hourly IS NULL) = (zone IS NULL))),
    CONSTRAINT rate_budgets_check2 CHECK (((pace IS NULL) OR (pace_since IS NOT NULL))),
    CONSTRAINT rate_budgets_check3 CHECK (((pace_since IS NULL) = (step_at IS NULL))),
    CONSTRAINT rate_budgets_held_check CHECK ((held > (0)::double precision)),
    CONSTRAINT rate_budgets_host_check CHECK ((host <> ''::text)),
    CONSTRAINT rate_budgets_hourly_check CHECK (((cardinality(hourly) = 24) AND (2 <= ALL (hourly)))),
    CONSTRAINT rate_budgets_key_digest_check CHECK ((length(key_digest) = 32)),
    CONSTRAINT rate_budgets_pace_check CHECK ((pace > (0)::double precision)),
    CONSTRAINT rate_budgets_per_minute_check CHECK ((per_minute >= 2)),
    CONSTRAINT rate_budgets_set_per_minute_check CHECK ((set_per_minute >= 2)),
    CONSTRAINT step_at_between_1970_and_9999 CHECK (((step_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (step_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT strikes_between_1970_and_9999 CHECK (((array_position(strikes, NULL::timestamp with time zone) IS NULL) AND ('1970-01-01 00:00:00+00'::timestamp with time zone <= ALL (strikes)) AND ('9999-12-31 00:00:00+00'::timestamp with time zone >= ALL (strikes))))
)
WITH (fillfactor='20');

ALTER TABLE rate_budgets ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME rate_budgets_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE remote_organizations (
    id bigint NOT NULL,
    number bigint,
    CONSTRAINT remote_organizations_number_check CHECK ((number > 0))
);

ALTER TABLE remote_organizations ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME remote_organizations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE schedule_runs (
    organization_id bigint NOT NULL,
    tick timestamp with time zone NOT NULL,
    closes_at timestamp with time zone NOT NULL,
    schedule text NOT NULL,
    opened_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    opened_by text NOT NULL,
    ended_at timestamp with time zone,
    ended_by text,
    CONSTRAINT closes_at_between_1970_and_9999 CHECK (((closes_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (closes_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT ended_at_between_1970_and_9999 CHECK (((ended_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (ended_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT opened_at_between_1970_and_9999 CHECK (((opened_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (opened_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT schedule_runs_check CHECK ((closes_at > tick)),
    CONSTRAINT schedule_runs_check1 CHECK (((opened_at >= tick) AND (opened_at < closes_at))),
    CONSTRAINT schedule_runs_check2 CHECK ((ended_at >= closes_at)),
    CONSTRAINT schedule_runs_check3 CHECK (((ended_at IS NULL) = (ended_by IS NULL))),
    CONSTRAINT tick_between_1970_and_9999 CHECK (((tick >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (tick <= '9999-12-31 00:00:00+00'::timestamp with time zone)))
);

CREATE TABLE server_identity (
    only_row boolean DEFAULT true NOT NULL,
    system_identifier bigint NOT NULL,
    timeline text NOT NULL,
    claims_from timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    epoch_floor bigint DEFAULT 0 NOT NULL,
    seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT claims_from_before_9999 CHECK ((claims_from <= '9999-12-31 00:00:00+00'::timestamp with time zone)),
    CONSTRAINT seen_at_between_1970_and_9999 CHECK (((seen_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (seen_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT server_identity_epoch_floor_check CHECK ((epoch_floor >= 0)),
    CONSTRAINT server_identity_only_row_check CHECK (only_row)
);

CREATE TABLE task_images (
    task_id bigint NOT NULL,
    image_key bytea NOT NULL,
    "position" integer NOT NULL,
    state text NOT NULL,
    evidence text,
    intended_at timestamp with time zone,
    answered_at timestamp with time zone,
    http_status integer,
    error_code text,
    sends integer DEFAULT 0 NOT NULL,
    missing boolean DEFAULT false NOT NULL,
    CONSTRAINT answered_at_between_1970_and_9999 CHECK (((answered_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (answered_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT bystanders_are_never_sent CHECK (((state <> 'bystander'::text) OR (sends = 0))),
    CONSTRAINT gone_has_evidence CHECK (((state <> ALL (ARRAY['deleted'::text, 'absent'::text])) OR (evidence IS NOT NULL))),
    CONSTRAINT intended_at_between_1970_and_9999 CHECK (((intended_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (intended_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT intended_has_a_time CHECK (((state <> 'intended'::text) OR (intended_at IS NOT NULL))),
    CONSTRAINT only_bystanders_are_missed CHECK (((NOT missing) OR (state = 'bystander'::text))),
    CONSTRAINT sent_before_deleted CHECK (((state <> ALL (ARRAY['intended'::text, 'unknown'::text, 'deleted'::text])) OR (sends > 0))),
    CONSTRAINT task_images_evidence_check CHECK ((evidence = ANY (ARRAY['answer'::text, 'listing'::text]))),
    CONSTRAINT task_images_image_key_check CHECK ((length(image_key) = 32)),
    CONSTRAINT task_images_position_check CHECK (("position" >= 0)),
    CONSTRAINT task_images_sends_check CHECK ((sends >= 0)),
    CONSTRAINT task_images_state_check CHECK ((state = ANY (ARRAY['planned'::text, 'intended'::text, 'unknown'::text, 'deleted'::text, 'absent'::text, 'bystander'::text])))
);

CREATE TABLE workers (
    name text NOT NULL,
    organization_id bigint NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamp with time zone,
    in_flight integer DEFAULT 0 NOT NULL,
    in_hand integer DEFAULT 0 NOT NULL,
    calls bigint DEFAULT 0 NOT NULL,
    CONSTRAINT ended_at_between_1970_and_9999 CHECK (((ended_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (ended_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT seen_at_between_1970_and_9999 CHECK (((seen_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (seen_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT started_at_between_1970_and_9999 CHECK (((started_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (started_at <= '9999-12-31 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT workers_calls_check CHECK ((calls >= 0)),
    CONSTRAINT workers_in_flight_check CHECK ((in_flight >= 0)),
    CONSTRAINT workers_in_hand_check CHECK ((in_hand >= 0))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500');

ALTER TABLE ONLY audit_entries
    ADD CONSTRAINT audit_entries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY batches
    ADD CONSTRAINT batches_id_organization_id_key UNIQUE (id, organization_id);

ALTER TABLE ONLY batches
    ADD CONSTRAINT batches_pkey PRIMARY KEY (id);

ALTER TABLE ONLY customer_leases
    ADD CONSTRAINT customer_leases_pkey PRIMARY KEY (remote_id, customer_id);

ALTER TABLE ONLY image_calls
    ADD CONSTRAINT image_calls_pkey PRIMARY KEY (task_id, sequence);

ALTER TABLE ONLY image_deletion_tasks
    ADD CONSTRAINT image_deletion_tasks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY legal_holds
    ADD CONSTRAINT legal_holds_pkey PRIMARY KEY (id);

ALTER TABLE ONLY organization_schedules
    ADD CONSTRAINT organization_schedules_pkey PRIMARY KEY (organization_id);

ALTER TABLE ONLY organizations
    ADD CONSTRAINT organizations_name_key UNIQUE (name);

ALTER TABLE ONLY organizations
    ADD CONSTRAINT organizations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pauses
    ADD CONSTRAINT pauses_pkey PRIMARY KEY (id);

ALTER TABLE ONLY rate_budgets
    ADD CONSTRAINT rate_budgets_host_key_digest_key UNIQUE (host, key_digest);

ALTER TABLE ONLY rate_budgets
    ADD CONSTRAINT rate_budgets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY remote_organizations
    ADD CONSTRAINT remote_organizations_number_key UNIQUE (number);

ALTER TABLE ONLY remote_organizations
    ADD CONSTRAINT remote_organizations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY schedule_runs
    ADD CONSTRAINT schedule_runs_apart EXCLUDE USING gist (int8range(organization_id, organization_id, '[]'::text) WITH &&, tstzrange(tick, closes_at) WITH &&);

ALTER TABLE ONLY schedule_runs
    ADD CONSTRAINT schedule_runs_pkey PRIMARY KEY (organization_id, tick);

ALTER TABLE ONLY server_identity
    ADD CONSTRAINT server_identity_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY task_images
    ADD CONSTRAINT task_images_pkey PRIMARY KEY (task_id, image_key);

ALTER TABLE ONLY workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (name);

CREATE INDEX audit_entries_of_batch ON audit_entries USING btree (batch_id, id) WHERE (batch_id IS NOT NULL);

CREATE INDEX audit_entries_of_task ON audit_entries USING btree (task_id, id) WHERE (task_id IS NOT NULL);

CREATE INDEX batch_arrivals_of ON batch_arrivals USING btree (batch_id);

CREATE UNIQUE INDEX batches_ad_hoc ON batches USING btree (organization_id, ad_hoc_day) WHERE (kind = 'ad_hoc'::text);

CREATE INDEX batches_content ON batches USING btree (organization_id, content_digest) WHERE (content_digest IS NOT NULL);

CREATE UNIQUE INDEX batches_intake_key ON batches USING btree (organization_id, intake_key) WHERE (intake_key IS NOT NULL);

CREATE INDEX customer_leases_over ON customer_leases USING btree (rest_until) WHERE (lease_owner IS NULL);

CREATE UNIQUE INDEX legal_holds_in_force ON legal_holds USING btree (organization_id, customer_id) WHERE (released_at IS NULL);

CREATE INDEX organizations_of_budget ON organizations USING btree (budget_id);

CREATE INDEX organizations_of_remote ON organizations USING btree (remote_id);

CREATE UNIQUE INDEX pauses_in_force ON pauses USING btree (COALESCE(organization_id, (0)::bigint)) WHERE (resumed_at IS NULL);

CREATE INDEX schedule_runs_not_ended ON schedule_runs USING btree (organization_id) WHERE (ended_at IS NULL);

CREATE INDEX tasks_leased ON image_deletion_tasks USING btree (lease_until) WHERE (state = 'running'::text);

CREATE INDEX tasks_of_batch ON image_deletion_tasks USING btree (batch_id, id);

CREATE INDEX tasks_of_customer ON image_deletion_tasks USING btree (customer_id, organization_id, id);

CREATE INDEX tasks_ready ON image_deletion_tasks USING btree (batch_id, sort_at, id) WHERE ((state = 'pending'::text) AND (waiting_for IS NULL));

CREATE INDEX tasks_to_decide ON image_deletion_tasks USING btree (batch_id, id) WHERE (state = ANY (ARRAY['failed'::text, 'review'::text]));

CREATE INDEX tasks_waiting ON image_deletion_tasks USING btree (batch_id, due_at, id) WHERE ((state = 'pending'::text) AND (waiting_for IS NOT NULL));

CREATE INDEX workers_live ON workers USING btree (organization_id) WHERE (ended_at IS NULL);

CREATE TRIGGER accept_task BEFORE INSERT ON image_deletion_tasks FOR EACH ROW WHEN ((NOT has_program_right())) EXECUTE FUNCTION accept_task();

CREATE TRIGGER complete_organization BEFORE INSERT ON organizations FOR EACH ROW EXECUTE FUNCTION complete_organization();

CREATE TRIGGER complete_task BEFORE INSERT ON image_deletion_tasks FOR EACH ROW WHEN ((imagepurge_command() <> 'enqueue'::text)) EXECUTE FUNCTION complete_task();

CREATE TRIGGER count_arrivals AFTER INSERT ON image_deletion_tasks REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION count_arrivals();

CREATE TRIGGER count_withdrawals AFTER DELETE ON image_deletion_tasks REFERENCING OLD TABLE AS withdrawn FOR EACH STATEMENT EXECUTE FUNCTION count_withdrawals();

CREATE CONSTRAINT TRIGGER guard_end AFTER UPDATE ON image_deletion_tasks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((old.state = ANY (ARRAY['pending'::text, 'running'::text])) AND (new.state = ANY (ARRAY['completed'::text, 'failed'::text, 'review'::text, 'cancelled'::text])))) EXECUTE FUNCTION guard_end();

CREATE TRIGGER guard_evidence BEFORE INSERT OR DELETE OR UPDATE ON image_calls FOR EACH ROW EXECUTE FUNCTION guard_evidence();

CREATE TRIGGER guard_evidence BEFORE INSERT OR DELETE OR UPDATE ON task_images FOR EACH ROW EXECUTE FUNCTION guard_evidence();

CREATE TRIGGER guard_evidence_whole BEFORE TRUNCATE ON image_calls FOR EACH STATEMENT EXECUTE FUNCTION guard_evidence();

CREATE TRIGGER guard_evidence_whole BEFORE TRUNCATE ON task_images FOR EACH STATEMENT EXECUTE FUNCTION guard_evidence();

CREATE TRIGGER guard_task_delete BEFORE DELETE ON image_deletion_tasks FOR EACH ROW EXECUTE FUNCTION guard_task_delete();

CREATE TRIGGER guard_task_truncate BEFORE TRUNCATE ON image_deletion_tasks FOR EACH STATEMENT EXECUTE FUNCTION guard_task_truncate();

CREATE TRIGGER guard_task_update BEFORE UPDATE ON image_deletion_tasks FOR EACH ROW EXECUTE FUNCTION guard_task_update();

CREATE TRIGGER keep_answer BEFORE UPDATE ON image_calls FOR EACH ROW EXECUTE FUNCTION guard_answer();

CREATE TRIGGER notify_workers AFTER INSERT ON image_deletion_tasks REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION notify_workers();

CREATE TRIGGER only_grows BEFORE DELETE OR UPDATE ON audit_entries FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();

CREATE TRIGGER only_grows_whole BEFORE TRUNCATE ON audit_entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

CREATE TRIGGER only_program BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON audit_entries FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program BEFORE DELETE OR UPDATE OR TRUNCATE ON batch_arrivals FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program BEFORE DELETE OR UPDATE OR TRUNCATE ON batches FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON customer_leases FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON legal_holds FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON organization_schedules FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON organizations FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON pauses FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON rate_budgets FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON remote_organizations FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON schedule_runs FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON server_identity FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON workers FOR EACH STATEMENT WHEN ((NOT has_program_right())) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program_inserts BEFORE INSERT ON batch_arrivals FOR EACH STATEMENT WHEN ((NOT (has_program_right() OR has_function_privilege(CURRENT_USER, ('imagepurge_program()'::regprocedure)::oid, 'EXECUTE'::text)))) EXECUTE FUNCTION refuse_role();

CREATE TRIGGER only_program_inserts BEFORE INSERT ON batches FOR EACH STATEMENT WHEN ((NOT (has_program_right() OR has_function_privilege(CURRENT_USER, ('imagepurge_program()'::regprocedure)::oid, 'EXECUTE'::text)))) EXECUTE FUNCTION refuse_role();

ALTER TABLE ONLY audit_entries
    ADD CONSTRAINT audit_entries_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE ONLY batch_arrivals
    ADD CONSTRAINT batch_arrivals_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES batches(id);

ALTER TABLE ONLY batches
    ADD CONSTRAINT batches_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE ONLY customer_leases
    ADD CONSTRAINT customer_leases_remote_id_fkey FOREIGN KEY (remote_id) REFERENCES remote_organizations(id);

ALTER TABLE ONLY image_calls
    ADD CONSTRAINT image_calls_task_id_fkey FOREIGN KEY (task_id) REFERENCES image_deletion_tasks(id);

ALTER TABLE ONLY image_deletion_tasks
    ADD CONSTRAINT image_deletion_tasks_batch_id_organization_id_fkey FOREIGN KEY (batch_id, organization_id) REFERENCES batches(id, organization_id);

ALTER TABLE ONLY legal_holds
    ADD CONSTRAINT legal_holds_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE ONLY organization_schedules
    ADD CONSTRAINT organization_schedules_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE ONLY organizations
    ADD CONSTRAINT organizations_budget_id_fkey FOREIGN KEY (budget_id) REFERENCES rate_budgets(id);

ALTER TABLE ONLY organizations
    ADD CONSTRAINT organizations_remote_id_fkey FOREIGN KEY (remote_id) REFERENCES remote_organizations(id);

ALTER TABLE ONLY pauses
    ADD CONSTRAINT pauses_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE ONLY schedule_runs
    ADD CONSTRAINT schedule_runs_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE ONLY task_images
    ADD CONSTRAINT task_images_task_id_fkey FOREIGN KEY (task_id) REFERENCES image_deletion_tasks(id);

ALTER TABLE ONLY workers
    ADD CONSTRAINT workers_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations(id);
