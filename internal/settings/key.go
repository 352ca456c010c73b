package settings

import (
	"slices"
	"strings"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
)

// Scope says for whom a key holds.
type Scope string

// The two scopes.
const (
	ScopeProcess      Scope = "process"      // stands at the file's top level
	ScopeOrganization Scope = "organisation" // stands in an entry of organizations, where there is that list
)

// Key is one setting: all that parsing, errors and documentation know of it.
type Key struct {
	Variable string // of the environment; empty: only the file has it
	Name     string // in the file
	Scope    Scope
	Form     string // in words, with an example
	Default  string // as one would write it; empty: none
	Absent   string // what holds where there is neither a value nor a default
	Secret   bool   // never shown; may be given by a file

	// list: its value is a list in the file, and no variable has it.
	list bool
	// set takes a value in, or says what is wrong with it. What it says repeats
	// no secret.
	set func(d draft, value string) (problem string)
}

// draft is where values go: the settings, one of their organizations, and what
// becomes that organization's plan.
type draft struct {
	*Settings
	org  *Organization
	plan *plan
}

type plan struct{ schedule, window, zone, hours string }

// Bounds that are not another package's.
const (
	minRequestTimeout = 100 * time.Millisecond
	maxViewAge        = time.Minute
	maxDuration       = 7 * 24 * time.Hour
	maxConcurrency    = 1024
	maxAttempts       = 1000
	minRate           = 2 // a listing, and a delete that relies on it
	maxRate           = 1_000_000
)

const (
	postgresForm = "a Postgres URL, such as postgres://imagepurge@db.example:5432/imagepurge"
	nameForm     = "up to 63 lower case letters, digits, dots, dashes and underscores, a letter or digit first, such as brand-a"
)

// Keys lists every key, in the order in which they are explained.
func Keys() []Key { return slices.Clone(keys) }

