package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imagepurge/imagepurge/capillary/sandbox"
)

func TestDeleteIsByPositionAndPositionsShift(t *testing.T) {
	t.Parallel()
	w := withImages(t, 4, sandbox.Options{})
	for _, step := range []struct {
		index int
		left  []string
	}{
		{1, tokens(id, 0, 2, 3)},
		{1, tokens(id, 0, 3)}, // the same call again: another image
		{0, tokens(id, 3)},
		{0, tokens(id)},
	} {
		a := w.delete(id, step.index)
		if a.status != 200 || !cmp.Equal(a.codes("data"), []int{200}) {
			t.Fatalf("delete %d: status %d, body %s", step.index, a.status, a.raw)
		}
		if diff := cmp.Diff(w.list(id).listed(t), step.left); diff != "" {
			t.Fatalf("listing after delete %d (-got +want):\n%s", step.index, diff)
		}
	}
	want := []sandbox.Removal{{Token: token(id, 1), Position: 1}, {Token: token(id, 2), Position: 1},
		{Token: token(id, 0), Position: 0}, {Token: token(id, 3), Position: 0}}
	var got []sandbox.Removal
	for _, d := range w.srv.Judge().Deleted(id) {
		got = append(got, d.Removal)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("journal (-got +want):\n%s", diff)
	}
}

func TestDeleteWhereNoImageIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	seen := map[string]bool{}
	for i := range int64(40) {
		w.put(id+i, 1)
		a := w.delete(id+i, 1)
		if len(a.codes("data")) != 0 {
			t.Fatalf("success beside 8078: %s", a.raw)
		}
		for _, part := range []string{"warnings", "errors"} {
			if cmp.Equal(a.codes(part), []int{8078}) {
				seen[part] = true
			}
		}
		seen[fmt.Sprint(a.status)] = true
		e := w.lastEntry()
		if e.Code != 8078 || !e.Executed || len(e.Removed) != 0 || e.Before != 1 || e.After != 1 {
			t.Fatalf("entry %+v", e)
		}
	}
	for _, want := range []string{"warnings", "errors", "200", "400"} {
		if !seen[want] {
			t.Errorf("no 8078 with %s among 40 customers: %v", want, seen)
		}
	}
	if a := w.do("DELETE", fmt.Sprintf("/v2/customers/%d/deleteImage", id), nil); !strings.Contains(string(a.raw), "8078") {
		t.Errorf("no index at all: %d %s", a.status, a.raw)
	}
}

func TestSeveralIndexes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		rule   sandbox.MultiIndex
		sent   []int
		left   []string
		data   int
		status int
	}{
		{"highest first", sandbox.HighestFirst, []int{2, 0}, tokens(id, 1, 3), 2, 200},
		{"highest first, sent ascending", sandbox.HighestFirst, []int{0, 2}, tokens(id, 1, 3), 2, 200},
		{"highest first, doubled", sandbox.HighestFirst, []int{0, 0}, tokens(id, 1, 2, 3), 1, 200},
		{"ascending shifts", sandbox.AscendingShifting, []int{2, 0}, tokens(id, 1, 2), 2, 200},
		{"ascending, doubled", sandbox.AscendingShifting, []int{0, 0}, tokens(id, 2, 3), 2, 200},
		{"ascending, all: half is missed", sandbox.AscendingShifting, []int{3, 2, 1, 0}, tokens(id, 1, 3), 2, 201},
		{"highest first, all", sandbox.HighestFirst, []int{3, 2, 1, 0}, tokens(id), 4, 200},
		{"one is beyond the end", sandbox.HighestFirst, []int{9, 0}, tokens(id, 1, 2, 3), 1, 201},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := withImages(t, 4, sandbox.Options{MultiIndex: c.rule})
			a := w.delete(id, c.sent...)
			if a.status != c.status || len(a.codes("data")) != c.data {
				t.Errorf("status %d, body %s", a.status, a.raw)
			}
			if (c.status == 201) != strings.Contains(string(a.raw), "8078") {
				t.Errorf("8078 and status %d do not go together: %s", c.status, a.raw)
			}
			if diff := cmp.Diff(w.truth(id), c.left); diff != "" {
				t.Errorf("images left (-got +want):\n%s", diff)
			}
		})
	}
}

