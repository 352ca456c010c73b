package schedule_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/jobs/schedule"
)

func TestParseTakesTheFormsOfCron(t *testing.T) {
	// From a Wednesday noon, the first two ticks.
	from := instant(t, "2025-01-15T12:00:00Z")
	for _, c := range []struct{ expression, first, second string }{
		{"0 1 * * *", "2025-01-16T01:00:00Z", "2025-01-17T01:00:00Z"},
		{"  0  1\t* * *  ", "2025-01-16T01:00:00Z", "2025-01-17T01:00:00Z"},
		{"0 1 ? * ?", "2025-01-16T01:00:00Z", "2025-01-17T01:00:00Z"},
		{"*/20 22-23,0-4 * * *", "2025-01-15T22:00:00Z", "2025-01-15T22:20:00Z"},
		{"30 2 * * mon-FRI", "2025-01-16T02:30:00Z", "2025-01-17T02:30:00Z"},
		{"0 1 1 jan,Jul *", "2025-07-01T01:00:00Z", "2026-01-01T01:00:00Z"},
		{"5/25 3 * * *", "2025-01-16T03:05:00Z", "2025-01-16T03:30:00Z"},
		{"0 1 18 * SUN", "2025-01-18T01:00:00Z", "2025-01-19T01:00:00Z"},
		{"0 1 29 2 *", "2028-02-29T01:00:00Z", "2032-02-29T01:00:00Z"},
		{"@hourly", "2025-01-15T13:00:00Z", "2025-01-15T14:00:00Z"},
		{"@daily", "2025-01-16T00:00:00Z", "2025-01-17T00:00:00Z"},
		{"@midnight", "2025-01-16T00:00:00Z", "2025-01-17T00:00:00Z"},
		{"@weekly", "2025-01-19T00:00:00Z", "2025-01-26T00:00:00Z"},
		{"@monthly", "2025-02-01T00:00:00Z", "2025-03-01T00:00:00Z"},
		{"@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
	} {
		t.Run(c.expression, func(t *testing.T) {
			plan := parse(t, c.expression, "5h", "UTC")
			checkInstants(t, ticks(plan, from, 2), c.first, c.second)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		expression, window, zone string
		setting                  string
		says                     []string
	}{
		{"", "5h", "UTC", "schedule", []string{"is empty", `"0 1 * * *"`}},
		{"@every 1h", "5h", "UTC", "schedule", []string{"@every is not taken", "@hourly"}},
		{"@Every 1h", "5h", "UTC", "schedule", []string{"@every is not taken"}},
		{"TZ=Europe/Berlin 0 1 * * *", "5h", "UTC", "schedule", []string{"TZ= is not taken", "timezone"}},
		{"TZ=", "5h", "UTC", "schedule", []string{"TZ= is not taken"}},
		{"CRON_TZ=UTC 0 1 * * *", "5h", "UTC", "schedule", []string{"CRON_TZ= is not taken", "timezone"}},
		{"0 0 1 * * *", "5h", "UTC", "schedule", []string{"six fields", "seconds", "five fields: minute, hour"}},
		{"0 1 * *", "5h", "UTC", "schedule", []string{"has 4 of five fields"}},
		{"@nightly", "5h", "UTC", "schedule", []string{"short form", "@daily"}},
		{"@reboot", "5h", "UTC", "schedule", []string{"short form"}},
		{"60 1 * * *", "5h", "UTC", "schedule", []string{"minute 60", "0-59"}},
		{"0 24 * * *", "5h", "UTC", "schedule", []string{"hour 24", "0-23"}},
		{"0 22-4 * * *", "5h", "UTC", "schedule", []string{"hour 22-4", "22-23,0-4"}},
		{"0 1 L * *", "5h", "UTC", "schedule", []string{"day of month L", "neither a number nor a name"}},
		{"0 1 * janvier *", "5h", "UTC", "schedule", []string{"month janvier", "JAN-DEC"}},
		{"0 1 * * 7", "5h", "UTC", "schedule", []string{"day of week 7", "0 is Sunday"}},
		{"0 1,,3 * * *", "5h", "UTC", "schedule", []string{"hour 1,,3", "empty item"}},
		{"0 *-5 * * *", "5h", "UTC", "schedule", []string{"hour *-5", "begins with a number"}},
		{"*/0 1 * * *", "5h", "UTC", "schedule", []string{"minute */0", "positive"}},
		{"0 1 30 2 *", "5h", "UTC", "schedule", []string{"never fires"}},
		{"0 1 31 4,6,9,11 *", "5h", "UTC", "schedule", []string{"never fires"}},
		{"0 1 * * *", "0s", "UTC", "window", []string{"not above 0", "5h"}},
		{"0 1 * * *", "-5h", "UTC", "window", []string{"not above 0"}},
		{"0 1 * * *", "168h0m1s", "UTC", "window", []string{"longer than 7 days", "168h"}},
		{"0 1 * * *", "1d", "UTC", "window", []string{"not a duration", "90m"}},
		{"0 1 * * *", "", "UTC", "window", []string{"not a duration"}},
		{"0 1 * * *", "5h", "Europe/Berln", "timezone", []string{"IANA name such as Europe/Berlin"}},
		{"0 1 * * *", "5h", "+02:00", "timezone", []string{"IANA name such as Europe/Berlin"}},
		{"0 1 * * *", "5h", "", "timezone", []string{"is empty", "UTC"}},
		{"0 1 * * *", "5h", "Local", "timezone", []string{"machine to machine"}},
	} {
		t.Run(c.setting+" "+c.expression+" "+c.window+" "+c.zone, func(t *testing.T) {
			_, err := schedule.Parse(c.expression, c.window, c.zone)
			var settingErr *schedule.SettingError
			if !errors.As(err, &settingErr) {
				t.Fatalf("got %v, want a SettingError", err)
			}
			if settingErr.Setting != c.setting {
				t.Errorf("got setting %q, want %q", settingErr.Setting, c.setting)
			}
			for _, part := range c.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, which doesn't say %q", err, part)
				}
			}
		})
	}
}

func TestParseNamesAllThatIsWrong(t *testing.T) {
	_, err := schedule.Parse("@every 1h", "x", "Nowhere")
	for _, setting := range []string{"schedule ", "window ", "timezone "} {
		if err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("got %v, which doesn't name %s", err, setting)
		}
	}
}

