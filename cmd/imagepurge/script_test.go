package main_test

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

var update = flag.Bool("update", false, "write what commands print into the scripts' golden files")

// TestScripts runs the sessions in testdata/script, each with a database, an API
// and a home of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			w := newWorld(env.T().(testing.TB), sandbox.Options{Seed: 151, Population: present(151, 20, 2)})
			for k, v := range w.env {
				if k != "HOME" && k != "PATH" {
					env.Setenv(k, v)
				}
			}
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("PATH", filepath.Dir(program)+string(filepath.ListSeparator)+env.Getenv("PATH"))
			return nil
		},
	})
}
