package capillary

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/jobs"
)

func seed(f *testing.F) {
	names, err := filepath.Glob("testdata/fixtures/*.json")
	if err != nil || len(names) == 0 {
		f.Fatalf("no fixtures: %v", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(200, b)
		f.Add(404, b)
	}
	for _, s := range []string{"", "{}", "null", `{"data":[{"code":"200","status":true}]}`, `{"id":7,"customerImage":[{"file":{"s3Token":"a\u0062"}}]}`, `{"data":[{"errors":[{"code":521}]}]}`, noImages, noImageThere} {
		f.Add(200, []byte(s))
	}
}

// Property: a body is "listed" only if encoding/json sees the same tokens in
// it, in the same order and each once; other classes hold no image.
func FuzzDecodeListing(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		got := classifyListing(status, body, 7)
		if got.sentence() == "" {
			t.Errorf("%s %q has no sentence", got.class, got.code)
		}
		switch got.class {
		case jobs.ClassListed:
		case jobs.ClassDeleted, jobs.ClassNotSent, jobs.ClassNoImage:
			t.Errorf("a listing can't be %s", got.class)
		default:
			if len(got.images) > 0 {
				t.Errorf("%s with images", got.class)
			}
			return
		}
		if status != 200 && status != 201 {
			t.Errorf("listed under %d", status)
		}
		var seen struct {
			CustomerImage []struct{ File struct{ S3Token string } }
		}
		if err := json.Unmarshal(body, &seen); err != nil {
			t.Fatalf("listed, but %v", err)
		}
		var want []jobs.Key
		unique := map[jobs.Key]bool{}
		for _, entry := range seen.CustomerImage {
			key := jobs.KeyOf(entry.File.S3Token)
			if unique[key] || entry.File.S3Token == "" {
				t.Errorf("listed with a token that is twice or missing")
			}
			unique[key] = true
			want = append(want, key)
		}
		if diff := cmp.Diff(got.images, want); diff != "" {
			t.Errorf("images (got, encoding/json):\n%s", diff)
		}
	})
}

// Property: "deleted" only where encoding/json sees one entry in data, of code
// 200 and status true, and no remark anywhere else; and a class that says "did
// not run" only where no entry says that it did.
func FuzzDecodeDelete(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		got := classifyDelete(status, body, 1)
		if got.sentence() == "" {
			t.Errorf("%s %q has no sentence", got.class, got.code)
		}
		var seen struct {
			Data             []map[string]any
			Errors, Warnings []any
		}
		err := json.Unmarshal(body, &seen)
		isTrue := func(v any) bool {
			s, _ := v.(string)
			return v == true || strings.EqualFold(strings.TrimSpace(s), "true")
		}
		is200 := func(v any) bool {
			s, _ := v.(string)
			return v == 200.0 || strings.TrimSpace(s) == "200"
		}
		switch got.class {
		case jobs.ClassListed, jobs.ClassNotSent:
			t.Errorf("a delete's answer can't be %s", got.class)
		case jobs.ClassDeleted:
			if status != 200 && status != 201 || err != nil || len(seen.Errors)+len(seen.Warnings) > 0 {
				t.Fatalf("deleted by %d %q (%v)", status, body, err)
			}
			n := 0
			for _, entry := range seen.Data {
				if _, coded := entry["code"]; coded {
					n++
					if !is200(entry["code"]) || !isTrue(entry["status"]) {
						t.Errorf("deleted by the entry %v", entry)
					}
				}
			}
			if n != 1 {
				t.Errorf("deleted by %d entries", n)
			}
		case jobs.ClassUnknown, jobs.ClassUnexpected:
		default:
			for _, entry := range seen.Data {
				if err == nil && entry["code"] == 200.0 && entry["status"] == "true" && json.Valid(body) && strings.Count(string(body), "code") == 1 && strings.Count(strings.ToLower(string(body)), "data") == 1 && len(entry) == 2 && len(seen.Errors)+len(seen.Warnings) == 0 && status < 300 {
					t.Errorf("%s beside a success: %q", got.class, body)
				}
			}
		}
	})
}

// Property: between nothing and the cap, whatever the headers hold.
func FuzzRetryAfter(f *testing.F) {
	for _, v := range []string{"", "0", "7", "-7", "1.5", "99999999999999999999", "Wed, 21 Oct 2026 07:28:00 GMT", "Wednesday, 21-Oct-26 07:28:00 GMT", "soon", " 12 "} {
		f.Add(v, "Wed, 21 Oct 2026 07:27:00 GMT")
		f.Add(v, "")
	}
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value, date string) {
		if got := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, now); got < 0 || got > maxRetryAfter {
			t.Errorf("%q at %q: %v", value, date, got)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 21, 7, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, value, date string
		want              time.Duration
	}{
		{"absent", "", "", 0},
		{"seconds", "7", "", 7 * time.Second},
		{"spaces", " 7 ", "", 7 * time.Second},
		{"zero", "0", "", 0},
		{"negative", "-7", "", 0},
		{"fraction", "1.5", "", 0},
		{"words", "soon", "", 0},
		{"beyond the cap", "3601", "", time.Hour},
		{"beyond any number", strings.Repeat("9", 400), "", time.Hour},
		{"date by the answer's Date", "Wed, 21 Oct 2026 09:28:00 GMT", "Wed, 21 Oct 2026 09:27:30 GMT", 30 * time.Second},
		{"date without a Date", "Wed, 21 Oct 2026 07:00:09 GMT", "", 9 * time.Second},
		{"date with a broken Date", "Wed, 21 Oct 2026 07:00:09 GMT", "yesterday", 9 * time.Second},
		{"date in the past", "Wed, 21 Oct 2026 06:00:00 GMT", "", 0},
		{"date next year", "Thu, 21 Oct 2027 06:00:00 GMT", "", time.Hour},
		{"old form", "Wednesday, 21-Oct-26 07:00:05 GMT", "", 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := retryAfter(http.Header{"Retry-After": {tt.value}, "Date": {tt.date}}, now); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func BenchmarkDecodeListing(b *testing.B) {
	body := []byte(fixture(b, "get-two-images.json"))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if got := classifyListing(200, body, 700000001); len(got.images) != 2 {
			b.Fatal(got)
		}
	}
}

func BenchmarkDecodeDelete(b *testing.B) {
	body := []byte(success)
	b.ReportAllocs()
	for b.Loop() {
		if got := classifyDelete(200, body, 1); got.class != jobs.ClassDeleted {
			b.Fatal(got)
		}
	}
}
