-- +goose Up
-- +goose StatementBegin
-- A setting is no guard against those who may say SET. What the program alone may
-- write is refused to every session without the program's right: that of calling
-- imagepurge_program(), which does nothing else. The schema's owner has it, superusers
-- have it by nature, and the owner grants it to the role that the workers use. It is asked of
-- session_user, which neither SET ROLE nor SECURITY DEFINER changes.
--
-- Every function below, and those from before, has a fixed search path, with the
-- caller's own temporary objects last. Bodies in BEGIN ATOMIC are bound to what they name
-- as they are made.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE FUNCTION imagepurge_program() RETURNS void LANGUAGE sql BEGIN ATOMIC END;
REVOKE ALL ON FUNCTION imagepurge_program() FROM PUBLIC;

CREATE FUNCTION has_program_right() RETURNS boolean LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT has_function_privilege(session_user, 'imagepurge_program()'::regprocedure, 'EXECUTE');
END;

-- Without the right nothing is a command: such a session is hands, whatever it has set.
-- It stays the guard against mistakes of those who have the right.
CREATE OR REPLACE FUNCTION imagepurge_command() RETURNS text LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT CASE WHEN has_program_right() THEN coalesce(current_setting('imagepurge.command', true), '') ELSE '' END;
END;

-- As before; 946684800 is the year 2000 in UTC.
CREATE OR REPLACE FUNCTION task_sort_at(created timestamptz, priority integer, deadline timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE BEGIN ATOMIC
    SELECT date_bin('1 hour', least(created - make_interval(hours => 24 * priority),
        CASE WHEN deadline IS NOT NULL THEN greatest(deadline - interval '720 hours', created - interval '24000 hours') END),
        to_timestamp(946684800));
END;

-- They stand in triggers of whoever may insert.
GRANT EXECUTE ON FUNCTION has_program_right(), imagepurge_command(), task_sort_at(timestamptz, integer, timestamptz) TO PUBLIC;

CREATE OR REPLACE TRIGGER complete_task BEFORE INSERT ON image_deletion_tasks FOR EACH ROW
    WHEN (imagepurge_command() <> 'enqueue') EXECUTE FUNCTION complete_task();

-- The number and the time of what others hand in are the database's: a number ahead of the
-- sequence would be in the way of later tasks, a time of the past would go before all others.
-- The trigger's name lets it come before complete_task.
CREATE FUNCTION accept_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.id := nextval('image_deletion_tasks_id_seq');
    NEW.created_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER accept_task BEFORE INSERT ON image_deletion_tasks FOR EACH ROW
    WHEN (NOT has_program_right()) EXECUTE FUNCTION accept_task();

CREATE FUNCTION refuse_role() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%: % is for imagepurge alone, and the role % has not its right', TG_TABLE_NAME, TG_OP, session_user
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'To hand in work: INSERT INTO image_deletion_tasks (customer_id) …; everything else: imagepurge --help';
END $$;

DO $$
DECLARE
    name text;
BEGIN
    -- Tasks, images and calls have guards of their own, which ask imagepurge_command().
    FOREACH name IN ARRAY ARRAY['rate_budgets', 'remote_organizations', 'organizations', 'pauses', 'legal_holds', 'server_identity',
        'audit_entries', 'customer_leases', 'organization_schedules', 'schedule_runs', 'workers', 'goose_db_version'] LOOP
        EXECUTE format('CREATE TRIGGER only_program BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT
            WHEN (NOT has_program_right()) EXECUTE FUNCTION refuse_role()', name);
    END LOOP;
    -- The triggers of tasks make batches and count arrivals for whoever hands in work. They run
    -- as their owner, who has the right; nobody becomes the owner otherwise without being one.
    FOREACH name IN ARRAY ARRAY['batches', 'batch_arrivals'] LOOP
        EXECUTE format('CREATE TRIGGER only_program BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT
            WHEN (NOT has_program_right()) EXECUTE FUNCTION refuse_role()', name);
        EXECUTE format('CREATE TRIGGER only_program_inserts BEFORE INSERT ON %I FOR EACH STATEMENT
            WHEN (NOT (has_program_right() OR has_function_privilege(current_user, ''imagepurge_program()''::regprocedure, ''EXECUTE'')))
            EXECUTE FUNCTION refuse_role()', name);
    END LOOP;

    -- Who may call a trigger's function may put it on a table of his own.
    FOREACH name IN ARRAY ARRAY['complete_organization', 'refuse_audit_change', 'complete_task', 'count_arrivals', 'count_withdrawals',
        'guard_task_update', 'guard_task_delete', 'guard_task_truncate', 'guard_evidence', 'guard_answer', 'notify_workers',
        'accept_task', 'refuse_role'] LOOP
        EXECUTE format('ALTER FUNCTION %I() SET search_path FROM CURRENT', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %I() FROM PUBLIC', name);
    END LOOP;
END $$;

-- INSERT on image_deletion_tasks is all that is needed to hand in work, and UPDATE or DELETE to
-- move or withdraw what was not started.
ALTER FUNCTION accept_task() SECURITY DEFINER;
ALTER FUNCTION complete_task() SECURITY DEFINER;
ALTER FUNCTION count_arrivals() SECURITY DEFINER;
ALTER FUNCTION count_withdrawals() SECURITY DEFINER;
ALTER FUNCTION guard_task_update() SECURITY DEFINER;
-- +goose StatementEnd