func TestRequestsThatAreTurnedDown(t *testing.T) {
	t.Parallel()
	w := withImages(t, 2, sandbox.Options{})
	base := fmt.Sprintf("/v2/customers/%d", id)
	for _, c := range []struct {
		method, path, contentType string
		status                    int
	}{
		{"DELETE", base + "/deleteImage?image_ids=x", "", 400},
		{"DELETE", base + "/deleteImage?image_ids=", "", 400},
		{"DELETE", base + "/deleteImage?image_ids=1,0", "", 400},
		{"DELETE", base + "/deleteImage?image_ids=0.0", "", 400},
		{"DELETE", base + "/deleteImage?image_ids=0&image_ids=x", "", 400},
		{"DELETE", base + "/deleteImage?image_ids=4294967296", "", 400},
		{"DELETE", "/v2/customers/abc/deleteImage?image_ids=0", "", 400},
		{"DELETE", base + "/deleteImage?image_ids=0", "application/json", 415},
		{"POST", base + "/setImage", "application/json", 415},
		{"GET", base + "/deleteImage?image_ids=0", "", 405},
		{"POST", base + "/deleteImage?image_ids=0", "", 405},
		{"DELETE", base + "?image_ids=0", "", 405},
		{"GET", base + "/setImage?source=INSTORE", "", 405},
		{"GET", "/v3/oauth/token/generate", "", 405},
		{"DELETE", base + "/deleteImages?image_ids=0", "", 404},
		{"DELETE", base + "/deleteImage/?image_ids=0", "", 404},
		{"GET", "/v1/customers/1", "", 404},
		{"GET", "/", "", 404},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			a := w.do(c.method, c.path, nil, func(r *http.Request) {
				if c.contentType != "" {
					r.Header.Set("Content-Type", c.contentType)
				}
			})
			if a.status != c.status {
				t.Errorf("status %d, want %d", a.status, c.status)
			}
			if e := w.lastEntry(); e.Status != c.status || e.Executed || e.Ordinal != 0 {
				t.Errorf("entry %+v", e)
			}
		})
	}
	if diff := cmp.Diff(w.truth(id), tokens(id, 0, 1)); diff != "" {
		t.Errorf("images (-got +want):\n%s", diff)
	}
}

func TestListingNeedsSourceAndEmbed(t *testing.T) {
	t.Parallel()
	w := withImages(t, 2, sandbox.Options{})
	if a := w.do("GET", fmt.Sprintf("/v2/customers/%d?embed=CUSTOMERIMAGE", id), nil); !cmp.Equal(a.codes("errors"), []int{8016}) {
		t.Errorf("without source: %d %s", a.status, a.raw)
	}
	a := w.do("GET", fmt.Sprintf("/v2/customers/%d?source=INSTORE&accountId=1", id), nil)
	if _, there := a.body["customerImage"]; a.status != 200 || there {
		t.Errorf("without embed: %d %s", a.status, a.raw)
	}
}

// shape is a JSON value's types with everything else taken away.
func shape(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = shape(x)
		}
		return out
	case []any:
		out := []any{}
		for _, x := range v {
			out = append(out, shape(x))
		}
		return out
	default:
		return fmt.Sprintf("%T", v)
	}
}

func fixture(t testing.TB, name string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestShapesAreThoseOfTheFixtures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{Population: sandbox.Populate(1, 0, sandbox.PopulateOptions{})})
	second := image(id, 1)
	second.Size, second.Version = 0, -1 // as in the fixture
	for _, c := range []sandbox.Customer{
		{ID: id, Images: []sandbox.Image{image(id, 0), second}},
		{ID: id + 1, Standing: sandbox.Erased},
	} {
		if err := w.srv.Model().Put(c); err != nil {
			t.Fatal(err)
		}
	}
	check := func(name string, a answer) {
		t.Helper()
		if diff := cmp.Diff(shape(a.body), shape(fixture(t, name))); diff != "" {
			t.Errorf("%s (-got +want):\n%s\nbody %s", name, diff, a.raw)
		}
	}
	check("get-two-images", w.list(id))
	check("delete-success", w.delete(id, 0))
	check("customer-pii-deleted", w.list(id+1))
	check("customer-pii-deleted", w.delete(id+1, 0))
	w.srv.Script(id, []sandbox.Fault{sandbox.FaultBusy})
	check("busy-customer", w.delete(id, 0))
	check("token", w.do("POST", "/v3/oauth/token/generate", strings.NewReader(
		`{"key":"example-key","secret":"example-secret"}`)))

	// Those that come in several shapes: the fixture's must be among them.
	among := func(name string, ask func(id int64) answer) {
		t.Helper()
		want, seen := shape(fixture(t, name)), []any{}
		for i := range int64(60) {
			w.put(id+100+i, 0)
			got := shape(ask(id + 100 + i).body)
			if cmp.Equal(got, want) {
				return
			}
			seen = append(seen, got)
		}
		t.Errorf("%s is not among 60 customers' answers, e.g. %v", name, seen[:3])
	}
	among("get-no-images", w.list)
	among("delete-no-image-warning", func(id int64) answer { return w.delete(id, 0) })
	among("customer-not-found", func(id int64) answer { return w.list(id + 1000) })
	among("delete-status-false", func(id int64) answer {
		w.srv.Script(id, []sandbox.Fault{sandbox.Fault8080NotRun})
		return w.delete(id, 0)
	})
}

func TestNoImagesAreShownInFourWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	seen := map[string]int{}
	for i := range int64(60) {
		w.put(id+i, 0)
		a := w.list(id + i)
		v, there := a.body["customerImage"]
		_, full := a.body["loyaltyInfo"]
		how := fmt.Sprintf("%v %v full %v", there, v, full)
		seen[how]++
		if again := w.list(id + i).body; !cmp.Equal(again, a.body) {
			t.Fatalf("the same customer is shown in two ways: %v, %v", a.body, again)
		}
	}
	for _, want := range []string{"true [] full false", "true [] full true", "true <nil> full true", "false <nil> full true"} {
		if seen[want] == 0 {
			t.Errorf("never %q: %v", want, seen)
		}
	}
}

