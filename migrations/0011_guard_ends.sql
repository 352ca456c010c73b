-- +goose Up
-- +goose StatementBegin
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- No task ends in doubt: an image that may have been deleted, or may still be, is
-- decided by a listing first. Where no listing can tell, a person decides: the task is
-- in review. What a person closes may stay in doubt. Asked at the commit, when the
-- statement that ends a task has written its images, too.
CREATE FUNCTION guard_end() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM task_images WHERE task_id = NEW.id AND (state = 'intended'
               OR state = 'unknown' AND NOT (NEW.state = 'review' AND NEW.outcome IN ('merged_customer', 'unexpected_response')))) THEN
        RAISE EXCEPTION 'task % would end in doubt: %', NEW.id, NEW.outcome USING ERRCODE = 'check_violation', CONSTRAINT = 'ends_told';
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION guard_end() FROM PUBLIC;
CREATE CONSTRAINT TRIGGER guard_end AFTER UPDATE ON image_deletion_tasks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.state IN ('pending', 'running') AND NEW.state IN ('completed', 'failed', 'review', 'cancelled'))
    EXECUTE FUNCTION guard_end();
-- +goose StatementEnd
