package settings

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// String names the organizations and withholds the rest, as do all other ways
// to print Settings. fmt can't ask an unexported field how it wants to be
// printed: a struct that keeps Settings in one must not be printed whole.
func (s Settings) String() string {
	names := make([]string, 0, len(s.Organizations))
	for _, o := range s.Organizations {
		names = append(names, o.Name)
	}
	return "settings.Settings{organizations: " + strings.Join(names, ", ") + "; the rest is withheld}"
}

// GoString is for %#v.
func (s Settings) GoString() string { return s.String() }

// Format is for every other verb.
func (s Settings) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, s.String()) }

// LogValue is for slog.
func (s Settings) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is for encoding/json and its like.
func (s Settings) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String names the organization and withholds the rest, as do all other ways to
// print it.
func (o Organization) String() string {
	return "settings.Organization{" + o.Name + "; the rest is withheld}"
}

// GoString is for %#v.
func (o Organization) GoString() string { return o.String() }

// Format is for every other verb.
func (o Organization) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, o.String()) }

// LogValue is for slog.
func (o Organization) LogValue() slog.Value { return slog.StringValue(o.String()) }

// MarshalText is for encoding/json and its like.
func (o Organization) MarshalText() ([]byte, error) { return []byte(o.String()), nil }
