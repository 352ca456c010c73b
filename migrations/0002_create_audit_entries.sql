-- +goose Up
-- +goose StatementBegin
-- Who did what, when, where from and why. It only grows.
CREATE TABLE audit_entries (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor           text NOT NULL,                 -- a person's login or a worker's name
    host            text NOT NULL,
    action          text NOT NULL CHECK (action ~ '^[a-z]+\.[a-z_]+$'),
    organization_id bigint REFERENCES organizations,
    batch_id        bigint,
    task_id         bigint,
    reason          text,
    details         jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_entries_of_batch ON audit_entries (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX audit_entries_of_task ON audit_entries (task_id, id) WHERE task_id IS NOT NULL;

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_entries only grows: % is refused', TG_OP
        USING ERRCODE = 'restrict_violation',
              HINT = 'A mistake is set right by a further entry; see: imagepurge task resolve --help';
END $$;
CREATE TRIGGER only_grows BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER only_grows_whole BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
-- +goose StatementEnd
