package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

const id int64 = 700000001

// world is one sandbox behind a bare HTTP client.
type world struct {
	*testing.T
	srv    *sandbox.Server
	url    string
	client *http.Client
	header http.Header
}

func newWorld(t *testing.T, o sandbox.Options) *world {
	t.Helper()
	srv := sandbox.New(o)
	web := httptest.NewUnstartedServer(srv)
	web.Config.ErrorLog = nil
	web.Start()
	// Go's transport repeats a GET on a used connection by itself.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		srv.Close()
		web.CloseClientConnections()
		web.Close()
	})
	r, _ := http.NewRequest("GET", "/", nil)
	r.SetBasicAuth(sandbox.DefaultKey().Username, sandbox.DefaultKey().BasicPassword())
	return &world{T: t, srv: srv, url: web.URL, client: client, header: r.Header}
}

// withImages is a world with one present customer.
func withImages(t *testing.T, n int, o sandbox.Options) *world {
	t.Helper()
	w := newWorld(t, o)
	w.put(id, n)
	return w
}

func (w *world) put(id int64, n int) {
	w.Helper()
	c := sandbox.Customer{ID: id}
	for i := range n {
		c.Images = append(c.Images, image(id, i))
	}
	if err := w.srv.Model().Put(c); err != nil {
		w.Fatal(err)
	}
}

func image(id int64, i int) sandbox.Image {
	return sandbox.Image{
		Token: token(id, i), Handle: fmt.Sprintf("handle-%d", i), Slot: i, Version: 1, Size: 20480,
		LastModified: time.Date(2026, 4, 30, 12, 25, 56, 0, time.UTC),
	}
}

func token(id int64, i int) string { return fmt.Sprintf("customerImage/100001/%d/image-%d", id, i) }

func tokens(id int64, indexes ...int) []string {
	out := []string{}
	for _, i := range indexes {
		out = append(out, token(id, i))
	}
	return out
}

// answer is what came back; body is decoded where it is JSON.
type answer struct {
	status int
	header http.Header
	raw    []byte
	body   map[string]any
	err    error
}

func (w *world) do(method, path string, body io.Reader, change ...func(*http.Request)) answer {
	w.Helper()
	return w.doContext(context.Background(), method, path, body, change...)
}

func (w *world) doContext(ctx context.Context, method, path string, body io.Reader, change ...func(*http.Request)) answer {
	w.Helper()
	r, err := http.NewRequestWithContext(ctx, method, w.url+path, body)
	if err != nil {
		w.Fatal(err)
	}
	r.Header = w.header.Clone()
	for _, f := range change {
		f(r)
	}
	res, err := w.client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	a := answer{status: res.StatusCode, header: res.Header}
	a.raw, a.err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	_ = json.Unmarshal(a.raw, &a.body)
	return a
}

func (w *world) list(id int64) answer {
	w.Helper()
	return w.do("GET", fmt.Sprintf("/v2/customers/%d?embed=CUSTOMERIMAGE&source=INSTORE", id), nil)
}

func (w *world) delete(id int64, indexes ...int) answer {
	w.Helper()
	path := fmt.Sprintf("/v2/customers/%d/deleteImage", id)
	for n, i := range indexes {
		path += fmt.Sprintf("%cimage_ids=%d", "?&"[min(n, 1)], i)
	}
	return w.do("DELETE", path, nil)
}

func (w *world) upload(id int64, files int) answer {
	w.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i := range files {
		part, err := form.CreateFormFile("file", fmt.Sprintf("photo%d.jpg", i))
		if err != nil {
			w.Fatal(err)
		}
		_, _ = part.Write(bytes.Repeat([]byte{1}, 11_000))
	}
	_ = form.Close()
	return w.do("POST", fmt.Sprintf("/v2/customers/%d/setImage", id), &body, func(r *http.Request) {
		r.Header.Set("Content-Type", form.FormDataContentType())
	})
}

// truth are the tokens there truly are.
func (w *world) truth(id int64) []string {
	out := []string{}
	for _, img := range w.srv.Model().Images(id) {
		out = append(out, img.Token)
	}
	return out
}

func (w *world) lastEntry() sandbox.Entry {
	w.Helper()
	all := w.srv.Journal().Entries()
	if len(all) == 0 {
		w.Fatal("the journal is empty")
	}
	return all[len(all)-1]
}

// listed are the tokens a listing shows.
func (a answer) listed(t testing.TB) []string {
	t.Helper()
	if a.err != nil || a.status != 200 {
		t.Fatalf("listing: status %d, error %v, body %s", a.status, a.err, a.raw)
	}
	out := []string{}
	images, _ := a.body["customerImage"].([]any)
	for _, img := range images {
		out = append(out, img.(map[string]any)["file"].(map[string]any)["s3Token"].(string))
	}
	return out
}

// codes are those in one part of a body.
func (a answer) codes(part string) []int {
	out := []int{}
	all, _ := a.body[part].([]any)
	for _, p := range all {
		out = append(out, int(p.(map[string]any)["code"].(float64)))
	}
	return out
}

// fakeClock stands still until told; sleepers wait for Advance.
type fakeClock struct {
	mu       sync.Mutex
	now      time.Time
	sleepers []sleeper
	asleep   chan time.Duration // gets each sleep as it begins
}

type sleeper struct {
	until time.Time
	wake  chan struct{}
}

func newClock() *fakeClock {
	return &fakeClock{now: time.Date(2026, 6, 1, 10, 0, 0, 0, time.UTC), asleep: make(chan time.Duration, 100)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	s := sleeper{c.now.Add(d), make(chan struct{})}
	c.sleepers = append(c.sleepers, s)
	c.mu.Unlock()
	c.asleep <- d
	select {
	case <-s.wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *fakeClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	var left []sleeper
	for _, s := range c.sleepers {
		if s.until.After(c.now) {
			left = append(left, s)
		} else {
			close(s.wake)
		}
	}
	c.sleepers = left
}

func settle(t testing.TB, srv *sandbox.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := srv.Settle(ctx); err != nil {
		t.Fatalf("late executions did not end: %v", err)
	}
}
