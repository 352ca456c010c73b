package sandbox_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// A token is taken until its life is over, or until it is revoked.
func TestTokensEnd(t *testing.T) {
	t.Parallel()
	now := time.Now()
	api := sandbox.New(sandbox.Options{Population: sandbox.Populate(1, 3, sandbox.PopulateOptions{}), TokenTTL: time.Minute, Now: func() time.Time { return now }})
	t.Cleanup(api.Close)
	ear, err := api.Listen("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ear.Close() })
	do := func(r *http.Request) (status int, body []byte) {
		t.Helper()
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var b bytes.Buffer
		_, _ = b.ReadFrom(response.Body)
		return response.StatusCode, b.Bytes()
	}
	post := func(path, body string) (int, []byte) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ear.URL+path, bytes.NewBufferString(body))
		if err != nil {
			t.Fatal(err)
		}
		return do(r)
	}
	fetch := func() string {
		t.Helper()
		var in struct {
			Data struct {
				AccessToken string
				TTLSeconds  int
			}
		}
		status, body := post("/v3/oauth/token/generate", `{"key":"example-key","secret":"example-secret"}`)
		if err := json.Unmarshal(body, &in); err != nil || status != 200 || in.Data.TTLSeconds != 60 {
			t.Fatalf("%d %s %v", status, body, err)
		}
		return in.Data.AccessToken
	}
	list := func(token string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ear.URL+"/v2/customers/700000001?embed=CUSTOMERIMAGE&source=INSTORE", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-CAP-API-OAUTH-TOKEN", token)
		status, _ := do(r)
		return status
	}
	first := fetch()
	if status := list(first); status != 200 {
		t.Errorf("a new token: %d", status)
	}
	now = now.Add(time.Minute)
	if status := list(first); status != 401 {
		t.Errorf("after its life: %d", status)
	}
	second := fetch()
	if status, body := post("/sandbox/tokens/revoke", ""); status != 200 || string(bytes.TrimSpace(body)) != `{"revoked":2}` {
		t.Errorf("%d %s", status, body)
	}
	if status := list(second); status != 401 {
		t.Errorf("a revoked token: %d", status)
	}
	if status, _ := post("/v3/oauth/token/generate", `{"key":"example-key","secret":"x"}`); status != 401 {
		t.Errorf("a wrong secret: %d", status)
	}
}
