-- +goose Up
-- +goose StatementBegin
-- One row that can't be read would stop all who read it: the workers, status, the list
-- of batches. A time may be infinite in Postgres, or lie where no other calendar
-- reaches; a sum may be too large; one text may be two digests. All columns are bounded
-- here, those that only the program writes as well.
--
-- What lies outside is mended, and an audit entry says what was there. A time becomes
-- the nearest that can be read; a deadline that never comes, none; a task's time of
-- making, its batch's; a lease or a rest without end ends. The tables' own triggers
-- would refuse that where a task has ended.
DO $do$
DECLARE
    range   CONSTANT text := $$'1970-01-01 00:00:00+00' AND '9999-12-31 00:00:00+00'$$;
    nearest CONSTANT text := $$CASE WHEN t.%1$I < '1970-01-01 00:00:00+00' THEN '1970-01-01 00:00:00+00' ELSE '9999-12-31 00:00:00+00' END::timestamptz$$;
    none    CONSTANT text := $$CASE WHEN t.%1$I < '1970-01-01 00:00:00+00' THEN '1970-01-01 00:00:00+00' END::timestamptz$$;
    mend    CONSTANT text := $$
        WITH mended AS (
            UPDATE %1$I t SET %2$I = %3$s FROM (SELECT ctid, %2$I::text AS was FROM %1$I WHERE %2$I NOT BETWEEN %4$s) o
            WHERE t.ctid = o.ctid RETURNING o.was)
        INSERT INTO audit_entries (actor, host, action, details)
        SELECT 'imagepurge migrate', '', 'schema.mend',
               jsonb_build_object('table', %1$L, 'column', %2$L, 'rows', count(*), 'was', (array_agg(DISTINCT was))[1:10])
        FROM mended HAVING count(*) > 0$$;
    of_table  record;
    of_column text;
    becomes   text;
    checks    text;
BEGIN
    FOR of_table IN SELECT * FROM (VALUES
        ('rate_budgets',           '{paused_until,pace_since,step_at}'::text[]),
        ('organizations',          '{breaker_since,probe_at,created_at}'),
        ('pauses',                 '{paused_at,resumed_at}'),
        ('legal_holds',            '{held_at,released_at}'),
        ('server_identity',        '{seen_at}'),
        ('image_deletion_tasks',   '{created_at,deadline,due_at,lease_until,started_at,finished_at,verified_at}'),
        ('batches',                '{created_at,deadline}'),
        ('batch_arrivals',         '{deadline}'),
        ('task_images',            '{intended_at,answered_at}'),
        ('image_calls',            '{sent_at,answered_at}'),
        ('customer_leases',        '{lease_until,rest_until}'),
        ('organization_schedules', '{since}'),
        ('schedule_runs',          '{tick,closes_at,opened_at,ended_at}'),
        ('workers',                '{started_at,seen_at,ended_at}'),
        ('audit_entries',          '{at}')) AS t (name, columns)
    LOOP
        EXECUTE format('ALTER TABLE %I DISABLE TRIGGER USER', of_table.name);
        checks := '';
        FOREACH of_column IN ARRAY of_table.columns LOOP
            becomes := format(CASE
                WHEN of_table.name = 'batches' AND of_column = 'deadline' THEN '(SELECT min(x.deadline) FROM image_deletion_tasks x WHERE x.batch_id = t.id)'
                WHEN of_table.name = 'batches' THEN 'coalesce((SELECT min(x.created_at) FROM image_deletion_tasks x WHERE x.batch_id = t.id), clock_timestamp())'
                WHEN of_column = 'deadline' THEN none
                WHEN of_table.name = 'image_deletion_tasks' AND of_column = 'created_at'
                    THEN '(SELECT CASE WHEN b.created_at BETWEEN ' || range || ' THEN b.created_at ELSE clock_timestamp() END FROM batches b WHERE b.id = t.batch_id)'
                WHEN of_column = 'lease_until' THEN 'clock_timestamp()'
                WHEN of_column = 'rest_until' THEN $$clock_timestamp() + interval '1 day'$$
                ELSE nearest END, of_column);
            EXECUTE format(mend, of_table.name, of_column, becomes, range);
            checks := checks || format(', ADD CONSTRAINT %I CHECK (%I BETWEEN %s)', of_column || '_between_1970_and_9999', of_column, range);
        END LOOP;
        EXECUTE format('ALTER TABLE %I ENABLE TRIGGER USER %s', of_table.name, checks);
    END LOOP;
END $do$;

