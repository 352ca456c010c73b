package main_test

import (
	"flag"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

var statementCustomers = flag.Int("statements.customers", 30, "customers of TestStatementsACall; from 200 on nothing is set aside for its start")

// One worker at 700 calls a minute, mode verified: no more than two statements for each
// remote call, everything included but BEGIN and COMMIT.
func TestStatementsACall(t *testing.T) {
	t.Parallel()
	crowd := sandbox.Populate(211, *statementCustomers, sandbox.PopulateOptions{Images: [6]float64{1, 2, 2, 1, 1, 1}})
	w := newWorld(t, sandbox.Options{Seed: 211, Population: crowd, Latency: sandbox.UniformLatency(100*time.Millisecond, 300*time.Millisecond)}).
		with("CAPILLARY_RATE_PER_MINUTE=700", "IMAGEPURGE_VIEW_MAX_AGE=10s")
	if w.count("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements' AND current_setting('shared_preload_libraries') ~ 'pg_stat_statements'") == 0 {
		t.Skip("this Postgres can't count statements: pg_stat_statements is missing")
	}
	batch := w.enqueue(everyone(crowd))
	w.exec("CREATE EXTENSION pg_stat_statements")
	counted := func() int {
		return w.count(`SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND query !~* '^(begin|commit|rollback|deallocate)' AND query !~ 'pg_stat_statements'`)
	}
	before := counted()
	w.must(0, "run", "--once", "--batch", number(batch))
	statements, calls := counted()-before, w.api.Journal().Counters().Requests
	t.Logf("%d statements for %d calls: %.2f a call", statements, calls, float64(statements)/float64(calls))
	// Starting, ending and what is done by time count for little in a night, and for much in
	// a few seconds.
	aside := 60
	if *statementCustomers >= 200 {
		aside = 0
	}
	if statements > 2*calls+aside {
		rows, err := w.pool.Query(t.Context(), "SELECT calls, left(regexp_replace(query, '\\s+', ' ', 'g'), 120) FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY calls DESC LIMIT 12")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var n int64
			var q string
			if err := rows.Scan(&n, &q); err != nil {
				t.Fatal(err)
			}
			t.Logf("%6d %s", n, q)
		}
		t.Errorf("more than two statements a call")
	}
	if calls < 2**statementCustomers {
		t.Errorf("%d calls: nothing is shown", calls)
	}
}
