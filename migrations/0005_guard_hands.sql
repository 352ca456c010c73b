-- +goose Up
-- +goose StatementBegin
-- What hands at a SQL prompt may not do is refused here, with the command to use
-- instead. A statement of the program names its command with
-- set_config('imagepurge.command', …, true), which lasts for its transaction only.
CREATE FUNCTION imagepurge_command() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('imagepurge.command', true), '')
$$;

CREATE FUNCTION task_sort_at(created timestamptz, priority integer, deadline timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT date_bin('1 hour', least(created - make_interval(hours => 24 * priority),
        CASE WHEN deadline IS NOT NULL THEN greatest(deadline - interval '720 hours', created - interval '24000 hours') END), '2000-01-01 00:00:00+00')
$$;

-- Completes and checks a task that comes in. INSERT … (customer_id) VALUES (…) is
-- a whole task.
CREATE FUNCTION complete_task() RETURNS trigger LANGUAGE plpgsql AS $$
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
END $$;
-- An intake gives every column itself, a million rows at a time.
CREATE TRIGGER complete_task BEFORE INSERT ON image_deletion_tasks FOR EACH ROW
    WHEN (coalesce(current_setting('imagepurge.command', true), '') <> 'enqueue') EXECUTE FUNCTION complete_task();

-- A batch learns of tasks that came to it by SQL.
CREATE FUNCTION count_arrivals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF imagepurge_command() <> 'enqueue' THEN -- an intake counts its own
        INSERT INTO batch_arrivals (batch_id, tasks, deadline) SELECT batch_id, count(*), min(deadline) FROM arrived GROUP BY batch_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_arrivals AFTER INSERT ON image_deletion_tasks
    REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION count_arrivals();

CREATE FUNCTION count_withdrawals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO batch_arrivals (batch_id, tasks) SELECT batch_id, -count(*) FROM withdrawn GROUP BY batch_id;
    RETURN NULL;
END $$;
CREATE TRIGGER count_withdrawals AFTER DELETE ON image_deletion_tasks
    REFERENCING OLD TABLE AS withdrawn FOR EACH STATEMENT EXECUTE FUNCTION count_withdrawals();

CREATE FUNCTION guard_task_update() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER guard_task_update BEFORE UPDATE ON image_deletion_tasks FOR EACH ROW EXECUTE FUNCTION guard_task_update();

CREATE FUNCTION guard_task_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.lease_epoch > 0 OR OLD.state <> 'pending' THEN
        RAISE EXCEPTION 'task % was started: it is evidence and can''t be deleted', OLD.id
            USING ERRCODE = 'restrict_violation', HINT = format('Use: imagepurge batch cancel %s --reason "…"', OLD.batch_id);
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER guard_task_delete BEFORE DELETE ON image_deletion_tasks FOR EACH ROW EXECUTE FUNCTION guard_task_delete();

CREATE FUNCTION guard_task_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM image_deletion_tasks WHERE lease_epoch > 0 OR state <> 'pending') THEN
        RAISE EXCEPTION 'image_deletion_tasks holds tasks that were started: they are evidence'
            USING ERRCODE = 'restrict_violation', HINT = 'Use: imagepurge batch cancel BATCH --reason "…"';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER guard_task_truncate BEFORE TRUNCATE ON image_deletion_tasks FOR EACH STATEMENT EXECUTE FUNCTION guard_task_truncate();

-- Images and calls are written by the program alone and never deleted.
CREATE FUNCTION guard_evidence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP IN ('INSERT', 'UPDATE') AND imagepurge_command() <> '' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% is evidence: % by hand is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'To look: imagepurge task show TASK';
END $$;
CREATE TRIGGER guard_evidence BEFORE INSERT OR UPDATE OR DELETE ON task_images FOR EACH ROW EXECUTE FUNCTION guard_evidence();
CREATE TRIGGER guard_evidence BEFORE INSERT OR UPDATE OR DELETE ON image_calls FOR EACH ROW EXECUTE FUNCTION guard_evidence();
CREATE TRIGGER guard_evidence_whole BEFORE TRUNCATE ON task_images FOR EACH STATEMENT EXECUTE FUNCTION guard_evidence();
CREATE TRIGGER guard_evidence_whole BEFORE TRUNCATE ON image_calls FOR EACH STATEMENT EXECUTE FUNCTION guard_evidence();

-- An answer, once written, stands. The trigger's name lets guard_evidence speak first.
CREATE FUNCTION guard_answer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.answered_at IS NOT NULL AND NEW IS DISTINCT FROM OLD THEN
        RAISE EXCEPTION 'task %, call %: its answer is written down already', OLD.task_id, OLD.sequence
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_answer BEFORE UPDATE ON image_calls FOR EACH ROW EXECUTE FUNCTION guard_answer();
-- +goose StatementEnd
