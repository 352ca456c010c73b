package capillary

import (
	"bytes"
	"crypto/md5"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/jobs/clearance"
)

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// What goes over the wire, to the letter. A header more could make net/http
// replay a DELETE (Idempotency-Key), or the API refuse it (Content-Type).
func TestRequests(t *testing.T) {
	t.Parallel()
	type request struct {
		Line   string
		Header http.Header
		Body   string
	}
	var got request
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = request{r.Method + " " + r.RequestURI + " " + r.Proto + " " + r.Host, r.Header, string(body)}
		if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
			t.Errorf("request has a body: %d %v", r.ContentLength, r.TransferEncoding)
		}
		if r.Method == http.MethodDelete {
			fmt.Fprint(w, success)
			return
		}
		fmt.Fprint(w, noImages)
	})
	host := strings.TrimPrefix(s.URL, "http://")
	plain, hashed := options(s.URL), options(s.URL+"/v2")
	plain.UserAgent = "the-agent/1"
	hashed.Password, hashed.PasswordMD5 = "", strings.ToUpper(md5hex(testPassword))
	for name, o := range map[string]Options{"plain": plain, "hashed": hashed} {
		c := newClient(t, o)
		agent := "imagepurge"
		if o.UserAgent != "" {
			agent = o.UserAgent
		}
		header := http.Header{
			"Accept":        {"application/json"},
			"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(testUser+":"+md5hex(testPassword)))},
			"User-Agent":    {agent},
		}
		check := func(line string) {
			t.Helper()
			if diff := cmp.Diff(got, request{line + " HTTP/1.1 " + host, header, ""}); diff != "" {
				t.Errorf("%s: request (got, want):\n%s", name, diff)
			}
		}
		expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
		check("GET /v2/customers/7?embed=CUSTOMERIMAGE&source=INSTORE")
		expect(t, c.List(t.Context(), jobs.Customer{ID: 7, Source: "WE CHAT", AccountID: "a&b=1"}), jobs.ClassListed, 200, "")
		check("GET /v2/customers/7?embed=CUSTOMERIMAGE&source=WE+CHAT&accountId=a%26b%3D1")
		expect(t, c.Delete(t.Context(), permitFor(7, time.Now(), 2)), jobs.ClassDeleted, 200, "")
		check("DELETE /v2/customers/7/deleteImage?image_ids=2")
		expect(t, c.Delete(t.Context(), permitFor(7, time.Now(), 2, 1, 0)), jobs.ClassDeleted, 200, "")
		check("DELETE /v2/customers/7/deleteImage?image_ids=2&image_ids=1&image_ids=0")
	}
}

// Arguments that make no request never reach the wire.
func TestArgumentsThatMakeNoRequest(t *testing.T) {
	t.Parallel()
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") })
	c := newClient(t, options(s.URL))
	for _, customer := range []jobs.Customer{{ID: 0, Source: "INSTORE"}, {ID: -1, Source: "INSTORE"}, {ID: 7}} {
		expect(t, c.List(t.Context(), customer), jobs.ClassInvalid, 0, "invalid")
	}
	now := time.Now()
	for _, permit := range []*clearance.Clearance{
		nil, permitFor(7, now), permitFor(7, now, -1), permitFor(7, now, 1<<31), permitFor(7, now, 1, 1), permitFor(7, now, 0, 1), permitFor(0, now, 0),
	} {
		expect(t, c.Delete(t.Context(), permit), jobs.ClassNotSent, 0, "invalid")
	}
}

func TestSentAndAnswered(t *testing.T) {
	t.Parallel()
	k := newClock()
	began := k.Now()
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		k.set(func(now time.Time) time.Time { return now.Add(3 * time.Second) })
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	o := options(s.URL)
	o.Now = k.Now
	got := newClient(t, o).Delete(t.Context(), permitFor(7, began, 0))
	expect(t, got, jobs.ClassOverLimit, 429, "429")
	if !got.SentAt.Equal(began) || !got.AnsweredAt.Equal(began.Add(3*time.Second)) || got.RetryAfter != 5*time.Second {
		t.Errorf("sent %v, answered %v, retry after %v", got.SentAt.Sub(began), got.AnsweredAt.Sub(began), got.RetryAfter)
	}
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url   string
		allow bool
		want  string // the base, or a part of the error after "!"
	}{
		{"https://eu.api.capillarytech.com", false, "https://eu.api.capillarytech.com"},
		{"https://EU.api.capillarytech.com/", false, "https://eu.api.capillarytech.com"},
		{"https://api.capillarytech.cn.com/v2", false, "https://api.capillarytech.cn.com"},
		{"https://gateway.example:8443/v2/", false, "https://gateway.example:8443"},
		{"http://127.0.0.1:8080", false, "http://127.0.0.1:8080"},
		{"http://[::1]:8080/v2", false, "http://[::1]:8080"},
		{"http://localhost", false, "http://localhost"},
		{"http://10.0.0.1", true, "http://10.0.0.1"},
		{"http://10.0.0.1", false, "!loopback"},
		{"http://127.0.0.1.example", false, "!loopback"},
		{"http://us.api.capillarytech.com/v2", false, "!use https://us.api.capillarytech.com"},
		{"http://api.capillarytech.cn.com", false, "!use https://api.capillarytech.cn.com"},
		{"", false, "!https://"},
		{"eu.api.capillarytech.com", false, "!https://"},
		{"ftp://host", false, "!https://"},
		{"https://", false, "!no host"},
		{"https://user:hunter2@host", false, "!user information"},
		{"https://host?x=hunter2", false, "!query"},
		{"https://host?", false, "!query"},
		{"https://host#hunter2", false, "!fragment"},
		{"https://host/#", false, "!fragment"},
		{"https://host/v3", false, "!path"},
		{"https://host/v2/hunter2", false, "!path"},
		{"https://host:hunter2", false, "!can't be read"},
		{"https://user:hunter2%zz@host", false, "!can't be read"},
	} {
		u, err := parseBase(tt.url, tt.allow)
		part, bad := strings.CutPrefix(tt.want, "!")
		switch {
		case bad && (err == nil || !strings.Contains(err.Error(), part)):
			t.Errorf("%q: error %v, want one with %q", tt.url, err, part)
		case !bad && (err != nil || u.String() != tt.want):
			t.Errorf("%q: %v, %v, want %s", tt.url, u, err, tt.want)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%q: the error repeats it: %v", tt.url, err)
		}
	}
}

