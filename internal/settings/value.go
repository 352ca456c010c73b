package settings

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// setter is a Key's set.
type setter = func(d draft, value string) string

// quote shows a value that is no secret, the start of it if it is long.
func quote(value string) string {
	const most = 60
	if runes := []rune(value); len(runes) > most {
		return strconv.Quote(string(runes[:most])) + "…"
	}
	return strconv.Quote(value)
}

func text(field func(draft) *string) setter {
	return func(d draft, value string) string {
		if strings.ContainsFunc(value, unicode.IsControl) {
			return quote(value) + " holds a control character"
		}
		*field(d) = value
		return ""
	}
}

func secret(field func(draft) *string) setter {
	return func(d draft, value string) string {
		*field(d) = value
		return ""
	}
}

var connection = regexp.MustCompile(`^(postgres(ql)?://|[a-z_]+\s*=)`)

// postgres takes both forms of a connection string; the driver reads the rest.
func postgres(field func(draft) *string) setter {
	return func(d draft, value string) string {
		value = strings.TrimSpace(value)
		if !connection.MatchString(value) {
			return "does not begin with postgres://"
		}
		*field(d) = value
		return ""
	}
}

func number(field func(draft) *int, least, most int) setter {
	return func(d draft, value string) string {
		n, err := strconv.Atoi(value)
		switch {
		case err != nil:
			return quote(value) + " is not a whole number in these bounds"
		case n < least:
			return fmt.Sprintf("%d is below %d", n, least)
		case n > most:
			return fmt.Sprintf("%d is above %d", n, most)
		}
		*field(d) = n
		return ""
	}
}

var bareNumber = regexp.MustCompile(`^[0-9]+$`)

func duration(field func(draft) *time.Duration, least, most time.Duration) setter {
	return func(d draft, value string) string {
		v, err := time.ParseDuration(value)
		switch {
		case bareNumber.MatchString(value) && strings.Trim(value, "0") != "":
			return fmt.Sprintf("%s has no unit; for seconds it is %ss", quote(value), value)
		case err != nil:
			return quote(value) + " is not a duration (its units are ms, s, m and h)"
		case v < least && least == 1:
			return quote(value) + " is not above 0"
		case v < least:
			return fmt.Sprintf("%s is below %s", value, short(least))
		case v > most:
			return fmt.Sprintf("%s is above %s", value, short(most))
		}
		*field(d) = v
		return ""
	}
}

// short writes a duration as a person would: 2m, not 2m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func word[W ~string](field func(draft) *W, parse func(string) (W, error)) setter {
	return func(d draft, value string) string {
		w, err := parse(value)
		if err != nil {
			return quote(value) + " is not known"
		}
		*field(d) = w
		return ""
	}
}

func oneOf(field func(draft) *string, known ...string) setter {
	return func(d draft, value string) string {
		if !slices.Contains(known, value) {
			return quote(value) + " is not known"
		}
		*field(d) = value
		return ""
	}
}

func boolean(field func(draft) *bool) setter {
	return func(d draft, value string) string {
		switch value {
		case "true", "1":
			*field(d) = true
		case "false", "0":
			*field(d) = false
		default:
			return quote(value) + " is neither true nor false"
		}
		return ""
	}
}

func address(field func(draft) *string) setter {
	return func(d draft, value string) string {
		if bareNumber.MatchString(value) {
			return fmt.Sprintf("%s is a port alone; on this machine only it is 127.0.0.1:%s, on every network :%s", quote(value), value, value)
		}
		_, port, err := net.SplitHostPort(value)
		if err != nil {
			return quote(value) + " is not an address with a port"
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return quote(value) + " has no port from 0 to 65535"
		}
		*field(d) = value
		return ""
	}
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)

func setName(d draft, value string) string {
	if !validName.MatchString(value) {
		return quote(value) + " is not such a name"
	}
	d.org.Name = value
	return ""
}

// setUsername refuses what Basic authentication can't carry.
func setUsername(d draft, value string) string {
	if strings.ContainsFunc(value, func(r rune) bool { return r == ':' || unicode.IsControl(r) }) {
		return "holds a colon or a control character, which Basic authentication can't carry"
	}
	d.org.Username = value
	return ""
}

// header is for what goes out in a line of its own: a control character in it
// would end the line. What it says repeats nothing, for it may be a secret.
func header(cant string, field func(draft) *string) setter {
	return func(d draft, value string) string {
		if strings.ContainsFunc(value, unicode.IsControl) {
			return "holds a control character, which " + cant
		}
		*field(d) = strings.TrimSpace(value)
		return ""
	}
}

func setMD5(d draft, value string) string {
	value = strings.TrimSpace(value)
	if raw, err := hex.DecodeString(value); err != nil || len(raw) != 16 {
		return "is not 32 hex digits"
	}
	d.org.PasswordMD5 = value
	return ""
}

func setShare(d draft, value string) string {
	digits, percent := strings.CutSuffix(value, "%")
	n, err := strconv.Atoi(strings.TrimSpace(digits))
	switch {
	case err != nil:
		return quote(value) + " is not a percentage in whole numbers"
	case !percent:
		return quote(value) + " has no percent sign"
	case n < 1 || n > 100:
		return quote(value) + " is not from 1% to 100%"
	}
	d.org.RateShare = float64(n) / 100
	return ""
}

func setSource(d draft, value string) string {
	if strings.ContainsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return quote(value) + " holds a space"
	}
	d.org.Source = value
	return ""
}

// setWindow leaves all but the unit to the package schedule.
func setWindow(d draft, value string) string {
	if bareNumber.MatchString(value) {
		return fmt.Sprintf("%s has no unit; for hours it is %sh", quote(value), value)
	}
	d.plan.window = value
	return ""
}

// setBaseURL names the setting for what the client would refuse later. It
// repeats the host at most: a wrong URL may hold a password.
func setBaseURL(d draft, value string) string {
	u, err := url.Parse(value)
	switch {
	case err != nil:
		return "can't be read as a URL"
	case u.Scheme != "https" && u.Scheme != "http":
		return "does not begin with https://"
	case u.Hostname() == "":
		return "names no host"
	case u.User != nil:
		return "holds a user name or a password, which have settings of their own"
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(value, "#"):
		return "holds a query or a fragment"
	case !slices.Contains([]string{"", "/", "/v2", "/v2/"}, u.EscapedPath()):
		return "holds a path other than /v2"
	case u.Scheme == "http" && !d.AllowPlainHTTP && !loopback(u.Hostname()):
		host := strings.ToLower(u.Hostname())
		if ofCapillary(host) {
			return fmt.Sprintf("http://%s would send the password unencrypted; it is https://%s", host, host)
		}
		return fmt.Sprintf("http://%s would send the password unencrypted, which is for loopback addresses only, unless --allow-plain-http or IMAGEPURGE_ALLOW_PLAIN_HTTP=true is given", host)
	}
	d.org.BaseURL = value
	return ""
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// ofCapillary knows the API's own hosts, of all clusters.
func ofCapillary(host string) bool {
	host = strings.TrimSuffix(host, ".")
	return slices.ContainsFunc([]string{"capillarytech.com", "capillarytech.cn.com"}, func(domain string) bool {
		return host == domain || strings.HasSuffix(host, "."+domain)
	})
}
