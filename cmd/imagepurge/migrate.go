package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/migrations"
	"github.com/imagepurge/imagepurge/repository"
)

func (a *app) migrateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate [up|status]",
		Short: "Create or update the schema",
		Long: `Create or update the schema of the database. It waits for others that do the same,
and there is no way down. IMAGEPURGE_MIGRATE_URL names a direct connection where
DATABASE_URL goes through a pooler. The embedded database migrates itself.`,
		Example: "  imagepurge migrate\n  imagepurge migrate status",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && args[0] != "up" && args[0] != "status" {
				return usagef("migrate takes up (the default) or status")
			}
			return nil
		},
		ValidArgs: []string{"up", "status"},
	}
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		ctx := cmd.Context()
		s, err := a.load()
		if err != nil {
			return err
		}
		d, err := a.reach(ctx, s)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		url := d.url
		if s.MigrateURL != "" {
			url = s.MigrateURL
		}
		var applied []migrations.Migration
		if len(args) == 0 || args[0] == "up" {
			if tooNew := (*repository.SchemaError)(nil); errors.As(d.CheckSchema(ctx), &tooNew) && tooNew.Have > tooNew.Want {
				return tooNew
			}
			if applied, err = migrations.Up(ctx, url); err != nil {
				return err
			}
			// What was given explicitly is what tasks made by SQL alone are given.
			for _, o := range s.Organizations {
				if _, err := d.RecordOrganization(ctx, o.Name, explicit(o)); err != nil {
					return err
				}
			}
		}
		all, err := migrations.Status(ctx, url)
		if err != nil {
			return err
		}
		type line struct {
			Version int64  `json:"version"`
			Name    string `json:"name"`
			Applied bool   `json:"applied"`
		}
		lines := make([]line, 0, len(all))
		for _, m := range all {
			lines = append(lines, line{m.Version, m.Name, !m.AppliedAt.IsZero()})
		}
		return a.print(lines, func(w io.Writer) error {
			if len(args) == 0 || args[0] == "up" {
				if len(applied) == 0 {
					_, err := io.WriteString(w, "the schema is up to date\n")
					return err
				}
				for _, m := range applied {
					if _, err := io.WriteString(w, "applied "+m.Name+"\n"); err != nil {
						return err
					}
				}
				return nil
			}
			var rows [][]string
			for _, m := range all {
				at := "pending"
				if !m.AppliedAt.IsZero() {
					at = term.Time(m.AppliedAt, nil)
				}
				rows = append(rows, []string{term.Number(m.Version), m.Name, at})
			}
			return term.Table(w, []string{"VERSION", "FILE", "APPLIED"}, rows, term.Right)
		})
	}
	return c
}
