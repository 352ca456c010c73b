package repository_test

import (
	"context"
	"os"
	"testing"

	"github.com/imagepurge/imagepurge/internal/pgtest"
	"github.com/imagepurge/imagepurge/migrations"
)

func TestMain(m *testing.M) {
	os.Exit(pgtest.Main(m, migrations.Fingerprint(), func(ctx context.Context, url string) error {
		_, err := migrations.Up(ctx, url)
		return err
	}))
}
