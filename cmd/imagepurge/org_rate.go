package main

import (
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/repository"
)

// mostCalls a minute; see the setting.
const mostCalls = 1_000_000

func (a *app) orgSetRateCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "set-rate NAME CALLS|settings", Short: "Set the calls a minute of an organisation's API key, for all workers",
		Long: `Set the calls a minute that all workers together make with an organisation's API
key. They follow within seconds. It stands above the settings, and hours of the day
don't change it, until it is given back with: settings. What 429s have taught is
forgotten by it. A lower rate waits until the minute that has passed holds no more
calls than it allows.`,
		Example: "  imagepurge org set-rate default 350 --reason \"agreed with the vendor\"\n  imagepurge org set-rate default settings",
		Args:    exactly(2, "an organisation's name, and calls a minute or: settings"),
		RunE: func(cmd *cobra.Command, args []string) error {
			rate := 0
			if args[1] != "settings" {
				var err error
				if rate, err = strconv.Atoi(args[1]); err != nil || rate < fewestCalls || rate > mostCalls {
					return usagef("%q is no rate: give calls a minute from %d to %d, or: settings", args[1], fewestCalls, mostCalls)
				}
			}
			return a.withStore(cmd.Context(), func(s settings.Settings, d *database) error {
				o, err := oneOrganization(cmd.Context(), d, s, args[0])
				if err != nil {
					return err
				}
				if err := d.SetRate(cmd.Context(), a.person(), o.Name, rate, reason); err != nil {
					return err
				}
				state, err := d.KeyState(cmd.Context(), o.Name)
				if err != nil {
					return err
				}
				return a.print(shownRate{o.Name, state}, func(w io.Writer) error {
					for _, other := range state.Shares {
						a.note("%s shares the key: the rate is its own as well", other)
					}
					if rate == 0 {
						_, err = fmt.Fprintf(w, "%s follows its settings again: %s calls a minute\n", o.Name, whole(state.Limit))
					} else {
						_, err = fmt.Fprintf(w, "%s: %s calls a minute from now on\n", o.Name, whole(state.Limit))
					}
					return err
				})
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return c
}

type shownRate struct {
	Organization string `json:"organization"`
	repository.KeyState
}

func whole(f float64) string { return term.Number(int64(math.Round(f))) }

// tellKey says how an organisation's API key stands.
func tellKey(w io.Writer, k repository.KeyState) {
	if k.Set != nil {
		fmt.Fprintf(w, "rate set       %s calls a minute, by a person; configured %s\n", term.Number(int64(*k.Set)), term.Number(int64(k.Configured)))
	}
	if line := learnt(k); line != "" {
		fmt.Fprintf(w, "learnt         %s\n", line)
	} else if k.Pace < k.Limit {
		fmt.Fprintf(w, "pace           %s calls a minute of %s, after %d answers 429 within an hour\n", whole(k.Pace), whole(k.Limit), k.Strikes)
	}
	for _, other := range k.Shares {
		fmt.Fprintf(w, "shares its key with %s\n", other)
	}
	if k.Remote != nil {
		fmt.Fprintf(w, "at the API     organisation %d, as the images say\n", *k.Remote)
	}
}

// learnt is what 429s have taught, in a sentence; empty: nothing.
func learnt(k repository.KeyState) string {
	if k.Accepts == nil {
		return ""
	}
	return fmt.Sprintf("the API accepts about %s a minute; configured %s; the pace is %s", whole(*k.Accepts), whole(k.Limit), whole(k.Pace))
}
