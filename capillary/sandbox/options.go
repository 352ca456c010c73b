package sandbox

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"io"
	"time"
)

// Key is what one organisation's callers authenticate with. Each key has a
// rate limit of its own, shared by both ways of authentication.
type Key struct {
	Username string // Basic, with the MD5 of Password in hex
	Password string
	// OAuthKey and OAuthSecret are for the token call; "" means no OAuth.
	OAuthKey, OAuthSecret string
}

// DefaultKey is the one key of a server without Options.Keys.
func DefaultKey() Key {
	return Key{
		Username: "till.example", Password: "example-password",
		OAuthKey: "example-key", OAuthSecret: "example-secret",
	}
}

// BasicPassword is what goes after the colon of the Basic credentials.
func (k Key) BasicPassword() string {
	sum := md5.Sum([]byte(k.Password))
	return hex.EncodeToString(sum[:])
}

// Options are the settings of a [Server]. The zero value is usable: no
// customers, no limit, no latency, no faults.
type Options struct {
	// Seed decides everything left to chance.
	Seed uint64
	// Now is the server's clock; nil means time.Now. It must not go backwards.
	Now func() time.Time
	// Sleep returns when d has passed on the server's clock, or early with the
	// context's error; nil means a timer.
	Sleep func(ctx context.Context, d time.Duration) error

	Population Population
	Org        int64         // organisation id in tokens; 0 means the population's, or DefaultOrg
	Keys       []Key         // nil means DefaultKey alone
	TokenTTL   time.Duration // life of an OAuth token; 0 means 5 minutes

	Limit      Limit      // default none
	Latency    Latency    // default none
	MultiIndex MultiIndex // default HighestFirst
	Uploads    UploadRule // default UploadsAppend

	// ListingLag is the longest lag of a listing; each shows the state of a
	// drawn time ago, 0 to ListingLag. Default 0.
	ListingLag time.Duration
	// ErrorStatus is the HTTP status beside an API error code; nil means
	// SpreadStatus.
	ErrorStatus func(customer int64, code int) int

	Faults Faults
	Others Others

	// JournalTo also gets each journal entry as a line of JSON as it comes.
	JournalTo io.Writer

	// Exposed lets Listen use addresses that are not loopback, and lets any
	// host use the admin endpoints, which have no authentication.
	Exposed bool
	// HTTP2 offers HTTP/2 to callers over TLS. Default: HTTP/1.1 only.
	HTTP2 bool
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Keys == nil {
		o.Keys = []Key{DefaultKey()}
	}
	o.TokenTTL = cmp.Or(o.TokenTTL, 5*time.Minute)
	o.Faults = o.Faults.withDefaults()
	o.Faults.Seed = cmp.Or(o.Faults.Seed, o.Seed)
	o.Others.Seed = cmp.Or(o.Others.Seed, o.Seed)
	return o
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
