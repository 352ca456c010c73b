package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/repository"
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
	return a.withStore(ctx, func(_ settings.Settings, d *database) error {
		var org int64
		what := "everything"
		if organization != "" {
			o, err := oneOrganization(ctx, d, organization)
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

func oneOrganization(ctx context.Context, d *database, name string) (repository.Organization, error) {
	all, err := d.Organizations(ctx, name)
	if err != nil {
		return repository.Organization{}, err
	}
	if len(all) == 0 || name == "" {
		return repository.Organization{}, usagef("there is no organisation %q; see: imagepurge org list", name)
	}
	return all[0], nil
}

func (a *app) orgCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "org", Short: "List organisations, or close a breaker", Example: "  imagepurge org list", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := &cobra.Command{
		Use: "list", Short: "List organisations", Example: "  imagepurge org list", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), func(_ settings.Settings, d *database) error {
				all, err := d.Organizations(cmd.Context(), "")
				if err != nil {
					return err
				}
				return a.print(all, func(w io.Writer) error { return orgTable(w, all) })
			})
		},
	}
	show := &cobra.Command{
		Use: "show NAME", Short: "Show an organisation", Example: "  imagepurge org show default", Args: exactly(1, "an organisation's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(_ settings.Settings, d *database) error {
				o, err := oneOrganization(cmd.Context(), d, args[0])
				if err != nil {
					return err
				}
				return a.print(o, func(w io.Writer) error { return orgTable(w, []repository.Organization{o}) })
			})
		},
	}
	var reason string
	closeIt := &cobra.Command{
		Use: "close-breaker NAME", Short: "Let an organisation's tasks be claimed again",
		Example: "  imagepurge org close-breaker default --reason \"the password was changed\"", Args: exactly(1, "an organisation's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkReason(reason); err != nil {
				return err
			}
			return a.withStore(cmd.Context(), func(_ settings.Settings, d *database) error {
				o, err := oneOrganization(cmd.Context(), d, args[0])
				if err != nil {
					return err
				}
				closed, err := d.CloseBreaker(cmd.Context(), a.person(), o.Name, reason)
				if err != nil {
					return err
				}
				return a.print(map[string]any{"organization": o.Name, "closed": closed}, func(w io.Writer) error {
					done := "the breaker of %s is closed\n"
					if !closed {
						done = "the breaker of %s was closed already\n"
					}
					_, err := fmt.Fprintf(w, done, o.Name)
					return err
				})
			})
		},
	}
	needReason(closeIt, &reason)
	c.AddCommand(list, show, closeIt)
	return c
}

func orgTable(w io.Writer, all []repository.Organization) error {
	var rows [][]string
	for _, o := range all {
		breaker := "closed"
		if o.BreakerReason != nil {
			breaker = fmt.Sprintf("open since %s: %s (code %s)", when(o.BreakerSince), *o.BreakerReason, orDash(o.BreakerCode))
		}
		rows = append(rows, []string{o.Name, orDash(o.Mode), orDash(o.Scope), orDash(o.Source), orDash(o.AccountID), breaker, when(o.ProbeAt)})
	}
	return term.Table(w, []string{"ORGANIZATION", "MODE", "SCOPE", "SOURCE", "ACCOUNT", "BREAKER", "NEXT PROBE"}, rows)
}
