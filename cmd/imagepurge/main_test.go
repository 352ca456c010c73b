package main_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/imagepurge/imagepurge/internal/pgtest"
	"github.com/imagepurge/imagepurge/migrations"
)

// program is imagepurge as people run it: built once, without the race detector,
// whatever the tests themselves are built with. TestMain alone sets it.
var program string

func TestMain(m *testing.M) { os.Exit(testAll(m)) }

func testAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "imagepurge-cmd-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "imagepurge")
	if out, err := exec.Command("go", "build", "-race=false", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	// These tests mostly wait for other processes: more of them than there are cores
	// may do so at once.
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("8"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return pgtest.Main(m, migrations.Fingerprint(), func(ctx context.Context, url string) error {
		_, err := migrations.Up(ctx, url)
		return err
	})
}
