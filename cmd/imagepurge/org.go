package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs/purge"
	"github.com/imagepurge/imagepurge/repository"
)

// oneOrganization finds an organisation. One of the settings that nothing has
// asked for yet is there as well.
func oneOrganization(ctx context.Context, d *database, s settings.Settings, name string) (repository.Organization, error) {
	none := repository.Organization{}
	all, err := d.Organizations(ctx, "")
	if err != nil {
		return none, err
	}
	if _, ok := s.Organization(name); ok && !known(all, name) {
		if _, err := d.RecordOrganization(ctx, name, repository.Settings{}); err != nil {
			return none, err
		}
		if all, err = d.Organizations(ctx, ""); err != nil {
			return none, err
		}
	}
	var there []string
	for _, o := range all {
		if o.Name == name {
			return o, nil
		}
		there = append(there, o.Name)
	}
	return none, usagef("there is no organisation %q; see: imagepurge org list; there is %s", name, strings.Join(there, ", "))
}

func known(all []repository.Organization, name string) bool {
	for _, o := range all {
		if o.Name == name {
			return true
		}
	}
	return false
}

func (a *app) orgCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "org", Short: "Organisations: list, show, set for all workers, set the rate, close a breaker",
		Example: "  imagepurge org list\n  imagepurge org show brand-a", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.orgListCommand(), a.orgShowCommand(), a.orgSetCommand(), a.orgSetRateCommand(), a.orgCloseBreakerCommand())
	return c
}

func (a *app) orgListCommand() *cobra.Command {
	return &cobra.Command{
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

func (a *app) orgSetCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "set NAME KEY=VALUE…", Short: "Set mode, scope, source, account_id or base_url for all workers",
		Long: `Set mode, scope, source, account_id or base_url of an organisation for all workers.
What is set here stands above the settings of every process; running workers take it
over within 5 seconds, in order. Tasks that were made before keep what they were given.

KEY= with nothing behind it takes a decision back: the next worker's own setting is
recorded. account_id=none decides that there is none.

base_url confirms another address while tasks wait or may be tried again: they go
there, so it must be the same platform, moved. It changes no worker's own setting:
credentials go to no host that a worker's own settings don't name, and a worker with
another address ends with an error.`,
		Example: "  imagepurge org set brand-a mode=economy --reason \"fewer calls until May\"\n" +
			"  imagepurge org set brand-a base_url=https://apac.api.capillarytech.com --reason \"moved to another cluster\"",
		Args: cobra.MinimumNArgs(1),
	}
	needReason(c, &reason)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if err := checkReason(reason); err != nil {
			return err
		}
		return a.withStore(ctx, func(s settings.Settings, d *database) error {
			values, err := settingAssignments(s, args[1:])
			if err != nil {
				return err
			}
			o, err := oneOrganization(ctx, d, s, args[0])
			if err != nil {
				return err
			}
			before, after, err := d.Decide(ctx, a.person(), o.Name, values, reason)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"organization": o.Name, "before": before.Values, "settings": after.Values}, func(w io.Writer) error {
				for _, name := range repository.AgreedSettings() {
					if _, asked := values[name]; !asked {
						continue
					}
					if _, err := fmt.Fprintf(w, "%s: %s was %s, and is %s: %s\n", o.Name, name, valueOrNone(before.Values[name]), valueOrNone(after.Values[name]), fromWhere(after, name)); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	return c
}

func valueOrNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (a *app) orgCloseBreakerCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "close-breaker NAME", Short: "Let an organisation's tasks be claimed again",
		Example: "  imagepurge org close-breaker default --reason \"the password was changed\"", Args: exactly(1, "an organisation's name"),
	}
	needReason(c, &reason)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkReason(reason); err != nil {
			return err
		}
		return a.withStore(cmd.Context(), func(s settings.Settings, d *database) error {
			o, err := oneOrganization(cmd.Context(), d, s, args[0])
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
	}
	return c
}

// breakerSentence says since when a breaker is open, why, and what to type.
func breakerSentence(name string, o purge.Outlook) string {
	return fmt.Sprintf("breaker of %s is open since %s: %s (HTTP %d, code %s); next probe %s; %s", name, term.Time(o.BreakerSince, nil), o.Breaker,
		o.BreakerStatus, o.BreakerCode, term.Time(o.NextProbeAt, nil), breakerAdvice(name, o.Breaker))
}

// breakerAdvice is what to do about an open breaker.
func breakerAdvice(name, reason string) string {
	closeIt := fmt.Sprintf("to let all begin again at once: imagepurge org close-breaker %s --reason \"…\"", name)
	switch reason {
	case "refused":
		return "look at user, password and base URL (a password in a file is read again before the probe); " + closeIt
	case "api_unavailable":
		return "the API or the way to it is down, and it closes by itself once a probe passes; " + closeIt
	}
	return "first see that lists and credentials are of the same organisation; " + closeIt
}
