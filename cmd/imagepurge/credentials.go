package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/imagepurge/imagepurge/capillary"
	"github.com/imagepurge/imagepurge/internal/settings"
)

// apiOptions are what an organisation's client is made of.
func apiOptions(s settings.Settings, o settings.Organization) capillary.Options {
	return capillary.Options{
		BaseURL: o.BaseURL, Username: o.Username, Password: o.Password, PasswordMD5: o.PasswordMD5,
		OAuthKey: o.OAuthKey, OAuthSecret: o.OAuthSecret, AttributionType: o.AttributionType, AttributionCode: o.AttributionCode,
		RequestTimeout: s.RequestTimeout, AllowPlainHTTP: s.AllowPlainHTTP, MaxIdleConns: s.Concurrency,
		UserAgent: "imagepurge/" + version(), Now: time.Now,
	}
}

// credentials are those of a running worker, which change where their files do.
type credentials struct {
	api *capillary.Client
	log *slog.Logger

	mu sync.Mutex
	of settings.Organization
}

// reread takes the secrets as their files hold them now. Calls that begin
// afterwards use them; what can't be taken is named, and the old ones stay.
func (c *credentials) reread() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, changed, problems := c.of.Reread(os.ReadFile)
	for _, p := range problems {
		c.log.Warn("a secret could not be read again: the old one stays", "problem", p)
	}
	if !changed {
		return
	}
	if err := c.api.Authenticate(apiOptions(settings.Settings{}, now)); err != nil {
		c.log.Warn("the credentials as they are now can't be used: the old ones stay", "problem", err)
		return
	}
	c.of = now
	c.log.Info("credentials were read again")
}

// onHangup reads the files again at each SIGHUP, until ctx ends; then the channel
// is closed. Without files a SIGHUP means what it always does.
func (c *credentials) onHangup(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	if !c.of.HasFiles() {
		close(done)
		return done
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		defer close(done)
		defer signal.Stop(hangups)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				c.reread()
			}
		}
	}()
	return done
}
