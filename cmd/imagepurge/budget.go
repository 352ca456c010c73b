package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/imagepurge/imagepurge/internal/settings"
	"github.com/imagepurge/imagepurge/repository"
)

// fewestCalls a minute: a listing, and a delete that relies on it.
const fewestCalls = 2

// keyBudget is what the settings say of an organisation's API key.
func keyBudget(s settings.Settings, o settings.Organization) (repository.KeyBudget, error) {
	k := repository.KeyBudget{Host: o.Host(), Digest: o.KeyDigest(), PerMinute: o.PerMinute(), Shared: o.SharesKeyWith != ""}
	for _, other := range s.Organizations {
		k.Shared = k.Shared || other.SharesKeyWith == o.Name
	}
	if slices.ContainsFunc(o.RateByHour[:], func(n int) bool { return n > 0 }) {
		k.Zone = o.Schedule.Zone().String()
		for hour := range o.RateByHour {
			k.Hourly = append(k.Hourly, o.PerMinuteAt(hour))
		}
	}
	for hour := range o.RateByHour {
		if o.PerMinuteAt(hour) < fewestCalls {
			return k, fmt.Errorf("organisation %s: %d call a minute is ours: a listing and a delete that relies on it need %d", o.Name, o.PerMinuteAt(hour), fewestCalls)
		}
	}
	return k, nil
}

// keyShared adds to the error of a shared key what to do about it.
func keyShared(o settings.Organization, err error) error {
	var shared *repository.KeySharedError
	if errors.As(err, &shared) {
		return hint(err, "say so in the settings file, in the entry of %s: shares_key_with: %s", o.Name, shared.Organization)
	}
	return err
}
