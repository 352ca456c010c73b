//go:build linux

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
)

// link is a way to a server that can be cut and slowed.
type link struct {
	name, address, upstream string
	server                  *toxiproxy.ApiServer
	proxy                   *toxiproxy.Proxy
}

func newLink(t testing.TB, name, upstream string) *link {
	t.Helper()
	l := &link{
		name: name, upstream: upstream, address: net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t))),
		server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
	}
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.proxy.Stop() })
	return l
}

func (l *link) open() error {
	l.proxy = toxiproxy.NewProxy(l.server, l.name, l.address, l.upstream)
	return l.proxy.Start()
}

// down cuts all connections and refuses new ones.
func (l *link) down() error { l.proxy.Stop(); return nil }

// toxic is one thing wrong with a link.
type toxic struct {
	Type   string           `json:"type"`
	Stream string           `json:"stream"` // upstream: what callers send
	With   map[string]int64 `json:"attributes"`
}

func (l *link) spoil(all ...toxic) error {
	for _, x := range all {
		text, err := json.Marshal(x)
		if err != nil {
			return err
		}
		if _, err := l.proxy.Toxics.AddToxicJson(bytes.NewReader(text)); err != nil {
			return fmt.Errorf("spoil the %s link with %s: %w", l.name, x.Type, err)
		}
	}
	return nil
}

// mend makes the link anew, which cuts what is connected. To take a toxic away
// from connections that are being closed makes the library panic at the next one.
func (l *link) mend() error {
	l.proxy.Stop()
	return l.open()
}

// probe is what somebody met who tried a link.
type probe struct {
	took time.Duration
	err  error
}

const probeLimit = 2500 * time.Millisecond

// probeDatabase sends and fetches some kilobytes through a link.
func (h *house) probeDatabase(ctx context.Context) probe {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	began := time.Now()
	conn, err := pgx.Connect(ctx, h.cluster.url(h.toDatabase.address, "postgres"))
	if err == nil {
		var n int
		err = conn.QueryRow(ctx, "SELECT length($1) + length(repeat('y', 20000))", string(bytes.Repeat([]byte("x"), 20000))).Scan(&n)
		if err == nil {
			_, err = conn.Exec(ctx, "SELECT repeat('y', 20000)")
		}
		_ = conn.Close(context.Background())
	}
	return probe{time.Since(began), err}
}

// probeAPI fetches the sandbox's figures through a link.
func (h *house) probeAPI(ctx context.Context) probe {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	began := time.Now()
	err := fetch(ctx, "http://"+h.toAPI.address+"/sandbox/stats", io.Discard)
	return probe{time.Since(began), err}
}

// fetch reads one answer over a connection of its own.
func fetch(ctx context.Context, url string, to io.Writer) error {
	return ask(ctx, http.MethodGet, url, to)
}

// send makes an order without a body.
func send(ctx context.Context, url string) error { return ask(ctx, http.MethodPost, url, io.Discard) }

func ask(ctx context.Context, method, url string, to io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	_, err = io.Copy(to, answer.Body)
	return err
}