func TestNewRefusesWhatParseRefuses(t *testing.T) {
	for _, c := range []struct {
		expression string
		window     time.Duration
		zone       *time.Location
	}{
		{"TZ=UTC 0 1 * * *", time.Hour, time.UTC},
		{"0 1 * * *", 0, time.UTC},
		{"0 1 * * *", schedule.MaxLength + 1, time.UTC},
		{"0 1 * * *", time.Hour, time.Local},
		{"0 1 * * *", time.Hour, nil},
	} {
		if plan, err := schedule.New(c.expression, c.window, c.zone); err == nil {
			t.Errorf("got %v for %+v, want an error", plan, c)
		}
	}
	plan, err := schedule.New(" 0 1 * * * ", schedule.MaxLength, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := plan.String(), "0 1 * * * for 168h0m0s, UTC"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0 1 * * *", "TZ=", "@every", "1,TZ=UTC * * * *", "1,@daily * * * *", "*/9223372036854775807 * * * *", ", , , , ,", "0 1 29 2 *"} {
		f.Add(seed)
	}
	from := time.Date(2025, time.January, 15, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, expression string) {
		plan, err := schedule.Parse(expression, "5h", "Europe/Berlin")
		if err != nil {
			return
		}
		if next := plan.Next(from); !next.After(from) {
			t.Errorf("got tick %v of %q, want one after %v", next, expression, from)
		}
	})
}
