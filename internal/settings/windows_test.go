package settings

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const twoWindows = `timezone: Europe/Berlin
windows:
  - schedule: "0 1 * * 1-5"
    window: 5h
  - schedule: "0 22 * * 6"
    window: 12h
blackout: [2026-12-24, 2027-04-02..2027-04-05]
`

func TestWindowsAndBlackoutOfAnOrganization(t *testing.T) {
	const want = "0 1 * * 1-5 for 5h0m0s; 0 22 * * 6 for 12h0m0s; in Europe/Berlin; not on 2026-12-24, 2027-04-02..2027-04-05"
	s := mustLoad(t, twoWindows)
	if got := s.Organizations[0].Schedule.String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	block := mustLoad(t, "organizations:\n- name: a\n  windows: [{schedule: '@daily', window: 1h}]\n  blackout:\n  - 2026-12-24\n  - \"2027-04-02..2027-04-05\"\n- name: b\n  schedule: '@weekly'\n")
	if got, want := block.Organizations[0].Schedule.String(), "@daily for 1h0m0s; in UTC; not on 2026-12-24, 2027-04-02..2027-04-05"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := block.Organizations[1].Schedule.String(), "@weekly for 5h0m0s; in UTC"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	lines := map[string]string{}
	for _, l := range s.Explain() {
		lines[l.Key] = l.Value + " (" + l.Origin + ")"
	}
	if got, want := lines["windows"], "0 1 * * 1-5 for 5h, 0 22 * * 6 for 12h (f.yaml:2)"; got != want {
		t.Errorf("windows are explained as %s, want %s", got, want)
	}
	if got := lines["schedule"] + lines["window"]; got != "see windows (default)see windows (default)" {
		t.Errorf("schedule and window are explained as %s", got)
	}
	if got, want := lines["blackout"], "2026-12-24, 2027-04-02..2027-04-05 (f.yaml:7)"; got != want {
		t.Errorf("blackout is explained as %s, want %s", got, want)
	}
}

// The example of docs/schedule.md is the one above.
func TestTheDocumentedScheduleIsTaken(t *testing.T) {
	page, err := os.ReadFile("../../docs/schedule.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found || example != twoWindows {
		t.Errorf("the example is\n%s", example)
	}
}

func TestWindowsFaults(t *testing.T) {
	const (
		dates = "; give a date or two with .. between them, such as 2026-12-24 or 2027-04-02..2027-04-05"
		five  = `; give five fields: minute, hour, day of month, month, day of week, such as "0 1 * * *", or @hourly, @daily, @weekly, @monthly, @yearly`
		long  = "; give a duration above 0 and up to 168h (7 days), such as 5h or 90m"
	)
	for name, c := range map[string]struct {
		file    string
		environ []string
		want    []string
	}{
		"no list":             {"windows: hunter2\nblackout: 2026-12-24\n", nil, []string{"windows (f.yaml:1): is no list with at least one entry; give " + windowsForm, "blackout (f.yaml:2): is no list with at least one entry; give " + blackoutForm}},
		"an empty list":       {"windows: []\n", nil, []string{"windows (f.yaml:1): is no list with at least one entry; give " + windowsForm}},
		"no keys":             {"windows:\n- hunter2\n", nil, []string{"windows[0] (f.yaml:2): holds no keys; give " + windowsForm}},
		"an unknown key":      {"windows:\n- schedule: '@daily'\n  windw: 5h\n", nil, []string{"windows[0].windw (f.yaml:3): is not a key; the nearest name is window"}},
		"a missing key":       {"windows:\n- window: 5h\n- schedule: '@daily'\n", nil, []string{"windows[0].schedule (f.yaml:2): is missing; give five fields of cron, such as \"0 1 * * *\"", "windows[1].window (f.yaml:3): is missing; give a duration above 0 and up to 168h (7 days), such as 5h"}},
		"30 February":         {"windows:\n- schedule: 0 1 30 2 *\n  window: 5h\n", nil, []string{`windows[0].schedule (f.yaml:2): "0 1 30 2 *" never fires: no month that it names has such a day` + five}},
		"a bare number":       {"windows:\n- schedule: '@daily'\n  window: 5\n", nil, []string{`windows[0].window (f.yaml:3): "5" has no unit; for hours it is 5h; give a duration above 0 and up to 168h (7 days), such as 5h`}},
		"too long":            {"windows:\n- schedule: '@daily'\n  window: 169h\n", nil, []string{`windows[0].window (f.yaml:3): "169h" is longer than 7 days` + long}},
		"one zone for all":    {"timezone: Mars\n" + twoWindows[len("timezone: Europe/Berlin\n"):], nil, []string{`timezone (f.yaml:1): "Mars" is not a known time zone; give an IANA name such as Europe/Berlin`}},
		"both forms":          {"schedule: '@daily'\n" + twoWindows, nil, []string{"windows (f.yaml:3): is given beside schedule (f.yaml:1); give either windows, or schedule and window, such as windows alone"}},
		"a variable besides":  {twoWindows, []string{"IMAGEPURGE_WINDOW=5h"}, []string{"windows (f.yaml:2): is given beside IMAGEPURGE_WINDOW (environment); give either windows, or schedule and window, such as windows alone"}},
		"no date":             {"blackout:\n- 2026-12-24\n- 2026-02-30\n- christmas\n", nil, []string{`blackout[1] (f.yaml:3): "2026-02-30" is not a date of the calendar` + dates, `blackout[2] (f.yaml:4): "christmas" is not a date of the calendar` + dates}},
		"a range backwards":   {"blackout: [2027-04-05..2027-04-02]\n", nil, []string{`blackout[0] (f.yaml:1): "2027-04-05..2027-04-02" ends before it begins` + dates}},
		"a range of years":    {"blackout: [2026-01-01..2027-12-31]\n", nil, []string{`blackout[0] (f.yaml:1): "2026-01-01..2027-12-31" is longer than 366 days` + dates}},
		"a date of a mapping": {"blackout: [{a: b}]\n", nil, []string{"blackout[0] (f.yaml:1): is a list or a mapping, and takes one value; give " + blackoutForm}},
		"windows that overlap": {"windows:\n- schedule: 0 22 * * 5\n  window: 12h\n- schedule: 0 9 * * 6\n  window: 1h\n", nil, []string{
			"windows[1] (f.yaml:4): its window from Sat 2026-01-03 09:00 to Sat 2026-01-03 10:00 overlaps that of the other from Fri 2026-01-02 22:00 to Sat 2026-01-03 10:00; the other is windows[0] (f.yaml:2); give windows that don't overlap, such as a shorter one"}},
		// In the night in which clocks go forward, and in no other.
		"that overlap by the clocks' change": {"timezone: Europe/Berlin\nwindows:\n- schedule: 0 1 * * *\n  window: 2h\n- schedule: 0 3 * * *\n  window: 1h\n", nil, []string{
			"windows[1] (f.yaml:5): its window from Sun 2026-03-29 03:00 to Sun 2026-03-29 04:00 overlaps that of the other from Sun 2026-03-29 01:00 to Sun 2026-03-29 04:00; the other is windows[0] (f.yaml:3); give windows that don't overlap, such as a shorter one"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Source{Environ: c.environ, File: "f.yaml", ReadFile: files{"f.yaml": c.file}.read, Now: time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)})
			if d := cmp.Diff(faultsOf(t, err), c.want); d != "" {
				t.Errorf("got-, want+:\n%s", d)
			}
		})
	}
}