// Credentials are in no error, no answer, and in no way to print client or options.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"errors":[{"code":9999,"message":%q}]}`, r.Header.Get("Authorization"))
	})
	sum := md5hex(testPassword)
	secrets := []string{testUser, testPassword, sum, base64.StdEncoding.EncodeToString([]byte(testUser + ":" + sum))}
	var out bytes.Buffer
	good := options(s.URL)
	c := newClient(t, good)
	type holder struct {
		Options Options
		Client  *Client
		inside  *Client
		creds   credentials
	}
	held := holder{good, c, c, c.auth.Load().fixed}
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	texts := slog.New(slog.NewTextHandler(&out, nil))
	for _, v := range []any{good, &good, c, *c, held, &held, c.auth.Load().fixed, []any{good, c}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		logger.Info("printed", "v", v)
		texts.Info("printed", "v", v)
		b, err := json.Marshal(v)
		fmt.Fprintln(&out, string(b), err)
	}
	for _, spoil := range []func(*Options){
		func(o *Options) { o.Username = "" },
		func(o *Options) { o.Username += ":" },
		func(o *Options) { o.Username += "\n" },
		func(o *Options) { o.Password = "" },
		func(o *Options) { o.PasswordMD5 = sum },
		func(o *Options) { o.Password, o.PasswordMD5 = "", sum+"0" },
		func(o *Options) { o.Password, o.PasswordMD5 = "", testPassword },
		func(o *Options) { o.Password, o.PasswordMD5 = "", sum[:31]+"g" },
		func(o *Options) { o.RequestTimeout = 99 * time.Millisecond },
		func(o *Options) { o.MaxIdleConns = -1 },
		func(o *Options) { o.MaxBodyBytes = -1 },
		func(o *Options) { o.MaxBodyBytes = 1 << 40 },
		func(o *Options) { o.UserAgent = "a\r\nb: c" },
		func(o *Options) { o.Now = nil },
		func(o *Options) { o.BaseURL = "https://" + testUser + ":" + testPassword + "@host" },
		func(o *Options) { o.BaseURL = "https://" + testUser + ":" + testPassword + "%zz@host" },
	} {
		o := good
		spoil(&o)
		_, err := New(o)
		if err == nil {
			t.Errorf("no error for %d", out.Len())
		}
		fmt.Fprintln(&out, err)
	}
	listed, deleted := c.List(t.Context(), customer(7)), c.Delete(t.Context(), permit(7))
	expect(t, listed, jobs.ClassRefused, 401, "401")
	expect(t, deleted, jobs.ClassRefused, 401, "9999")
	fmt.Fprintf(&out, "%+v %+v\n", listed, deleted)
	for _, secret := range secrets {
		if at := strings.Index(strings.ToLower(out.String()), strings.ToLower(secret)); at >= 0 {
			t.Errorf("%q was printed: …%s", secret, out.String()[max(0, at-80):at])
		}
	}
	if !strings.Contains(out.String(), "capillary client of "+s.URL) {
		t.Error("the client doesn't print its API")
	}
}

// One TLS connection serves many calls, HTTP/1.1 only, though the server would
// rather speak HTTP/2.
func TestKeepAliveOverTLSWithoutHTTP2(t *testing.T) {
	t.Parallel()
	remotes := map[string]int{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		remotes[r.RemoteAddr]++
		if r.ProtoMajor != 1 || r.TLS.NegotiatedProtocol == "h2" || r.TLS.Version < 0x0303 {
			t.Errorf("%s over %q", r.Proto, r.TLS.NegotiatedProtocol)
		}
		if r.Method == http.MethodDelete {
			fmt.Fprint(w, success)
			return
		}
		fmt.Fprint(w, noImages)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	o := options(s.URL)
	o.RootCAs = x509.NewCertPool()
	o.RootCAs.AddCert(s.Certificate())
	c := newClient(t, o)
	for range 5 {
		expect(t, c.List(t.Context(), customer(7)), jobs.ClassListed, 200, "")
		expect(t, c.Delete(t.Context(), permit(7)), jobs.ClassDeleted, 200, "")
	}
	if len(remotes) != 1 {
		t.Errorf("10 calls over %d connections, want 1", len(remotes))
	}
}
