package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/imagepurge/imagepurge/jobs"
)

// The settings that all workers of an organisation agree on.
const (
	SettingMode      = "mode"
	SettingScope     = "scope"
	SettingSource    = "source"
	SettingAccountID = "account_id"
	SettingBaseURL   = "base_url"
)

// AgreedSettings lists their names, in the order in which they are shown.
func AgreedSettings() []string {
	return []string{SettingMode, SettingScope, SettingSource, SettingAccountID, SettingBaseURL}
}

// Agreed is what is recorded for an organisation. An empty value: nothing is.
type Agreed struct {
	Organization int64
	Values       map[string]string
	Recorded     []string // by a worker
	Decided      []string // by a person
}

// Settings are those that tasks are given.
func (a Agreed) Settings() Settings {
	return Settings{
		Mode: jobs.Mode(a.Values[SettingMode]), Scope: jobs.Scope(a.Values[SettingScope]),
		Source: a.Values[SettingSource], AccountID: a.Values[SettingAccountID],
	}
}

// Same says whether two readings agree in everything that a worker keeps to.
func (a Agreed) Same(b Agreed) bool {
	for _, name := range AgreedSettings() {
		if a.Values[name] != b.Values[name] {
			return false
		}
	}
	return true
}

func (s Settings) values(baseURL string) map[string]string {
	return map[string]string{
		SettingMode: string(s.Mode), SettingScope: string(s.Scope), SettingSource: s.Source,
		SettingAccountID: s.AccountID, SettingBaseURL: baseURL,
	}
}

// Difference is a setting of a worker's own that is not the recorded one.
type Difference struct {
	Name     string `json:"name"`
	Own      string `json:"own"` // empty: none
	Recorded string `json:"recorded"`
}

// DifferentSettingsError says that a worker would not work as the others do.
type DifferentSettingsError struct {
	Organization string
	Differences  []Difference
}

