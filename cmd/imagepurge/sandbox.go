package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
	"github.com/imagepurge/imagepurge/internal/term"
)

type sandboxFlags struct {
	listen                   string
	customers                int
	seed                     uint64
	perMinute                int
	median, p99, lag         time.Duration
	faults                   float64
	unknown, merged, erased  float64
	username, password       string
	oauthKey, oauthSecret    string
	tokenTTL                 time.Duration
	organization             int64
	exposed, ascendingDelete bool
}

func (a *app) sandboxCommand() *cobra.Command {
	var f sandboxFlags
	c := &cobra.Command{
		Use: "sandbox", Short: "Play the remote API, to try imagepurge against",
		Long: `Play the remote API over HTTP: listings with whole profiles, deletes by position,
limits, latency and faults. Customer ids are consecutive, from 700000001 on. Its own
journal of what was executed is at /sandbox/journal, figures are at /sandbox/stats,
and the images of a customer at /sandbox/customers/ID.`,
		Example: "  imagepurge sandbox --listen 127.0.0.1:8085 --customers 1000\n  imagepurge sandbox --faults 0.02 --rate 700", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.sandbox(cmd, f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8085", "`address`")
	fl.IntVar(&f.customers, "customers", 1000, "how many customers")
	fl.Uint64Var(&f.seed, "seed", 1, "of customers, latency and faults")
	fl.IntVar(&f.perMinute, "rate", 100, "calls a minute before 429; 0: no limit")
	fl.DurationVar(&f.median, "latency", 50*time.Millisecond, "median latency; 0: none")
	fl.DurationVar(&f.p99, "latency-p99", 400*time.Millisecond, "latency that 1 in 100 exceeds")
	fl.DurationVar(&f.lag, "listing-lag", 0, "how long a listing lags behind a delete")
	fl.Float64Var(&f.faults, "faults", 0, "share of calls with a fault, 0 to 1")
	fl.Float64Var(&f.unknown, "unknown", 0.01, "share of customers that are unknown")
	fl.Float64Var(&f.merged, "merged", 0.01, "share of customers that are merged")
	fl.Float64Var(&f.erased, "erased", 0, "share of customers that the platform has erased")
	fl.StringVar(&f.username, "username", sandbox.DefaultKey().Username, "of the key")
	fl.StringVar(&f.password, "password", sandbox.DefaultKey().Password, "of the key")
	fl.StringVar(&f.oauthKey, "oauth-key", sandbox.DefaultKey().OAuthKey, "of the key, for tokens")
	fl.StringVar(&f.oauthSecret, "oauth-secret", sandbox.DefaultKey().OAuthSecret, "of the key, for tokens")
	fl.DurationVar(&f.tokenTTL, "token-ttl", 5*time.Minute, "how long a token lives; POST to /sandbox/tokens/revoke ends all")
	fl.Int64Var(&f.organization, "organization-number", sandbox.DefaultOrg, "the organisation's number inside of s3Tokens")
	fl.BoolVar(&f.exposed, "exposed", false, "allow an address that is not of this machine alone")
	fl.BoolVar(&f.ascendingDelete, "ascending-delete", false, "read several indexes of one DELETE one by one, each shifting the rest")
	return c
}

// sandboxFaults share the chance that --faults gives.
var sandboxFaults = strings.Fields("lost_answer lost_request late server_error_ran server_error_not_run html_ran cut_body busy 8080_ran 8080_not_run bare_521_ran")

func (a *app) sandbox(cmd *cobra.Command, f sandboxFlags) (err error) {
	switch {
	case f.customers < 0:
		return usagef("--customers is 0 or more")
	case f.faults < 0 || f.faults > 1:
		return usagef("--faults is a share between 0 and 1")
	case f.unknown < 0 || f.merged < 0 || f.erased < 0 || f.unknown+f.merged+f.erased > 1:
		return usagef("--unknown, --merged and --erased are shares, together at most 1")
	case f.perMinute < 0:
		return usagef("--rate is 0 or more")
	case f.tokenTTL < time.Second:
		return usagef("--token-ttl is a second or more")
	case f.organization <= 0:
		return usagef("--organization-number is positive")
	}
	o := sandbox.Options{
		Seed: f.seed, Keys: []sandbox.Key{{Username: f.username, Password: f.password, OAuthKey: f.oauthKey, OAuthSecret: f.oauthSecret}}, TokenTTL: f.tokenTTL, Exposed: f.exposed, ListingLag: f.lag,
		Population: sandbox.Populate(f.seed, f.customers, sandbox.PopulateOptions{Unknown: f.unknown, Merged: f.merged, Erased: f.erased, Org: f.organization}),
		Limit:      sandbox.Limit{PerMinute: f.perMinute, RetryAfter: sandbox.RetryAfterSeconds},
	}
	if f.median > 0 {
		o.Latency = sandbox.LogNormalLatency(f.median, max(f.p99, f.median))
	}
	if f.ascendingDelete {
		o.MultiIndex = sandbox.AscendingShifting
	}
	if f.faults > 0 {
		chance := make(map[sandbox.Fault]float64)
		for _, name := range sandboxFaults {
			chance[sandbox.Fault(name)] = f.faults / float64(len(sandboxFaults))
		}
		o.Faults = sandbox.Faults{Chance: chance}
	}
	api := sandbox.New(o)
	defer api.Close()
	l, err := api.Listen(f.listen)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	defer func() {
		if e := l.Close(); err == nil {
			err = e
		}
	}()
	stop := watchSignals(cmd.Context())
	defer stop.end()
	fmt.Fprintf(a.out.Out, "export CAPILLARY_BASE_URL=%s\nexport CAPILLARY_USERNAME=%s\nexport CAPILLARY_PASSWORD=%s\n", l.URL, f.username, f.password)
	if f.customers > 0 {
		a.note("%s customers, %d to %d; Ctrl-C ends it", term.Number(int64(f.customers)), o.Population.ID(0), o.Population.ID(f.customers-1))
	}
	select {
	case <-stop.orderly:
		return statusError(stop.status())
	case <-cmd.Context().Done():
		return nil
	}
}
