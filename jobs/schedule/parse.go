package schedule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// MaxLength is the longest window.
const MaxLength = 7 * 24 * time.Hour

// The settings as their errors name them; the same words are the keys of the
// configuration file.
const (
	SettingSchedule = "schedule"
	SettingWindow   = "window"
	SettingTimezone = "timezone"
	SettingBlackout = "blackout"
)

// SettingError says which of the settings is wrong, and why.
type SettingError struct {
	Setting string // one of the Setting… constants
	Value   string
	Problem string
	Form    string // the right form, with an example
}

func (e *SettingError) Error() string {
	return fmt.Sprintf("%s %q: %s; give %s", e.Setting, e.Value, e.Problem, e.Form)
}

const (
	scheduleForm = `five fields: minute, hour, day of month, month, day of week, such as "0 1 * * *", or @hourly, @daily, @weekly, @monthly, @yearly`
	windowForm   = `a duration above 0 and up to 168h (7 days), such as 5h or 90m`
	timezoneForm = `an IANA name such as Europe/Berlin`
)

// Parse makes a Plan of the settings as an operator writes them. All that is
// wrong is named at once, each in a *SettingError.
func Parse(expression, window, zone string) (Plan, error) {
	length, lengthErr := parseLength(window)
	location, zoneErr := parseZone(zone)
	spec, specErr := parseExpression(expression)
	if err := errors.Join(specErr, lengthErr, zoneErr); err != nil {
		return Plan{}, err
	}
	return Plan{spec: spec, text: strings.TrimSpace(expression), length: length, zone: location}, nil
}

// New is Parse for a caller that has read window and zone already.
func New(expression string, window time.Duration, zone *time.Location) (Plan, error) {
	if zone == nil {
		zone = time.Local // is refused by its name
	}
	spec, specErr := parseExpression(expression)
	err := errors.Join(specErr, checkLength(window.String(), window), checkZoneName(zone.String()))
	if err != nil {
		return Plan{}, err
	}
	return Plan{spec: spec, text: strings.TrimSpace(expression), length: window, zone: zone}, nil
}

func parseLength(window string) (time.Duration, error) {
	length, err := time.ParseDuration(strings.TrimSpace(window))
	if err != nil {
		return 0, &SettingError{SettingWindow, window, "is not a duration", windowForm}
	}
	return length, checkLength(window, length)
}

func checkLength(window string, length time.Duration) error {
	switch {
	case length <= 0:
		return &SettingError{SettingWindow, window, "is not above 0", windowForm}
	case length > MaxLength:
		return &SettingError{SettingWindow, window, "is longer than 7 days", windowForm}
	}
	return nil
}

func parseZone(zone string) (*time.Location, error) {
	if err := checkZoneName(zone); err != nil {
		return nil, err
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		return nil, &SettingError{SettingTimezone, zone, "is not a known time zone", timezoneForm}
	}
	return location, nil
}

// checkZoneName refuses the two names that Go takes for UTC and for whatever
// the machine is set to: workers on two machines would open at two times.
func checkZoneName(zone string) error {
	switch zone {
	case "":
		return &SettingError{SettingTimezone, zone, "is empty", timezoneForm + " or UTC"}
	case "Local":
		return &SettingError{SettingTimezone, zone, "differs from machine to machine", timezoneForm}
	}
	return nil
}

// fields of an expression, in order. An expression with all others free shows
// which field the parser refuses.
var fields = [5]struct{ name, values, alone string }{
	{"minute", "0-59", "%s * * * *"},
	{"hour", "0-23", "* %s * * *"},
	{"day of month", "1-31", "* * %s * *"},
	{"month", "1-12 or JAN-DEC", "* * * %s *"},
	{"day of week", "0-6 (0 is Sunday) or SUN-SAT", "* * * * %s"},
}

func parseExpression(expression string) (*cron.SpecSchedule, error) {
	text := strings.TrimSpace(expression)
	refuse := func(problem string) error {
		return &SettingError{SettingSchedule, expression, problem, scheduleForm}
	}
	switch upper := strings.ToUpper(text); {
	case text == "":
		return nil, refuse("is empty")
	case strings.HasPrefix(upper, "TZ="), strings.HasPrefix(upper, "CRON_TZ="):
		form, _, _ := strings.Cut(upper, "=")
		return nil, refuse(form + "= is not taken here, the zone is the setting " + SettingTimezone)
	case strings.HasPrefix(upper, "@EVERY"):
		return nil, refuse("@every is not taken here, it would count from each worker's own start")
	case !strings.HasPrefix(text, "@"):
		if err := checkFields(strings.Fields(text)); err != nil {
			return nil, refuse(err.Error())
		}
	}
	parsed, err := cron.ParseStandard(text)
	spec, ok := parsed.(*cron.SpecSchedule)
	if err != nil || !ok {
		return nil, refuse("is not a known short form")
	}
	spec.Location = time.UTC
	// The calendar repeats; a day that isn't found from a leap year on is
	// in no year.
	if (Plan{spec: spec}).nextWall(time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, refuse("never fires: no month that it names has such a day")
	}
	return spec, nil
}

func checkFields(given []string) error {
	switch {
	case len(given) == 6:
		return errors.New("has six fields, seconds are not taken")
	case len(given) != len(fields):
		return fmt.Errorf("has %d of five fields", len(given))
	}
	for i, value := range given {
		if problem := checkField(value, fields[i].alone); problem != "" {
			return fmt.Errorf("%s %s: %s; it may be %s", fields[i].name, value, problem, fields[i].values)
		}
	}
	return nil
}

// checkField says what is wrong with a field, in robfig's words where they
// help. What robfig passes over in silence is refused: an empty item, and the
// end of a range that begins with a star.
func checkField(value, alone string) string {
	for item := range strings.SplitSeq(value, ",") {
		if item == "" {
			return "has an empty item"
		}
		if strings.HasPrefix(item, "*-") || strings.HasPrefix(item, "?-") {
			return "a range begins with a number or a name"
		}
		if _, err := cron.ParseStandard(fmt.Sprintf(alone, item)); err != nil {
			if strings.Contains(err.Error(), "parse int") {
				return strconv.Quote(item) + " is neither a number nor a name"
			}
			if strings.Contains(err.Error(), "beyond end of range") {
				return "a range that ends before it begins is written as two, such as 22-23,0-4"
			}
			return strings.TrimSuffix(err.Error(), ": "+item)
		}
	}
	return ""
}
