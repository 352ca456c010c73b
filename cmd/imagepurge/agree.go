package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/repository"
)

// agreeEvery is how often a worker asks whether its organisation's settings were
// changed by a person: all must know within 5 seconds.
const agreeEvery = 4 * time.Second

// posts makes a place for each organisation. None begins before all are there: one
// whose settings are refused must not leave others half started.
func (c *crew) posts(ctx context.Context) ([]*post, error) {
	wanted := c.s.Organizations
	if name := c.flags.organization; name != "" {
		o, ok := c.s.Organization(name)
		if !ok {
			return nil, usagef("there is no organisation %q in the settings; there is %s", name, strings.Join(names(c.s), ", "))
		}
		wanted = []settings.Organization{o}
	}
	// All of them, worked on here or not: a bare INSERT must find several where there
	// are several.
	for _, o := range c.s.Organizations {
		if err := patiently(ctx, func() error { _, err := c.d.RecordOrganization(ctx, o.Name, repository.Settings{}); return err }); err != nil {
			return nil, err
		}
	}
	var (
		all    []*post
		faults []error
	)
	for _, o := range wanted {
		w, err := c.worker(ctx, o)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		all = append(all, w)
	}
	return all, errors.Join(faults...)
}

// names are the organisations of the settings.
func names(s settings.Settings) (all []string) {
	for _, o := range s.Organizations {
		all = append(all, o.Name)
	}
	return all
}

// agree makes an organisation's settings those that all its workers keep to, or
// refuses, with what to type.
func (c *crew) agree(ctx context.Context, o settings.Organization) (settings.Organization, repository.Agreed, error) {
	var got repository.Agreement
	err := patiently(ctx, func() (err error) {
		got, err = c.d.Agree(ctx, c.a.person(), o.Name, effective(o), settings.NormalBaseURL(o.BaseURL))
		return err
	})
	var differ *repository.DifferentSettingsError
	switch {
	case errors.As(err, &differ):
		var assignments []string
		elsewhere := ""
		for _, d := range differ.Differences {
			assignments = append(assignments, d.Name+"="+valueOrNone(d.Own))
			if d.Name == repository.SettingBaseURL {
				elsewhere = " (its tasks go there: for another platform use an organisation of its own)"
			}
		}
		return o, got.Agreed, hint(differ, "give this process the recorded values; or, for all workers: imagepurge org set %s %s --reason \"…\"%s", o.Name, strings.Join(assignments, " "), elsewhere)
	case err != nil:
		return o, got.Agreed, err
	}
	log := c.log.With("organization", o.Name)
	for _, d := range got.Overruled {
		log.Warn("a setting of this process does not hold: a person has decided for all workers (imagepurge org set)", "setting", d.Name, "own", d.Own, "decided", d.Recorded)
	}
	if m := got.Moved; m != nil {
		log.Warn("the base URL was changed; no task waited for the one before, or can be tried again", "before", m.Recorded, "now", m.Own)
	}
	set := got.Settings()
	o.Mode, o.Scope, o.Source, o.AccountID = set.Mode, set.Scope, set.Source, set.AccountID
	return o, got.Agreed, nil
}

// decided puts what a person has decided above what an intake was told.
func decided(a repository.Agreed, set repository.Settings) repository.Settings {
	of := a.Settings()
	for _, name := range a.Decided {
		switch name {
		case repository.SettingMode:
			set.Mode = of.Mode
		case repository.SettingScope:
			set.Scope = of.Scope
		case repository.SettingSource:
			set.Source = of.Source
		case repository.SettingAccountID:
			set.AccountID = of.AccountID
		}
	}
	return set
}

