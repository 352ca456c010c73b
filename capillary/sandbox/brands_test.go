package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

// A key sees its own customers, whose tokens name its own organisation.
func TestBrandsBehindOneAddress(t *testing.T) {
	t.Parallel()
	var servers []*sandbox.Server
	key := func(i int) sandbox.Key {
		return sandbox.Key{Username: fmt.Sprintf("till%d", i), Password: "p", OAuthKey: fmt.Sprintf("key%d", i), OAuthSecret: "s"}
	}
	for i := range 2 {
		api := sandbox.New(sandbox.Options{
			Keys: []sandbox.Key{key(i)},
			Population: sandbox.Populate(1, 1, sandbox.PopulateOptions{
				FirstID: int64(100 + i), Org: int64(7000 + i), Images: [6]float64{0, 1},
			}),
		})
		t.Cleanup(api.Close)
		servers = append(servers, api)
	}
	ear, err := sandbox.NewBrands(servers[0], servers[1]).Listen("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ear.Close() })
	do := func(method, path, body string, sign func(*http.Request)) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, ear.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		sign(r)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(response.Body); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, b.String()
	}
	nobody := func(*http.Request) {}
	for i := range 2 {
		var in struct{ Data struct{ AccessToken string } }
		_, body := do(http.MethodPost, "/v3/oauth/token/generate", fmt.Sprintf(`{"key":"key%d","secret":"s"}`, i), nobody)
		if err := json.Unmarshal([]byte(body), &in); err != nil || in.Data.AccessToken == "" {
			t.Fatalf("brand %d gets no token: %s", i, body)
		}
		for name, sign := range map[string]func(*http.Request){
			"basic": func(r *http.Request) { r.SetBasicAuth(key(i).Username, key(i).BasicPassword()) },
			"oauth": func(r *http.Request) { r.Header.Set("X-CAP-API-OAUTH-TOKEN", in.Data.AccessToken) },
		} {
			list := func(id int) (int, string) {
				return do(http.MethodGet, fmt.Sprintf("/v2/customers/%d?embed=CUSTOMERIMAGE&source=INSTORE", id), "", sign)
			}
			if _, own := list(100 + i); !strings.Contains(own, fmt.Sprintf("customerImage/%d/", 7000+i)) {
				t.Errorf("brand %d, %s: its own customer: %s", i, name, own)
			}
			if _, theirs := list(101 - i); !strings.Contains(theirs, "8015") || strings.Contains(theirs, "customerImage/") {
				t.Errorf("brand %d, %s: another's customer: %s", i, name, theirs)
			}
		}
	}
	if status, _ := do(http.MethodPost, "/v3/oauth/token/generate", `{"key":"key1","secret":"x"}`, nobody); status != 401 {
		t.Errorf("a wrong secret: %d", status)
	}
	if status, _ := do(http.MethodGet, "/v2/customers/100?source=INSTORE", "", nobody); status != 401 {
		t.Errorf("no credentials: %d", status)
	}
}