ALTER TABLE image_deletion_tasks DISABLE TRIGGER USER;
UPDATE image_deletion_tasks SET sort_at = task_sort_at(created_at, priority, deadline)
WHERE sort_at NOT BETWEEN created_at - interval '24001 hours' AND created_at + interval '24000 hours';
UPDATE image_deletion_tasks SET image_tokens = string_to_array(array_to_string(image_tokens, ','), ',')
WHERE length(array_to_string(image_tokens, ',')) <> 65 * cardinality(image_tokens) - 1;
ALTER TABLE image_deletion_tasks ENABLE TRIGGER USER,
    -- A thousand days farther than created_at, which priorities can reach.
    ADD CONSTRAINT sort_at_between_1960_and_10010 CHECK (sort_at BETWEEN '1960-01-01 00:00:00+00' AND '10010-01-01 00:00:00+00'),
    DROP CONSTRAINT tokens_hashed,
    ADD CONSTRAINT tokens_hashed CHECK (image_tokens IS NULL OR (cardinality(image_tokens) > 0
        AND array_position(image_tokens, NULL) IS NULL
        AND array_to_string(image_tokens, ',') ~ '^[0-9a-f]{64}(,[0-9a-f]{64})*$'
        AND length(array_to_string(image_tokens, ',')) = 65 * cardinality(image_tokens) - 1));

-- Of these -infinity is the beginning: they are only compared.
UPDATE rate_budgets SET next_slot = '-infinity' WHERE next_slot > '9999-12-31 00:00:00+00';
UPDATE rate_budgets SET owed_until = '-infinity' WHERE owed_until > '9999-12-31 00:00:00+00';
UPDATE rate_budgets SET strikes = '{}' WHERE array_position(strikes, NULL) IS NOT NULL
    OR NOT ('1970-01-01 00:00:00+00' <= ALL (strikes) AND '9999-12-31 00:00:00+00' >= ALL (strikes));
UPDATE server_identity SET claims_from = '9999-12-31 00:00:00+00' WHERE claims_from > '9999-12-31 00:00:00+00';
ALTER TABLE rate_budgets
    ADD CONSTRAINT next_slot_before_9999 CHECK (next_slot <= '9999-12-31 00:00:00+00'),
    ADD CONSTRAINT owed_until_before_9999 CHECK (owed_until <= '9999-12-31 00:00:00+00'),
    ADD CONSTRAINT strikes_between_1970_and_9999 CHECK (array_position(strikes, NULL) IS NULL
        AND '1970-01-01 00:00:00+00' <= ALL (strikes) AND '9999-12-31 00:00:00+00' >= ALL (strikes));
ALTER TABLE server_identity ADD CONSTRAINT claims_from_before_9999 CHECK (claims_from <= '9999-12-31 00:00:00+00');

-- No list of customers is so long, and sums of these stay numbers. Others are counted anew.
WITH wrong AS (
    SELECT id FROM batches WHERE greatest(abs(tasks_total::numeric), abs(tasks_completed::numeric), abs(tasks_failed::numeric),
        abs(tasks_review::numeric), abs(tasks_cancelled::numeric), abs(images_found::numeric), abs(images_deleted::numeric), abs(api_calls::numeric)) > 1000000000000000
    UNION SELECT batch_id FROM batch_arrivals WHERE abs(tasks::numeric) > 1000000000000
),
gone AS (DELETE FROM batch_arrivals WHERE batch_id IN (SELECT id FROM wrong))
UPDATE batches b
SET tasks_total = s.total, tasks_completed = s.completed, tasks_failed = s.failed, tasks_review = s.review,
    tasks_cancelled = s.cancelled, images_found = s.found, images_deleted = s.deleted, api_calls = s.calls
FROM (SELECT w.id, count(t.id) AS total,
             count(*) FILTER (WHERE t.state = 'completed') AS completed, count(*) FILTER (WHERE t.state = 'failed') AS failed,
             count(*) FILTER (WHERE t.state = 'review') AS review, count(*) FILTER (WHERE t.state = 'cancelled') AS cancelled,
             coalesce(sum(t.images_found) FILTER (WHERE t.finished_at IS NOT NULL), 0) AS found,
             coalesce(sum(t.images_deleted) FILTER (WHERE t.finished_at IS NOT NULL), 0) AS deleted,
             coalesce(sum(t.api_calls) FILTER (WHERE t.finished_at IS NOT NULL), 0) AS calls
      FROM wrong w LEFT JOIN image_deletion_tasks t ON t.batch_id = w.id GROUP BY w.id) s
WHERE b.id = s.id;
ALTER TABLE batches ADD CONSTRAINT counts_can_be_added CHECK (greatest(abs(tasks_total), abs(tasks_completed), abs(tasks_failed),
    abs(tasks_review), abs(tasks_cancelled), abs(images_found), abs(images_deleted), abs(api_calls)) <= 1000000000000000);
ALTER TABLE batch_arrivals ADD CONSTRAINT tasks_can_be_added CHECK (abs(tasks) <= 1000000000000);
-- +goose StatementEnd
