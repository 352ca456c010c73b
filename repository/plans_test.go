package repository_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// node is one node of a plan.
type node struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Cond     string `json:"Index Cond"`
	Strategy string `json:"Strategy"`
	Hits     int    `json:"Shared Hit Blocks"`
	Plans    []node `json:"Plans"`
}

// walk calls f for every node, with whether a Limit stands above it, nearer than
// anything that would read all that comes from below.
func (n node) walk(limited bool, f func(n node, limited bool)) {
	switch n.Type {
	case "Limit":
		limited = true
	case "Sort", "Incremental Sort", "Hash", "Materialize", "SetOp":
		limited = false
	case "Aggregate":
		limited = limited && n.Strategy == "Sorted"
	}
	f(n, limited)
	for _, p := range n.Plans {
		p.walk(limited, f)
	}
}

func explain(ctx context.Context, tx pgx.Tx, name, sql string, args []string) (node, error) {
	if _, err := tx.Exec(ctx, `PREPARE "explained `+name+`" AS `+sql); err != nil {
		return node{}, err
	}
	call := `EXPLAIN (FORMAT JSON) EXECUTE "explained ` + name + `"`
	if len(args) > 0 {
		call += "(" + strings.Join(args, ", ") + ")"
	}
	n, err := plan(ctx, tx, call)
	if err != nil {
		return n, err
	}
	_, err = tx.Exec(ctx, `DEALLOCATE "explained `+name+`"`)
	return n, err
}

