// Package settings reads what imagepurge is told by environment variables and by
// its settings file, checks it as a whole, and names every fault with its key,
// its form and its place. It opens nothing and calls nobody.
package settings

import (
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/schedule"
)

// Settings are everything that a process is told.
type Settings struct {
	DatabaseURL string // secret; empty: the embedded Postgres
	MigrateURL  string // secret; empty: DatabaseURL
	DataDir     string // of the embedded Postgres; empty: the user's data directory
	PGBin       string // folder of Postgres' programs; empty: searched for

	// Organizations has at least one entry, whose credentials may be missing: see
	// [Settings.NeedAPI].
	Organizations []Organization

	Concurrency    int // calls in flight, at most
	Batching       jobs.Batching
	ViewMaxAge     time.Duration
	RequestTimeout time.Duration
	Settle         time.Duration
	ListingLag     time.Duration
	Lease          time.Duration
	MaxAttempts    int
	BackoffBase    time.Duration
	BackoffMax     time.Duration

	Listen         string
	LogLevel       string // debug, info, warn, error
	LogFormat      string // text, json; empty: text on a terminal
	AllowPlainHTTP bool

	// Given says which keys were given explicitly, by their variable's name.
	Given map[string]bool
	// Warnings are about variables that nobody knows.
	Warnings []string

	lines []Line // what Explain shows
	// places says where each of several organizations stands; nil where there is
	// one, for which the variables speak.
	places map[string]string
}

// Organization is one brand.
type Organization struct {
	Name        string
	BaseURL     string
	Username    string // secret
	Password    string // secret
	PasswordMD5 string // secret
	OAuthKey    string // secret
	OAuthSecret string // secret
	// AttributionType and AttributionCode name the till on whose behalf calls with
	// OAuth run; both or neither.
	AttributionType string
	AttributionCode string
	// SharesKeyWith is another organization that is known to have the same API key.
	SharesKeyWith string
	// RatePerMinute is the limit of the API key; RateShare the part of it that is
	// ours, in (0, 1].
	RatePerMinute int
	RateShare     float64
	// RateByHour is the limit in each hour of the day in the schedule's zone, where
	// it differs; 0: RatePerMinute.
	RateByHour [24]int
	Source     string
	AccountID  string
	Mode       jobs.Mode
	Scope      jobs.Scope
	Schedule   schedule.Calendar
	// ModeGiven, ScopeGiven, SourceGiven: the value was given, not the default.
	ModeGiven, ScopeGiven, SourceGiven bool

	files []secretFile // see Reread
}

// PerMinute is how many calls a minute are ours, at least 1.
func (o Organization) PerMinute() int { return o.share(o.RatePerMinute) }

// PerMinuteAt is the same in an hour of the day, from 0 to 23, in the schedule's
// zone.
func (o Organization) PerMinuteAt(hour int) int {
	if rate := o.RateByHour[hour]; rate > 0 {
		return o.share(rate)
	}
	return o.PerMinute()
}

func (o Organization) share(rate int) int {
	const inexact = 1e-6 // 29% of 100 is 29, though 0.29 is no sum of binary fractions
	return max(1, int(float64(rate)*o.RateShare+inexact))
}
