package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/repository"
)

// shownOrganization is all that is known of an organisation, credentials left out.
type shownOrganization struct {
	repository.Organization
	Configured     bool                    `json:"configured"` // in the settings of this process
	Host           *string                 `json:"host"`
	Authentication *string                 `json:"authentication"` // basic, oauth
	RatePerMinute  *int                    `json:"rate_per_minute"`
	RateShare      *float64                `json:"rate_share"`
	RateByHour     string                  `json:"rate_by_hour"`
	Settings       map[string]shownAgreed  `json:"settings"`
	Own            []repository.Difference `json:"own_differences"`
	Advice         *string                 `json:"breaker_advice"`
	Key            repository.KeyState     `json:"key"`
}

type shownAgreed struct {
	Value string `json:"value"`
	From  string `json:"from"`
}

func (a *app) orgShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show an organisation: address, settings, rate, breaker", Example: "  imagepurge org show default", Args: exactly(1, "an organisation's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(s settings.Settings, d *database) error {
				show, err := a.shownOrganization(cmd.Context(), d, s, args[0])
				if err != nil {
					return err
				}
				return a.print(show, func(w io.Writer) error { return showOrganization(w, show) })
			})
		},
	}
}

func (a *app) shownOrganization(ctx context.Context, d *database, s settings.Settings, name string) (show shownOrganization, err error) {
	if show.Organization, err = oneOrganization(ctx, d, s, name); err != nil {
		return show, err
	}
	agreed, err := d.Agreed(ctx, name)
	if err != nil {
		return show, err
	}
	if show.Key, err = d.KeyState(ctx, name); err != nil {
		return show, err
	}
	show.Settings, show.Own = map[string]shownAgreed{}, []repository.Difference{}
	for _, key := range repository.AgreedSettings() {
		show.Settings[key] = shownAgreed{agreed.Values[key], fromWhere(agreed, key)}
	}
	if r := show.BreakerReason; r != nil {
		advice := breakerAdvice(name, *r)
		show.Advice = &advice
	}
	o, ok := s.Organization(name)
	if !ok {
		return show, nil
	}
	host, kind := o.Host(), string(o.Auth())
	show.Configured, show.RatePerMinute, show.RateShare, show.RateByHour = true, &o.RatePerMinute, &o.RateShare, rateHours(o.RateByHour)
	if host != "" {
		show.Host = &host
	}
	if o.Username != "" || o.OAuthKey != "" {
		show.Authentication = &kind
	}
	show.Own = append(show.Own, ownDifferences(agreed, o)...)
	return show, nil
}

// ownDifferences are settings of this process that are not the recorded ones.
func ownDifferences(agreed repository.Agreed, o settings.Organization) (all []repository.Difference) {
	mine := effective(o)
	own := map[string]string{
		repository.SettingMode: string(mine.Mode), repository.SettingScope: string(mine.Scope), repository.SettingSource: mine.Source,
		repository.SettingAccountID: mine.AccountID, repository.SettingBaseURL: settings.NormalBaseURL(o.BaseURL),
	}
	for _, key := range append(agreed.Recorded, agreed.Decided...) {
		if own[key] != agreed.Values[key] && own[key] != "" {
			all = append(all, repository.Difference{Name: key, Own: own[key], Recorded: agreed.Values[key]})
		}
	}
	return all
}

// rateHours writes rates by hour as the settings do.
func rateHours(rates [24]int) string {
	var parts []string
	for from := 0; from < len(rates); {
		to := from
		for to < len(rates) && rates[to] == rates[from] {
			to++
		}
		if rates[from] > 0 {
			parts = append(parts, fmt.Sprintf("%02d-%02d %d", from, to, rates[from]))
		}
		from = to
	}
	return strings.Join(parts, ", ")
}

func showOrganization(w io.Writer, o shownOrganization) error {
	fmt.Fprintf(w, "organisation   %s\n", o.Name)
	if !o.Configured {
		fmt.Fprintln(w, "configured     not in the settings of this process")
	} else {
		fmt.Fprintf(w, "host           %s\n", orDash(o.Host))
		fmt.Fprintf(w, "authentication %s\n", orDash(o.Authentication))
		fmt.Fprintf(w, "rate           %s, of which %.0f%% are ours\n", calls(*o.RatePerMinute), *o.RateShare*100)
		if o.RateByHour != "" {
			fmt.Fprintf(w, "rate by hour   %s\n", o.RateByHour)
		}
	}
	tellKey(w, o.Key)
	if o.PausedUntil != nil {
		fmt.Fprintf(w, "over the limit no call before %s\n", when(o.PausedUntil))
	}
	var rows [][]string
	for _, key := range repository.AgreedSettings() {
		rows = append(rows, []string{key, valueOrNone(o.Settings[key].Value), o.Settings[key].From})
	}
	fmt.Fprintln(w)
	if err := term.Table(w, []string{"SETTING", "VALUE", "FROM"}, rows); err != nil {
		return err
	}
	for _, d := range o.Own {
		fmt.Fprintf(w, "this process has %s %s\n", d.Name, d.Own)
	}
	fmt.Fprintln(w)
	if o.BreakerReason == nil {
		_, err := fmt.Fprintln(w, "breaker        closed")
		return err
	}
	fmt.Fprintf(w, "breaker        open since %s: %s", when(o.BreakerSince), *o.BreakerReason)
	if o.BreakerKind != nil {
		fmt.Fprintf(w, ", at a %s", *o.BreakerKind)
	}
	fmt.Fprintf(w, " (HTTP %s, code %s)\nnext probe     %s\nwhat to do     %s\n", orDash(o.BreakerStatus), orDash(o.BreakerCode), when(o.ProbeAt), *o.Advice)
	return nil
}
