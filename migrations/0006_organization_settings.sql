-- +goose Up
-- +goose StatementBegin
-- What all workers of an organisation must agree on. A worker whose own settings
-- say something else would purge by other rules than the one beside it.
--
-- The base URL is scheme and host, in lower case, without a path. It is recorded so
-- that tasks that wait for one API are not sent to another unnoticed.
ALTER TABLE organizations ADD COLUMN base_url text CHECK (base_url ~ '^https?://[^/?#@]+$');
-- Which of the settings a worker has recorded, and which a person has decided on
-- (imagepurge org set): the latter stand above every worker's own. A name in
-- neither is whatever the next worker says. account_id may be decided to be none.
ALTER TABLE organizations ADD COLUMN settings_recorded text[] NOT NULL DEFAULT '{}'
    CHECK (settings_recorded <@ ARRAY['mode', 'scope', 'source', 'account_id', 'base_url']);
ALTER TABLE organizations ADD COLUMN settings_decided text[] NOT NULL DEFAULT '{}'
    CHECK (settings_decided <@ ARRAY['mode', 'scope', 'source', 'account_id', 'base_url']);
-- +goose StatementEnd