func TestListingIsTheWholeProfile(t *testing.T) {
	t.Parallel()
	w := withImages(t, 1, sandbox.Options{})
	a := w.list(id)
	for _, part := range []string{"@example.invalid", "firstName", "lifetimePurchases", "X-Amz-Signature="} {
		if !strings.Contains(string(a.raw), part) {
			t.Errorf("no %s in %s", part, a.raw)
		}
	}
	file := a.body["customerImage"].([]any)[0].(map[string]any)["file"]
	want := map[string]any{
		"acl": "PRIVATE", "fileSize": "20480", "fileHandle": "handle-0", "lastModified": "2026-04-30 12:25:56",
		"latestVersion": 1.0, "name": "100001/700000001/0", "namespace": "customerImage", "s3Token": token(id, 0), "version": 1.0,
	}
	if diff := cmp.Diff(file, any(want)); diff != "" {
		t.Errorf("file (-got +want):\n%s", diff)
	}
}

func TestStandings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandbox.Options{})
	merged := sandbox.Customer{ID: id, Standing: sandbox.Merged, Owner: id + 5, Images: []sandbox.Image{image(id+5, 0)}}
	if err := w.srv.Model().Put(merged); err != nil {
		t.Fatal(err)
	}
	a := w.list(id)
	if !cmp.Equal(a.codes("warnings"), []int{8069}) || !cmp.Equal(a.listed(t), tokens(id+5, 0)) || a.body["id"] != float64(id+5) {
		t.Errorf("listing of a merged customer: %s", a.raw)
	}
	if a := w.delete(id, 0); !cmp.Equal(a.codes("warnings"), []int{8069}) || len(a.codes("data")) != 0 {
		t.Errorf("delete of a merged customer: %s", a.raw)
	}
	if got := w.truth(id); len(got) != 1 {
		t.Errorf("a merged customer's image went: %v", got)
	}
	statuses := map[int]bool{}
	for i := range int64(60) {
		a := w.delete(id+100+i, 0)
		statuses[a.status] = true
		if !cmp.Equal(a.codes("errors"), []int{8015}) {
			t.Fatalf("delete of an unknown customer: %s", a.raw)
		}
		if e := w.lastEntry(); e.Executed || e.Code != 8015 || e.Status != a.status {
			t.Fatalf("entry %+v", e)
		}
	}
	for _, s := range []int{200, 201, 400, 404, 500} {
		if !statuses[s] {
			t.Errorf("8015 never with HTTP %d: %v", s, statuses)
		}
	}
	fixed := newWorld(t, sandbox.Options{ErrorStatus: func(int64, int) int { return 418 }})
	if a := fixed.list(id); a.status != 418 {
		t.Errorf("ErrorStatus: got %d, want 418", a.status)
	}
}

func TestUploads(t *testing.T) {
	t.Parallel()
	w := withImages(t, 3, sandbox.Options{})
	if a := w.upload(id, 2); a.status != 200 || len(a.codes("data")) != 2 {
		t.Fatalf("upload: %d %s", a.status, a.raw)
	}
	five := w.truth(id)
	if len(five) != 5 || !cmp.Equal(five[:3], tokens(id, 0, 1, 2)) {
		t.Fatalf("images %v", five)
	}
	if a := w.upload(id, 1); !cmp.Equal(a.codes("errors"), []int{8082}) {
		t.Errorf("sixth image: %d %s", a.status, a.raw)
	}
	if a := w.upload(id+1, 1); !cmp.Equal(a.codes("errors"), []int{8015}) {
		t.Errorf("upload for an unknown customer: %d %s", a.status, a.raw)
	}
	if diff := cmp.Diff(w.truth(id), five); diff != "" {
		t.Errorf("refused upload changed images (-got +want):\n%s", diff)
	}

	// A freed slot is used again: the handle stays, the image is another.
	w.delete(id, 1)
	w.upload(id, 1)
	last := w.srv.Model().Images(id)[4]
	if last.Slot != 1 || last.Handle != "handle-1" || last.Token == token(id, 1) || last.Version != 2 {
		t.Errorf("image in the freed slot: %+v", last)
	}
}

func TestUploadsCanReplaceSlots(t *testing.T) {
	t.Parallel()
	w := withImages(t, 2, sandbox.Options{Uploads: sandbox.UploadsReplace})
	w.upload(id, 1)
	images := w.srv.Model().Images(id)
	if len(images) != 2 || images[0].Handle != "handle-0" || images[0].Token == token(id, 0) || images[0].Version != 2 ||
		images[1].Token != token(id, 1) {
		t.Errorf("images %+v", images)
	}
	e := w.lastEntry()
	if !cmp.Equal(e.Removed, []sandbox.Removal{{Token: token(id, 0)}}) || !cmp.Equal(e.Added, []string{images[0].Token}) {
		t.Errorf("entry %+v", e)
	}
}