func plan(ctx context.Context, tx pgx.Tx, call string) (node, error) {
	var text []byte
	if err := tx.QueryRow(ctx, call).Scan(&text); err != nil {
		return node{}, err
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal(text, &plans); err != nil {
		return node{}, err
	}
	return plans[0].Plan, nil
}

// The tables that grow, and how they grow in these tests: a hundred thousand
// customers in one batch, others in small ones, some with several tasks.
var fill = []string{
	"SET session_replication_role = replica", // no triggers: rows are made whole
	"INSERT INTO batches (organization_id, kind, name, state) SELECT 1, 'file', n::text, CASE WHEN n = 3 THEN 'paused' WHEN n = 4 THEN 'cancelled' ELSE 'active' END FROM generate_series(1, 40) n",
	`INSERT INTO image_deletion_tasks (organization_id, batch_id, customer_id, mode, scope, source, due_at, waiting_for, sort_at)
	 SELECT 1, CASE WHEN n <= 100000 THEN 1 ELSE 2 + n % 39 END, n % 115000 + 1, 'verified', 'snapshot', 'INSTORE',
	        now() + CASE WHEN n % 12 = 0 THEN interval '1 hour' ELSE interval '-1 hour' END, CASE WHEN n % 12 = 0 THEN 'due' END, now() - n * interval '1 second'
	 FROM generate_series(1, 120000) n`,
	"SET session_replication_role = origin",
}

var finishMost = []string{
	"SET session_replication_role = replica",
	`UPDATE image_deletion_tasks SET lease_epoch = 1, started_at = now(), waiting_for = NULL,
	        state = CASE WHEN id % 1000 = 0 THEN 'review' WHEN id % 500 = 1 THEN 'failed' WHEN id % 800 = 2 THEN 'running' ELSE 'completed' END,
	        outcome = CASE WHEN id % 1000 = 0 THEN 'still_present' WHEN id % 500 = 1 THEN 'attempts_exhausted' WHEN id % 800 = 2 THEN NULL ELSE 'images_deleted' END,
	        finished_at = CASE WHEN id % 500 <> 1 AND id % 1000 <> 0 AND id % 800 = 2 THEN NULL ELSE now() END,
	        lease_owner = CASE WHEN id % 500 <> 1 AND id % 1000 <> 0 AND id % 800 = 2 THEN 'w1' END,
	        lease_until = CASE WHEN id % 500 <> 1 AND id % 1000 <> 0 AND id % 800 = 2 THEN now() + interval '1 minute' END,
	        images_found = 1, images_deleted = CASE WHEN id % 2 = 0 THEN 1 ELSE 0 END WHERE id % 20 <> 0 OR id % 1000 = 0`,
	"INSERT INTO task_images (task_id, image_key, position, state, evidence, sends) SELECT id, sha256(int8send(id)), 0, CASE WHEN id % 2 = 0 THEN 'deleted' ELSE 'absent' END, 'listing', 1 FROM image_deletion_tasks WHERE lease_epoch > 0",
	"INSERT INTO image_calls (task_id, sequence, kind, worker, lease_epoch) SELECT id, 1, 'list', 'w1', 1 FROM image_deletion_tasks WHERE lease_epoch > 0",
	"INSERT INTO customer_leases (remote_id, customer_id, rest_until) SELECT 1, 1000000 + n, now() + interval '1 hour' FROM generate_series(1, 60000) n",
	"INSERT INTO customer_leases (remote_id, customer_id, task_id, lease_owner, lease_epoch, lease_until) SELECT DISTINCT ON (customer_id) 1, customer_id, id, lease_owner, lease_epoch, lease_until FROM image_deletion_tasks WHERE state = 'running'",
	"INSERT INTO audit_entries (actor, host, action, batch_id, task_id) SELECT 'w1', 'h', 'task.finish', 1, id FROM image_deletion_tasks WHERE finished_at IS NOT NULL",
	"SET session_replication_role = origin",
}

// run executes statements on one connection, and returns with its settings reset.
func (d *db) run(sql ...string) {
	d.Helper()
	conn, err := d.pool.Acquire(d.ctx)
	if err != nil {
		d.Fatal(err)
	}
	defer conn.Release()
	for _, s := range sql {
		if _, err := conn.Exec(d.ctx, s); err != nil {
			d.Fatalf("%s: %v", s, err)
		}
	}
}

const analyze = "ANALYZE image_deletion_tasks, task_images, image_calls, customer_leases, batches, audit_entries, legal_holds, pauses, organizations"

func TestPlansHoldWithWhateverStatistics(t *testing.T) {
	t.Parallel()
	d := open(t)
	all := statements(t)
	var few, ones, owners []string
	for i := range 64 {
		few, ones, owners = append(few, fmt.Sprint(2+800*i)), append(ones, "1"), append(owners, "w1")
	}
	tasks, epochs, names := "'{"+strings.Join(few, ",")+"}'", "'{"+strings.Join(ones, ",")+"}'", "'{"+strings.Join(owners, ",")+"}'"
	claimArgs := func(batch string) []string {
		return []string{"1", batch, "50", "'w1'", "120", "false", "false", "'verified'", "'snapshot'", "'INSTORE'", "''", "NULL", "0"}
	}
	cases := []struct {
		name    string
		args    []string
		indexes string // one or more that must be used; "a|b": either
	}{
		{"tasksDueNow", claimArgs("0"), "tasks_ready tasks_waiting image_deletion_tasks_pkey"},
		{"tasksDueNow", claimArgs("1"), "tasks_ready tasks_waiting image_deletion_tasks_pkey"},
		{"whatIsLeft", []string{"1", "0"}, "tasks_ready tasks_waiting tasks_leased"},
		{"whatIsLeft", []string{"1", "1"}, "tasks_ready tasks_waiting tasks_leased"},
		{"mayStillWrite", []string{"'[]'", "'[]'", "'[]'", "1", "120", "31", "'h'"}, "image_deletion_tasks_pkey customer_leases_pkey"},
		{"renewals", []string{tasks, epochs, names, "120"}, "image_deletion_tasks_pkey customer_leases_pkey"},
		{"leasesRunOut", nil, "tasks_leased image_deletion_tasks_pkey"},
		{"restsOver", nil, "customer_leases_over"},
		{"imagesOfTasks", []string{tasks}, "task_images_pkey"},
		{"deletedByOtherTasks", []string{tasks}, "image_deletion_tasks_pkey tasks_of_customer task_images_pkey"},
		{"cancelChunk", []string{"1", "0", "5000"}, "tasks_of_batch|image_deletion_tasks_pkey image_deletion_tasks_pkey task_images_pkey"},
		{"cancelChunk", []string{"7", "0", "5000"}, "tasks_of_batch image_deletion_tasks_pkey task_images_pkey"},
		{"retryChunk", []string{"1", "'{failed}'", "0", "5000", "0"}, "tasks_to_decide"},
		{"retryChunk", []string{"1", "'{failed,review}'", "90000", "5000", "0"}, "tasks_to_decide"},
		{"retryChunk", []string{"7", "'{review}'", "76", "1", "77"}, "tasks_to_decide|image_deletion_tasks_pkey"},
		{"closeReviewed", []string{"77"}, "image_deletion_tasks_pkey|tasks_to_decide"},
		{"taskOfID", []string{"77"}, "image_deletion_tasks_pkey"},
		{"tasksOfCustomer", []string{"77", "''"}, "tasks_of_customer"},
		{"imagesOfTask", []string{"77"}, "task_images_pkey"},
		{"callsOfTask", []string{"77"}, "image_calls_pkey"},
		{"auditOfTask", []string{"77"}, "audit_entries_of_task"},
		{"nextPendingCustomer", []string{"1"}, "tasks_ready"},
		{"batchOrders", []string{"'{1,7}'"}, "tasks_ready"},
		{"workersSeen", []string{"40"}, ""},
		{"heartbeat", []string{"'w'", "1", "'h'", "1", "'v'", "0", "0", "0", "false"}, ""},
		{"moments", nil, "tasks_leased"},
		{"lastMinute", nil, "image_deletion_tasks_pkey audit_entries_pkey"},
	}
	tableOf := make(map[string]string) // by index
	for _, i := range list[string](d, "SELECT indexname || ' ' || tablename FROM pg_indexes WHERE schemaname = 'public'") {
		index, table, _ := strings.Cut(i, " ")
		tableOf[index] = table
	}
	check := func(statistics string) {
		// A table with a page or two is rightly read whole.
		grown := list[string](d, "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND pg_relation_size(oid) > 1000000 AND relname NOT LIKE 'pg_%'")
		for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
			for _, c := range cases {
				what := fmt.Sprintf("%s, %s, %s(%.40s)", statistics, mode, c.name, strings.Join(c.args, ", "))
				err := pgx.BeginFunc(d.ctx, d.pool, func(tx pgx.Tx) error {
					if _, err := tx.Exec(d.ctx, "SET LOCAL plan_cache_mode = "+mode); err != nil {
						return err
					}
					p, err := explain(d.ctx, tx, c.name, all[c.name], c.args)
					if err != nil {
						return err
					}
					used := make(map[string]bool)
					p.walk(false, func(n node, limited bool) {
						used[n.Index] = true
						if strings.HasSuffix(n.Type, "Seq Scan") && slices.Contains(grown, n.Relation) {
							t.Errorf("%s: %s on %s", what, n.Type, n.Relation)
						}
						if (n.Index == "tasks_ready" || n.Index == "tasks_waiting") && !limited && !strings.Contains(c.name, "Chunk") {
							t.Errorf("%s: reads all of %s (%s)", what, n.Index, n.Type)
						}
						if c.name == "tasksDueNow" && n.Index == "tasks_waiting" && strings.Contains(n.Cond, "batch_id = ") && !strings.Contains(n.Cond, "due_at") {
							t.Errorf("%s: reads all that waits: %s", what, n.Cond)
						}
					})
					for _, want := range strings.Fields(c.indexes) {
						if !slices.ContainsFunc(strings.Split(want, "|"), func(i string) bool { return used[i] || !slices.Contains(grown, tableOf[i]) }) {
							t.Errorf("%s: uses %v, not %s", what, used, want)
						}
					}
					return nil
				})
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		}
	}
	d.run(fill...)
	check("never analysed")
	d.run(analyze)
	check("analysed while pending")
	d.run(finishMost...)
	check("stale: analysed while pending, most finished since")
	d.run(analyze)
	check("analysed when most are finished")

	// And what a claim really reads: little, though thousands wait for their time.
	d.run(append(append([]string{"SET session_replication_role = replica"},
		"INSERT INTO image_deletion_tasks (organization_id, batch_id, customer_id, mode, scope, source, due_at, waiting_for, sort_at) SELECT 1, 1, 2000000 + n, 'verified', 'snapshot', 'INSTORE', now() + interval '1 hour', 'backoff', now() FROM generate_series(1, 20000) n"),
		"SET session_replication_role = origin", "VACUUM ANALYZE image_deletion_tasks, customer_leases")...)
	undo := fmt.Errorf("undo")
	err := pgx.BeginFunc(d.ctx, d.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(d.ctx, "PREPARE c AS "+all["tasksDueNow"]); err != nil {
			return err
		}
		p, err := plan(d.ctx, tx, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE c("+strings.Join(claimArgs("0"), ", ")+")")
		if err != nil {
			return err
		}
		t.Logf("a claim of 50 reads %d blocks", p.Hits)
		if p.Hits > 10_000 {
			t.Errorf("a claim of 50 reads %d blocks", p.Hits)
		}
		return undo
	})
	if err != undo {
		t.Error(err)
	}
}
