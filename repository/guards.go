package repository

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// rightMissing is null where the database takes the session for the program; else it
// is the statement by which the schema's owner mends that.
const rightMissing = `
CASE WHEN NOT has_program_right() THEN format('GRANT EXECUTE ON FUNCTION %s TO %I', 'imagepurge_program()'::regprocedure, session_user) END`

// RightError says that the program's right is not as it must be: the session's role
// lacks it, or everybody has it.
type RightError struct {
	Mend     string // a statement for the schema's owner
	Everyone bool
}

func (e *RightError) Error() string {
	if e.Everyone {
		return "every role of the database may write what only this program may, such as what was deleted"
	}
	return "this role hasn't the program's right: the database refuses what it writes"
}

const programRight = `
SELECT ` + rightMissing + `,
       CASE WHEN has_function_privilege('public', 'imagepurge_program()'::regprocedure, 'EXECUTE')
            THEN format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', 'imagepurge_program()'::regprocedure) END`

// CheckRight returns a [*RightError] where the database doesn't take this session for
// the program, or would take any for it.
func (s *Store) CheckRight(ctx context.Context) error {
	var grant, revoke *string
	if err := s.pool.QueryRow(ctx, programRight).Scan(&grant, &revoke); err != nil {
		return fmt.Errorf("look at the program's right: %w", err)
	}
	switch {
	case grant != nil:
		return &RightError{Mend: *grant}
	case revoke != nil:
		return &RightError{Mend: *revoke, Everyone: true}
	}
	return nil
}

// tables are all that the program has; a test compares.
var tables = []string{
	"audit_entries", "batch_arrivals", "batches", "customer_leases", "goose_db_version", "image_calls", "image_deletion_tasks", "legal_holds",
	"organization_schedules", "organizations", "pauses", "rate_budgets", "remote_organizations", "schedule_runs", "server_identity",
	"task_images", "workers",
}

// triggersDigest is of all triggers with their functions' text, as the migrations make
// them. After a migration that makes one, a test tells the new digest.
const triggersDigest = "06e0051981c0c0caea40c5f3a877f4a5306ba2a675f3d9bafbde8c33b9eef457"

// guardFaults finds what lets others past the guards. A trigger's function runs with the
// rights of the session that writes: who may make one may do all that the program may.
const guardFaults = `
WITH home AS (SELECT pronamespace AS schema FROM pg_proc WHERE oid = 'imagepurge_program()'::regprocedure),
     t AS (SELECT c.oid::regclass AS relation, relname, relowner, relacl, relnamespace
           FROM pg_class c JOIN home ON schema = relnamespace WHERE relname = ANY ($1)),
     g AS (SELECT t.*, tgname, tgtype, tgenabled, tgisinternal, proname, prosrc,
                  pronamespace <> relnamespace OR NOT has_function_privilege(proowner, 'imagepurge_program()'::regprocedure, 'EXECUTE') AS other
           FROM t JOIN pg_trigger ON tgrelid = relation JOIN pg_proc f ON f.oid = tgfoid)
SELECT format('trigger %I of %s is switched off', tgname, relation), format('ALTER TABLE %s ENABLE TRIGGER %I', relation, tgname), true
FROM g WHERE tgenabled NOT IN ('O', 'A')
UNION ALL
SELECT format('trigger %I of %s is not of this program', tgname, relation), format('DROP TRIGGER %I ON %s', tgname, relation), true
FROM g WHERE NOT tgisinternal AND other
UNION ALL
SELECT format('the triggers, or their functions, are not as this program made them (digest %s)', digest), 'compare pg_dump --schema-only with docs/schema.sql', true
FROM (SELECT encode(sha256(convert_to(string_agg(concat_ws(' ', relname, tgname, tgtype, proname, prosrc), E'\n' ORDER BY relname, tgname), 'UTF8')), 'hex') AS digest
      FROM g WHERE NOT tgisinternal AND NOT other) d
WHERE digest IS DISTINCT FROM $2
UNION ALL
SELECT format('%s may put triggers on the tables', who), format('REVOKE TRIGGER ON ALL TABLES IN SCHEMA %s FROM %s', schema::regnamespace, who), true
FROM (SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS who
      FROM t CROSS JOIN aclexplode(relacl) WHERE privilege_type = 'TRIGGER' AND grantee <> relowner) a, home
UNION ALL -- so it is from the start before PostgreSQL 15
SELECT 'every role may make functions and tables in the schema', format('REVOKE CREATE ON SCHEMA %s FROM PUBLIC', schema::regnamespace), false
FROM home WHERE has_schema_privilege('public', schema, 'CREATE')`

// GuardFault is a way past the guards, and what the schema's owner does about it.
type GuardFault struct {
	Says, Mend string
	Grave      bool
}

// GuardFaults looks whether the tables' guards are as the migrations made them, and who
// else could get past them.
func (s *Store) GuardFaults(ctx context.Context) ([]GuardFault, error) {
	rows, err := s.pool.Query(ctx, guardFaults, tables, triggersDigest)
	if err != nil {
		return nil, fmt.Errorf("look at the guards: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[GuardFault])
	if err != nil {
		return nil, fmt.Errorf("look at the guards: %w", err)
	}
	return all, nil
}

const programRoles = `
SELECT coalesce(r.rolname, 'PUBLIC')
FROM pg_proc p CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE p.oid = 'imagepurge_program()'::regprocedure AND a.privilege_type = 'EXECUTE' ORDER BY 1`

// ProgramRoles names the roles that have the program's right, other than superusers.
func (s *Store) ProgramRoles(ctx context.Context) ([]string, error) {
	rows, err := s.pool.Query(ctx, programRoles)
	if err != nil {
		return nil, fmt.Errorf("read who has the program's right: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read who has the program's right: %w", err)
	}
	return all, nil
}
