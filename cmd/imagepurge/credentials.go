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

// now is the organisation as this process was told, with the secrets that were read
// last.
func (c *credentials) now() settings.Organization {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of
}

// hangups are the process's SIGHUPs until stop. Without files a SIGHUP means what it
// always does.
func (c *credentials) hangups() (_ <-chan os.Signal, stop func()) {
	all := make(chan os.Signal, 1)
	if !c.now().HasFiles() {
		return all, func() {}
	}
	signal.Notify(all, syscall.SIGHUP)
	return all, func() { signal.Stop(all) }
}

// rereadAt reads the files again at each hangup, until ctx ends; then the channel is
// closed.
func (c *credentials) rereadAt(ctx context.Context, hangups <-chan os.Signal) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
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
