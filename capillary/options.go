package capillary

import (
	"context"
	"crypto/md5"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	minRequestTimeout   = 100 * time.Millisecond
	defaultMaxBodyBytes = 8 << 20
	defaultMaxIdleConns = 64
	defaultUserAgent    = "imagepurge"
)

// Options say which API a [Client] calls, as whom, and within which bounds.
type Options struct {
	// BaseURL is scheme and host; it may end in "/" or "/v2".
	BaseURL string
	// Username is the till's; exactly one of Password and PasswordMD5 goes with
	// it. The API wants the MD5 of the password in hex, so some users hold no more.
	Username    string `json:"-"`
	Password    string `json:"-"`
	PasswordMD5 string `json:"-"`
	// OAuthKey and OAuthSecret stand instead of the three above. AttributionType
	// and AttributionCode name the till on whose behalf calls run; both or neither.
	OAuthKey        string `json:"-"`
	OAuthSecret     string `json:"-"`
	AttributionType string
	AttributionCode string
	// RequestTimeout covers one call from the dial to the body's last byte.
	RequestTimeout time.Duration
	// AllowPlainHTTP permits http:// for hosts that aren't loopback.
	AllowPlainHTTP bool
	UserAgent      string // default "imagepurge"
	MaxIdleConns   int    // default 64
	MaxBodyBytes   int64  // default 8 MiB; a longer body is cut off, and unreadable
	// Now is the clock a clearance is checked against. Its times must carry a
	// monotonic reading, as time.Now's do.
	Now func() time.Time
	// RootCAs replaces the system's roots.
	RootCAs *x509.CertPool
	// DialContext replaces the dial of the TCP connection. TLS goes on top of it.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// withheld stands where a credential would be printed.
const withheld = "capillary.Options{withheld}"

// String withholds everything, as do all other ways to print Options: the
// password is a field, and the base URL may hold one by mistake.
func (Options) String() string { return withheld }

// GoString is for %#v.
func (Options) GoString() string { return withheld }

// Format is for every other verb.
func (Options) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, withheld) }

// LogValue is for slog.
func (Options) LogValue() slog.Value { return slog.StringValue(withheld) }

// credentials put themselves on a request. A func, so that no printer, differ
// or dumper that walks fields by reflection finds a string in it.
type credentials func(*http.Request)

func (credentials) String() string             { return "withheld" }
func (credentials) GoString() string           { return "withheld" }
func (credentials) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "withheld") }
func (credentials) LogValue() slog.Value       { return slog.StringValue("withheld") }

// basic makes the API's form of Basic: the password's MD5 in hex stands where
// the password would. No error repeats a value.
func (o Options) basic() (credentials, error) {
	switch {
	case o.Username == "":
		return nil, errors.New("no username")
	case strings.ContainsFunc(o.Username, func(r rune) bool { return r == ':' || r < ' ' || r == 0x7f }):
		return nil, errors.New("the username holds a colon or a control character, which Basic authentication can't carry")
	case (o.Password == "") == (o.PasswordMD5 == ""):
		return nil, errors.New("exactly one of password and password MD5 is needed")
	}
	sum := strings.ToLower(o.PasswordMD5)
	if o.Password != "" {
		digest := md5.Sum([]byte(o.Password))
		sum = hex.EncodeToString(digest[:])
	} else if raw, err := hex.DecodeString(sum); err != nil || len(raw) != md5.Size {
		return nil, errors.New("the password MD5 is not 32 hex digits")
	}
	header := "Basic " + base64.StdEncoding.EncodeToString([]byte(o.Username+":"+sum))
	return func(r *http.Request) { r.Header.Set("Authorization", header) }, nil
}

// parseBase reads a base URL into scheme and host. Its errors repeat scheme and
// host at most: what else stands in a wrong URL may be a password.
func parseBase(raw string, allowPlain bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("base URL can't be read; its form is https://HOST")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("base URL must begin with https://")
	case u.Hostname() == "":
		return nil, errors.New("base URL names no host; its form is https://HOST")
	case u.User != nil:
		return nil, errors.New("base URL holds user information; username and password have settings of their own")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, errors.New("base URL holds a query or a fragment; its form is https://HOST")
	}
	switch u.EscapedPath() {
	case "", "/", "/v2", "/v2/":
	default:
		return nil, errors.New("base URL holds a path; its form is https://HOST, or https://HOST/v2")
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "http" && !allowPlain && !loopback(u.Hostname()) {
		if ofCapillary(u.Hostname()) {
			return nil, fmt.Errorf("base URL would send the password unencrypted; use https://%s", strings.ToLower(u.Hostname()))
		}
		return nil, fmt.Errorf("base URL http://%s would send the password unencrypted; plain http is for loopback addresses unless it is allowed expressly", host)
	}
	return &url.URL{Scheme: u.Scheme, Host: host}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// ofCapillary knows the API's own hosts, of all clusters.
func ofCapillary(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	for _, domain := range []string{"capillarytech.com", "capillarytech.cn.com"} {
		if host == domain || strings.HasSuffix(host, "."+domain) {
			return true
		}
	}
	return false
}