func (e *DifferentSettingsError) Error() string {
	var parts []string
	for _, d := range e.Differences {
		part := fmt.Sprintf("%s is %s here, and %s is recorded", d.Name, orNone(d.Own), orNone(d.Recorded))
		if d.Name == SettingBaseURL {
			part += ", for which tasks wait or may be tried again"
		}
		parts = append(parts, part)
	}
	return fmt.Sprintf("the settings of organisation %s differ from those that all its workers keep to: %s", e.Organization, strings.Join(parts, "; "))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

const agreedSettings = `
SELECT id, coalesce(mode, ''), coalesce(scope, ''), coalesce(source, ''), coalesce(account_id, ''), coalesce(base_url, ''),
       settings_recorded, settings_decided
FROM organizations WHERE name = $1`

func scanAgreed(row pgx.Row) (a Agreed, err error) {
	var mode, scope, source, account, base string
	err = row.Scan(&a.Organization, &mode, &scope, &source, &account, &base, &a.Recorded, &a.Decided)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	a.Values = map[string]string{SettingMode: mode, SettingScope: scope, SettingSource: source, SettingAccountID: account, SettingBaseURL: base}
	return a, err
}

// Agreed reads what is recorded for an organisation. It returns [ErrNotFound]
// where there is none of that name.
func (s *Store) Agreed(ctx context.Context, name string) (Agreed, error) {
	a, err := scanAgreed(s.pool.QueryRow(ctx, agreedSettings, name))
	if err != nil {
		return a, fmt.Errorf("read the settings of %s: %w", name, err)
	}
	return a, nil
}

const (
	writeAgreed = `
UPDATE organizations
SET mode = nullif($2, ''), scope = nullif($3, ''), source = nullif($4, ''), account_id = nullif($5, ''), base_url = nullif($6, ''),
    settings_recorded = $7, settings_decided = $8
WHERE id = $1`

	// Those that failed or wait for a person are open, too: they may be tried again,
	// at whatever address is recorded then. Of a cancelled batch no failed one is.
	tasksAreOpen = `
SELECT EXISTS (
    SELECT FROM batches b
    WHERE b.organization_id = $1
      AND (b.tasks_total > b.tasks_completed + b.tasks_cancelled + CASE WHEN b.state = 'cancelled' THEN b.tasks_failed ELSE 0 END
           OR EXISTS (SELECT FROM batch_arrivals a WHERE a.batch_id = b.id)))`
)

func (a Agreed) write(ctx context.Context, tx pgx.Tx) error {
	v := a.Values
	_, err := tx.Exec(ctx, writeAgreed, a.Organization, v[SettingMode], v[SettingScope], v[SettingSource], v[SettingAccountID], v[SettingBaseURL],
		a.Recorded, a.Decided)
	return err
}

// Agreement is what a worker keeps to, and what it may want to say of it.
type Agreement struct {
	Agreed
	// Overruled are own settings for which a person has decided something else.
	Overruled []Difference
	// Moved is the change of a base URL for which no task was open; nil: none.
	Moved *Difference
}

// Agree compares a worker's settings with the recorded ones. The first worker
// records them. A person's decisions stand above them, except for the base URL:
// credentials go to no host that the worker's own settings don't name. Else a
// worker that differs gets a [*DifferentSettingsError]. A base URL for which no
// task waits or may be tried again is replaced, with an audit entry.
func (s *Store) Agree(ctx context.Context, p Person, name string, set Settings, baseURL string) (out Agreement, err error) {
	own := set.values(baseURL)
	err = s.inTx(ctx, "settings", func(tx pgx.Tx) error {
		out = Agreement{}
		for _, statement := range []string{renameFirst, addOrganization} {
			if _, err := tx.Exec(ctx, statement, name); err != nil {
				return err
			}
		}
		var err error
		if out.Agreed, err = scanAgreed(tx.QueryRow(ctx, agreedSettings+` FOR NO KEY UPDATE`, name)); err != nil {
			return err
		}
		var open bool
		if err := tx.QueryRow(ctx, tasksAreOpen, out.Organization).Scan(&open); err != nil {
			return err
		}
		if differ := out.settle(own, open); len(differ) > 0 {
			return &DifferentSettingsError{Organization: name, Differences: differ}
		}
		if m := out.Moved; m != nil {
			e := entry{person: p, action: "organization.move", organization: out.Organization, details: map[string]any{"base_url": m.Own, "before": m.Recorded}}
			if err := e.write(ctx, tx); err != nil {
				return err
			}
		}
		return out.write(ctx, tx)
	})
	if err != nil {
		var differ *DifferentSettingsError
		if errors.As(err, &differ) {
			return out, differ
		}
		return out, fmt.Errorf("agree on the settings of %s: %w", name, err)
	}
	return out, nil
}

// settle takes in a worker's own settings and returns those that can't be.
func (a *Agreement) settle(own map[string]string, open bool) (differ []Difference) {
	for _, name := range AgreedSettings() {
		d := Difference{Name: name, Own: own[name], Recorded: a.Values[name]}
		known := slices.Contains(a.Recorded, name) || slices.Contains(a.Decided, name)
		switch {
		case !known:
			a.Values[name], a.Recorded = own[name], append(a.Recorded, name)
		case d.Own == d.Recorded:
		case name == SettingBaseURL && !open:
			a.Moved, a.Values[name] = &d, d.Own
		case name != SettingBaseURL && slices.Contains(a.Decided, name):
			a.Overruled = append(a.Overruled, d)
		default:
			differ = append(differ, d)
		}
	}
	return differ
}

// Decide changes recorded settings for all workers. Of a value that is empty
// nothing is decided any more: the next worker's own is recorded. An account that
// is "none" is decided to be none.
func (s *Store) Decide(ctx context.Context, p Person, name string, values map[string]string, reason string) (before, after Agreed, err error) {
	err = s.inTx(ctx, "settings", func(tx pgx.Tx) error {
		var err error
		if before, err = scanAgreed(tx.QueryRow(ctx, agreedSettings+` FOR NO KEY UPDATE`, name)); err != nil {
			return err
		}
		if after, err = scanAgreed(tx.QueryRow(ctx, agreedSettings, name)); err != nil {
			return err
		}
		details := map[string]any{}
		for _, key := range AgreedSettings() {
			value, asked := values[key]
			if !asked {
				continue
			}
			without := func(s string) bool { return s == key }
			after.Recorded, after.Decided = slices.DeleteFunc(after.Recorded, without), slices.DeleteFunc(after.Decided, without)
			if value != "" {
				after.Decided = append(after.Decided, key)
			}
			if key == SettingAccountID && value == "none" {
				value = ""
			}
			after.Values[key] = value
			details[key] = map[string]string{"before": before.Values[key], "after": value}
		}
		if err := after.write(ctx, tx); err != nil {
			return err
		}
		return entry{person: p, action: "organization.set", organization: after.Organization, reason: reason, details: details}.write(ctx, tx)
	})
	if err != nil {
		return before, after, fmt.Errorf("set the settings of %s: %w", name, err)
	}
	return before, after, nil
}