// keys is the one table of settings.
var keys = []Key{
	{Variable: "DATABASE_URL", Name: "database_url", Scope: ScopeProcess, Secret: true, Form: postgresForm, Absent: "the embedded one",
		set: postgres(func(d draft) *string { return &d.DatabaseURL })},
	{Variable: "IMAGEPURGE_MIGRATE_URL", Name: "migrate_url", Scope: ScopeProcess, Secret: true, Form: postgresForm, Absent: "DATABASE_URL",
		set: postgres(func(d draft) *string { return &d.MigrateURL })},
	{Variable: "IMAGEPURGE_DATA_DIR", Name: "data_dir", Scope: ScopeProcess, Form: "a folder, such as /var/lib/imagepurge", Absent: "the user's data directory",
		set: text(func(d draft) *string { return &d.DataDir })},
	{Variable: "IMAGEPURGE_PG_BIN", Name: "pg_bin", Scope: ScopeProcess, Form: "a folder, such as /usr/lib/postgresql/17/bin", Absent: "searched for",
		set: text(func(d draft) *string { return &d.PGBin })},
	{Variable: "IMAGEPURGE_CONCURRENCY", Name: "concurrency", Scope: ScopeProcess, Form: "a whole number from 1 to 1024, such as 256", Default: "256",
		set: number(func(d draft) *int { return &d.Concurrency }, 1, maxConcurrency)},
	{Variable: "IMAGEPURGE_DELETE_BATCHING", Name: "delete_batching", Scope: ScopeProcess, Form: "single or all, such as single", Default: "single",
		set: word(func(d draft) *jobs.Batching { return &d.Batching }, jobs.ParseBatching)},
	{Variable: "IMAGEPURGE_VIEW_MAX_AGE", Name: "view_max_age", Scope: ScopeProcess, Form: "a duration above 0 and up to 1m, such as 10s", Default: "10s",
		set: duration(func(d draft) *time.Duration { return &d.ViewMaxAge }, 1, maxViewAge)},
	{Variable: "IMAGEPURGE_REQUEST_TIMEOUT", Name: "request_timeout", Scope: ScopeProcess, Form: "a duration from 100ms to 168h, such as 30s", Default: "30s",
		set: duration(func(d draft) *time.Duration { return &d.RequestTimeout }, minRequestTimeout, maxDuration)},
	{Variable: "IMAGEPURGE_SETTLE", Name: "settle", Scope: ScopeProcess, Form: "a duration from the request time-out plus the listing lag to 168h, such as 2m", Default: "2m",
		set: duration(func(d draft) *time.Duration { return &d.Settle }, 1, maxDuration)},
	{Variable: "IMAGEPURGE_LISTING_LAG", Name: "listing_lag", Scope: ScopeProcess, Form: "a duration from 0s to 168h, such as 30s", Default: "30s",
		set: duration(func(d draft) *time.Duration { return &d.ListingLag }, 0, maxDuration)},
	{Variable: "IMAGEPURGE_LEASE", Name: "lease", Scope: ScopeProcess, Form: "a duration from 2 × (request time-out + 1s) to 168h, such as 2m", Default: "2m",
		set: duration(func(d draft) *time.Duration { return &d.Lease }, 1, maxDuration)},
	{Variable: "IMAGEPURGE_MAX_ATTEMPTS", Name: "max_attempts", Scope: ScopeProcess, Form: "a whole number from 1 to 1000, such as 10", Default: "10",
		set: number(func(d draft) *int { return &d.MaxAttempts }, 1, maxAttempts)},
	{Variable: "IMAGEPURGE_BACKOFF_BASE", Name: "backoff_base", Scope: ScopeProcess, Form: "a duration above 0 and up to the longest back-off, such as 5s", Default: "5s",
		set: duration(func(d draft) *time.Duration { return &d.BackoffBase }, 1, maxDuration)},
	{Variable: "IMAGEPURGE_BACKOFF_MAX", Name: "backoff_max", Scope: ScopeProcess, Form: "a duration from the first back-off to 168h, such as 1h", Default: "1h",
		set: duration(func(d draft) *time.Duration { return &d.BackoffMax }, 1, maxDuration)},
	{Variable: "IMAGEPURGE_LISTEN", Name: "listen", Scope: ScopeProcess, Form: "an address with its port, such as 127.0.0.1:8080", Absent: "none; serve: 127.0.0.1:8080",
		set: address(func(d draft) *string { return &d.Listen })},
	{Variable: "IMAGEPURGE_LOG_LEVEL", Name: "log_level", Scope: ScopeProcess, Form: "debug, info, warn or error, such as info", Default: "info",
		set: oneOf(func(d draft) *string { return &d.LogLevel }, "debug", "info", "warn", "error")},
	{Variable: "IMAGEPURGE_LOG_FORMAT", Name: "log_format", Scope: ScopeProcess, Form: "text or json, such as json", Absent: "text on a terminal, else json",
		set: oneOf(func(d draft) *string { return &d.LogFormat }, "text", "json")},
	{Variable: "IMAGEPURGE_ALLOW_PLAIN_HTTP", Name: "allow_plain_http", Scope: ScopeProcess, Form: "true or false (or 1 or 0), such as true", Default: "false",
		set: boolean(func(d draft) *bool { return &d.AllowPlainHTTP })},

	// name comes first of its scope: the others are named by it.
	{Name: "name", Scope: ScopeOrganization, Form: nameForm, Default: "default", set: setName},
	{Variable: "CAPILLARY_BASE_URL", Name: "base_url", Scope: ScopeOrganization, Form: "scheme and host, such as https://eu.api.capillarytech.com", Absent: "none", set: setBaseURL},
	{Variable: "CAPILLARY_USERNAME", Name: "username", Scope: ScopeOrganization, Secret: true, Form: "the till's user name, such as till01", set: setUsername},
	{Variable: "CAPILLARY_PASSWORD", Name: "password", Scope: ScopeOrganization, Secret: true, Form: "the till's password, such as CAPILLARY_PASSWORD_FILE=/run/secrets/till01 (in the settings file, password_file: /run/secrets/till01)",
		set: secret(func(d draft) *string { return &d.org.Password })},
	{Variable: "CAPILLARY_PASSWORD_MD5", Name: "password_md5", Scope: ScopeOrganization, Secret: true, Form: "the password's MD5 as 32 hex digits, such as 0123456789abcdef0123456789abcdef", set: setMD5},
	{Variable: "CAPILLARY_OAUTH_KEY", Name: "oauth_key", Scope: ScopeOrganization, Secret: true, Form: "the client key for OAuth, such as CAPILLARY_OAUTH_KEY_FILE=/run/secrets/oauth-key", set: header("the token call can't carry", func(d draft) *string { return &d.org.OAuthKey })},
	{Variable: "CAPILLARY_OAUTH_SECRET", Name: "oauth_secret", Scope: ScopeOrganization, Secret: true, Form: "the client secret for OAuth, such as CAPILLARY_OAUTH_SECRET_FILE=/run/secrets/oauth-secret", set: header("the token call can't carry", func(d draft) *string { return &d.org.OAuthSecret })},
	{Name: "attribution_type", Scope: ScopeOrganization, Form: "what attribution_code names, with OAuth, such as TILL", Absent: "none", set: header("a header can't carry", func(d draft) *string { return &d.org.AttributionType })},
	{Name: "attribution_code", Scope: ScopeOrganization, Form: "on whose behalf calls with OAuth run, such as till01", Absent: "none", set: header("a header can't carry", func(d draft) *string { return &d.org.AttributionCode })},
	{Name: "shares_key_with", Scope: ScopeOrganization, Form: "the name of another organisation with the same API key, such as brand-a", Absent: "none",
		set: text(func(d draft) *string { return &d.org.SharesKeyWith })},
	{Variable: "CAPILLARY_RATE_PER_MINUTE", Name: "rate_per_minute", Scope: ScopeOrganization, Form: "a whole number from 2 to 1000000, such as 100", Default: "100",
		set: number(func(d draft) *int { return &d.org.RatePerMinute }, minRate, maxRate)},
	{Name: "rate_share", Scope: ScopeOrganization, Form: "a percentage from 1% to 100%, such as 80%", Default: "100%", set: setShare},
	{Name: "rate_by_hour", Scope: ScopeOrganization, Form: hoursForm, Absent: "rate_per_minute at all hours",
		set: text(func(d draft) *string { return &d.plan.hours })},
	{Variable: "CAPILLARY_SOURCE", Name: "source", Scope: ScopeOrganization, Form: "a source's name, such as INSTORE", Default: "INSTORE", set: setSource},
	{Variable: "CAPILLARY_ACCOUNT_ID", Name: "account_id", Scope: ScopeOrganization, Form: "an account's id, such as 12345", Absent: "none",
		set: text(func(d draft) *string { return &d.org.AccountID })},
	{Variable: "IMAGEPURGE_MODE", Name: "mode", Scope: ScopeOrganization, Form: "economy, verified or paranoid, such as verified", Default: "verified",
		set: word(func(d draft) *jobs.Mode { return &d.org.Mode }, jobs.ParseMode)},
	{Variable: "IMAGEPURGE_SCOPE", Name: "scope", Scope: ScopeOrganization, Form: "snapshot or until_empty, such as snapshot", Default: "snapshot",
		set: word(func(d draft) *jobs.Scope { return &d.org.Scope }, jobs.ParseScope)},
	{Variable: "IMAGEPURGE_SCHEDULE", Name: "schedule", Scope: ScopeOrganization, Form: `five fields of cron, such as "0 1 * * *"`, Default: "0 1 * * *",
		set: text(func(d draft) *string { return &d.plan.schedule })},
	{Variable: "IMAGEPURGE_WINDOW", Name: "window", Scope: ScopeOrganization, Form: "a duration above 0 and up to 168h (7 days), such as 5h", Default: "5h", set: setWindow},
	{Variable: "IMAGEPURGE_TIMEZONE", Name: "timezone", Scope: ScopeOrganization, Form: "an IANA name, such as Europe/Berlin", Default: "UTC",
		set: text(func(d draft) *string { return &d.plan.zone })},
	{Name: keyWindows, Scope: ScopeOrganization, Form: windowsForm, Absent: "schedule and window", list: true},
	{Name: keyBlackout, Scope: ScopeOrganization, Form: blackoutForm, Absent: "none", list: true},
}

// The suffixes of a key whose value stands elsewhere.
const (
	suffixFile = "_file" // in a file; in upper case for variables
	suffixEnv  = "_env"  // in a variable; in the settings file only
)

// spellings are the names under which the file may give the key.
func (k *Key) spellings() []string {
	switch {
	case k.Secret && k.Scope == ScopeOrganization:
		return []string{k.Name, k.Name + suffixFile, k.Name + suffixEnv}
	case k.Secret:
		return []string{k.Name, k.Name + suffixFile}
	}
	return []string{k.Name}
}

// variables are the names under which the environment may give the key.
func (k *Key) variables() []string {
	switch {
	case k.Variable == "":
		return nil
	case k.Secret:
		return []string{k.Variable, k.Variable + strings.ToUpper(suffixFile)}
	}
	return []string{k.Variable}
}

// id is what Given calls the key.
func (k *Key) id() string {
	if k.Variable == "" {
		return k.Name
	}
	return k.Variable
}

func keyOf(name string) *Key {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })
	return &keys[i]
}
