package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/settings"
)

func (a *app) pauseCommand() *cobra.Command {
	var organization, reason string
	c := &cobra.Command{
		Use: "pause", Short: "Pause everything, or one organisation, within 5 seconds on all workers",
		Example: "  imagepurge pause --reason \"maintenance of the shop\"", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.pauseOrResume(cmd.Context(), organization, reason, true)
		},
	}
	c.Flags().StringVar(&organization, "organization", "", "this organisation only")
	needReason(c, &reason)
	return c
}

func (a *app) resumeCommand() *cobra.Command {
	var organization, reason string
	c := &cobra.Command{
		Use: "resume", Short: "End a pause", Example: "  imagepurge resume --reason \"maintenance is over\"", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.pauseOrResume(cmd.Context(), organization, reason, false)
		},
	}
	c.Flags().StringVar(&organization, "organization", "", "this organisation only")
	needReason(c, &reason)
	return c
}

func (a *app) pauseOrResume(ctx context.Context, organization, reason string, pause bool) error {
	if err := checkReason(reason); err != nil {
		return err
	}
	return a.withStore(ctx, func(s settings.Settings, d *database) error {
		var org int64
		what := "everything"
		if organization != "" {
			o, err := oneOrganization(ctx, d, s, organization)
			if err != nil {
				return err
			}
			org, what = o.ID, o.Name
		}
		var (
			changed bool
			err     error
			done    = what + " is paused: no delete is begun any more"
		)
		if pause {
			changed, err = d.Pause(ctx, a.person(), org, reason)
		} else {
			changed, err = d.Resume(ctx, a.person(), org, reason)
			done = what + " goes on"
		}
		if err != nil {
			return err
		}
		if !changed {
			a.note("%s: nothing to change", what)
		}
		return a.print(map[string]any{"organization": organization, "paused": pause, "changed": changed}, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, done)
			return err
		})
	})
}
