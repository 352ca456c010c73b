package settings

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/imagepurge/imagepurge/jobs/schedule"
)

// The keys of a calendar. Those with a list are of the file only.
const (
	keySchedule = "schedule"
	keyWindow   = "window"
	keyWindows  = "windows"
	keyBlackout = "blackout"
)

const (
	windowsForm  = `a list of windows, such as - schedule: "0 1 * * 1-5" with window: 5h`
	blackoutForm = "a list of dates and ranges of dates, such as [2026-12-24, 2027-04-02..2027-04-05]"
)

// maxItems bounds a list of the file.
const maxItems = 1000

// item is an entry of a list: a value, or keys with values.
type item struct {
	line  int
	value string
	keys  map[string]entry
}

// readItems reads the list of a key. What is wrong with it is a fault of its line.
func (d *document) readItems(name, label string, n ast.Node, at int) (entry, bool) {
	form := keyOf(name).Form
	list, ok := n.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		d.fault(label+name, at, "is no list with at least one entry", form)
		return entry{}, false
	}
	if len(list.Values) > maxItems {
		d.fault(label+name, at, fmt.Sprintf("has more than %d entries", maxItems), form)
		return entry{}, false
	}
	e := entry{line: at}
	var shown []string
	sound := true
	for i, v := range list.Values {
		it, fine := d.readItem(name, fmt.Sprintf("%s%s[%d]", label, name, i), v, at)
		sound = sound && fine
		e.items = append(e.items, it)
		shown = append(shown, it.show())
	}
	e.value = strings.Join(shown, ", ")
	return e, sound
}

func (d *document) readItem(name, label string, n ast.Node, at int) (item, bool) {
	it := item{line: lineOf(n)}
	if it.line == 0 {
		it.line = at
	}
	if name == keyBlackout {
		value, problem := scalar(n)
		if it.value = strings.TrimSpace(value); problem == "" && it.value == "" {
			problem = "has no value"
		}
		if problem != "" {
			d.fault(label, it.line, problem, blackoutForm)
		}
		return it, problem == ""
	}
	pairs, ok := pairsOf(n)
	if !ok {
		d.fault(label, it.line, "holds no keys", windowsForm)
		return it, false
	}
	faults := len(d.faults)
	known := []string{keySchedule, keyWindow}
	m := d.read(pairs, it.line, label+".", func(name string) (string, bool) { return "", slices.Contains(known, name) })
	it.keys = m.entries
	for _, k := range known {
		if _, given := it.keys[k]; !given && len(d.faults) == faults {
			d.fault(label+"."+k, it.line, "is missing", keyOf(k).Form)
		}
	}
	return it, len(d.faults) == faults
}

func (it item) show() string {
	if it.keys == nil {
		return it.value
	}
	return it.keys[keySchedule].value + " for " + it.keys[keyWindow].value
}

// window is an entry of windows, or schedule and window alone.
type window struct {
	plan           plan
	label, place   string
	schedule, long origin
}

// calendar makes an organization's calendar of its keys, with the place of whatever
// is wrong.
func (l *loader) calendar(i int, p plan, m mapping) schedule.Calendar {
	before := len(l.faults)
	var plans []schedule.Plan
	windows := l.windows(i, p, m)
	for _, w := range windows {
		parsed, err := schedule.Parse(w.plan.schedule, w.plan.window, w.plan.zone)
		for _, e := range settingErrors(err) {
			l.calendarFault(i, w, e)
		}
		plans = append(plans, parsed)
	}
	blackout := l.blackout(i, m)
	if len(l.faults) > before || l.faultyCalendar(i) {
		return schedule.Calendar{}
	}
	c, err := schedule.NewCalendar(plans, blackout, l.src.Now)
	if o := (*schedule.OverlapError)(nil); errors.As(err, &o) {
		l.fault(windows[o.Second].label, windows[o.Second].place, fmt.Sprintf("%v; the other is %s (%s)", err, windows[o.First].label, windows[o.First].place),
			"windows that don't overlap, such as a shorter one")
	} else if err != nil {
		l.fault(windows[0].label, windows[0].place, err.Error(), windowsForm)
	}
	return c
}

// faultyCalendar: a value of these keys was refused already.
func (l *loader) faultyCalendar(i int) bool {
	return slices.ContainsFunc([]string{keySchedule, keyWindow, "timezone", keyWindows, keyBlackout}, func(k string) bool { return l.faulty[slot{i, k}] })
}

// windows are the entries, or the one that schedule and window make.
func (l *loader) windows(i int, p plan, m mapping) []window {
	list, several := m.entries[keyWindows]
	if !several {
		one := window{plan: p, schedule: l.where(slot{i, keySchedule}), long: l.where(slot{i, keyWindow})}
		one.label, one.place = one.schedule.key, one.schedule.place
		return []window{one}
	}
	at := origin{key: m.label + keyWindows, place: l.doc.place(list.line)}
	for _, k := range []string{keySchedule, keyWindow} {
		if o, given := l.origins[slot{i, k}]; given {
			l.refuse(slot{i, keyWindows}, at, fmt.Sprintf("is given beside %s (%s)", o.key, o.place), "either windows, or schedule and window, such as windows alone")
		}
	}
	var all []window
	for n, it := range list.items {
		label := fmt.Sprintf("%s[%d]", at.key, n)
		of := func(key string) origin {
			e := it.keys[key]
			return origin{key: label + "." + key, place: l.doc.place(e.line), value: e.value}
		}
		w := window{label: label, place: l.doc.place(it.line), schedule: of(keySchedule), long: of(keyWindow)}
		w.plan = plan{schedule: w.schedule.value, window: w.long.value, zone: p.zone}
		if problem := setWindow(draft{plan: &w.plan}, w.plan.window); problem != "" {
			l.fault(w.long.key, w.long.place, problem, keyOf(keyWindow).Form)
			continue
		}
		all = append(all, w)
	}
	return all
}

// calendarFault tells what package schedule refuses, of the key that it means.
func (l *loader) calendarFault(i int, w window, e *schedule.SettingError) {
	at := slot{i, e.Setting}
	if l.faulty[at] {
		return
	}
	o := l.where(at)
	switch e.Setting {
	case schedule.SettingSchedule:
		o = w.schedule
	case schedule.SettingWindow:
		o = w.long
	}
	problem := quote(e.Value) + " " + e.Problem
	if e.Setting == schedule.SettingTimezone { // once, not for each window
		l.refuse(at, o, problem, e.Form)
		return
	}
	l.fault(o.key, o.place, problem, e.Form)
}

func (l *loader) blackout(i int, m mapping) []schedule.Days {
	list := m.entries[keyBlackout]
	var all []schedule.Days
	for n, it := range list.items {
		d, err := schedule.ParseDays(it.value)
		for _, e := range settingErrors(err) {
			l.refuse(slot{i, keyBlackout}, origin{key: fmt.Sprintf("%s%s[%d]", m.label, keyBlackout, n), place: l.doc.place(it.line)}, quote(e.Value)+" "+e.Problem, e.Form)
		}
		all = append(all, d)
	}
	return all
}