// keepWorking works, and begins again whenever a person has changed the settings
// that all workers agree on: what is in hand is given back in order first.
func (p *post) keepWorking(stop *stopping) (result, error) {
	began, duration := time.Now(), p.flags.duration
	all := result{Organization: p.o.Name, Stats: worker.Stats{Finished: map[jobs.State]int{}, Batches: map[int64]bool{}}}
	// Over all that follows: one that comes while work begins again is not missed, and
	// doesn't end the process.
	hangups, deaf := p.keys.hangups()
	defer deaf()
	for {
		changed := make(chan struct{})
		ctx, cancel := context.WithCancel(stop.ctx)
		inner := &stopping{ctx: stop.ctx, orderly: either(ctx, stop.orderly, changed), outer: stop}
		watched := make(chan struct{})
		go func() { defer close(watched); p.watchSettings(ctx, changed) }()
		reread := p.keys.rereadAt(ctx, hangups)
		r, err := p.work(inner)
		cancel()
		<-watched
		<-reread
		all = all.and(r)
		if err != nil || !closed(changed) || closed(stop.orderly) || stop.ctx.Err() != nil {
			return all, err
		}
		p.screen.say("%s: its settings were changed by a person; work begins again with them", p.o.Name)
		again := *p.crew
		if again.flags.duration > 0 {
			again.flags.duration = max(time.Millisecond, duration-time.Since(began))
		}
		if again.flags.limit > 0 {
			if again.flags.limit -= ended(r.Stats); again.flags.limit <= 0 {
				return all, nil
			}
		}
		next, err := again.worker(stop.ctx, p.keys.now())
		if err != nil {
			p.log.Error("work on this organisation has ended: its settings are not those that were set for all workers", "error", err)
			return all, err
		}
		p = next
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// watchSettings closes changed when the recorded settings are not those that this
// worker began with. A database that doesn't answer changes nothing.
func (p *post) watchSettings(ctx context.Context, changed chan<- struct{}) {
	tick := time.NewTicker(agreeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		limited, cancel := context.WithTimeout(ctx, agreeEvery)
		now, err := p.d.Agreed(limited, p.o.Name)
		cancel()
		if err == nil && !now.Same(p.agreed) {
			close(changed)
			return
		}
	}
}

// and adds what a later run of the same organisation came to.
func (r result) and(next result) result {
	sum := next
	sum.Stats.Finished = maps.Clone(r.Stats.Finished)
	for state, n := range next.Stats.Finished {
		sum.Stats.Finished[state] += n
	}
	sum.Stats.Batches = maps.Clone(r.Stats.Batches)
	maps.Copy(sum.Stats.Batches, next.Stats.Batches)
	sum.Stats.ImagesDeleted += r.Stats.ImagesDeleted
	sum.Stats.Calls += r.Stats.Calls
	sum.Stats.Lists += r.Stats.Lists
	sum.Stats.Deletes += r.Stats.Deletes
	sum.Stats.OverLimit += r.Stats.OverLimit
	return sum
}

// settingAssignments reads "mode=economy" and the like.
func settingAssignments(s settings.Settings, args []string) (map[string]string, error) {
	values := map[string]string{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		switch {
		case !ok || !slices.Contains(repository.AgreedSettings(), name):
			return nil, usagef("%q is not one of mode=…, scope=…, source=…, account_id=…, base_url=…", arg)
		case value != "" && (name != repository.SettingAccountID || value != "none"):
			checked, err := s.CheckValue(name, value)
			if err != nil {
				return nil, &usageError{err}
			}
			value = checked
		}
		if _, twice := values[name]; twice {
			return nil, usagef("%s is given twice", name)
		}
		values[name] = value
	}
	if v, ok := values[repository.SettingBaseURL]; ok && v == "" {
		return nil, usagef("base_url is changed to a value, such as base_url=https://eu.api.capillarytech.com")
	}
	if len(values) == 0 {
		return nil, usagef("say what to set, such as mode=economy")
	}
	return values, nil
}

func fromWhere(a repository.Agreed, name string) string {
	switch {
	case slices.Contains(a.Decided, name):
		return "decided by a person (org set)"
	case slices.Contains(a.Recorded, name):
		return "recorded by the first worker"
	case a.Values[name] != "":
		return "recorded by an intake; the first worker's own will hold"
	}
	return "not recorded yet; the first worker's own will hold"
}

func calls(perMinute int) string { return fmt.Sprintf("%d calls a minute", perMinute) }
