package embeddedpg

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"
)

// nowhere are Options that find no installed program.
func nowhere() Options {
	return Options{
		Getenv:  func(string) string { return "" },
		Logf:    func(string, ...any) {},
		folders: []string{"/usr/lib/no-such-postgresql/*/bin"},
	}
}

func TestNothingFoundNamesTheWaysOut(t *testing.T) {
	t.Parallel()
	opts := nowhere()
	opts.Temporary = true
	opts.Download = Download{Disabled: true, CacheDir: t.TempDir()}
	_, err := Start(t.Context(), opts)
	var notFound *NotFoundError
	if !errors.As(err, &notFound) {
		t.Fatalf("got %v, want a NotFoundError", err)
	}
	want := `start embedded postgres: no PostgreSQL server found. Looked at: $IMAGEPURGE_PG_BIN (unset), PATH (no postgres), pg_config (not on PATH), /usr/lib/no-such-postgresql/*/bin (none), download (switched off)
Do one of:
  apt-get install postgresql          (Debian/Ubuntu; the service need not run)
  brew install postgresql@17          (macOS)
  docker compose up -d postgres && export DATABASE_URL=postgres://...`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDataOfAnotherVersionIsNotTouched(t *testing.T) {
	t.Parallel()
	dir := dataFolder(t)
	if err := os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	opts := Options{DataDir: dir, Download: Download{CacheDir: t.TempDir()}}
	_, err := Start(t.Context(), opts)
	for _, want := range []string{"of version 99, which wrote the existing data", "apt-get install postgresql-99", "the archive has version " + DefaultVersion} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant in it: %s", err, want)
		}
	}
}

func TestBinDirIsUsedOrFails(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	_, err := Start(t.Context(), Options{Temporary: true, BinDir: empty})
	var wrong *BinDirError
	if !errors.As(err, &wrong) || wrong.Dir != empty || !strings.Contains(err.Error(), "no postgres") {
		t.Errorf("empty folder: got %v, want a BinDirError: it must not fall through to PATH", err)
	}

	real := installed(t)
	half := scripts(t, map[string]string{"postgres": "exec " + real.dir + "/postgres \"$@\""})
	if _, err := Start(t.Context(), Options{Temporary: true, BinDir: half}); err == nil || !strings.Contains(err.Error(), "no initdb beside") {
		t.Errorf("without initdb: got %v", err)
	}
	old := scripts(t, map[string]string{"postgres": "echo 'postgres (PostgreSQL) 13.9'", "initdb": "exit 1"})
	if _, err := Start(t.Context(), Options{Temporary: true, BinDir: old}); err == nil || !strings.Contains(err.Error(), "version 13.9; 14 or newer is needed") {
		t.Errorf("version 13: got %v", err)
	}

	links := scripts(t, nil)
	if err := os.Symlink(filepath.Join(real.dir, "postgres"), filepath.Join(links, "postgres")); err != nil {
		t.Fatal(err)
	}
	// initdb is not linked: it is beside the real postgres.
	opts := temporary(t, roomyFolder(t))
	opts.BinDir = links
	s := begin(t, opts)
	if dir, _ := s.Programs(); dir != real.dir {
		t.Errorf("through a link: got %s, want %s", dir, real.dir)
	}
}

func TestNewestInstalledVersionWins(t *testing.T) {
	t.Parallel()
	base := roomyFolder(t)
	for _, version := range []string{"9.6", "14", "15", "100"} {
		dir := filepath.Join(base, version, "bin")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		said := version + ".1"
		if version == "100" {
			said = "13.1" // a folder's name is not believed
		}
		writeScript(t, filepath.Join(dir, "postgres"), "echo 'postgres (PostgreSQL) "+said+" (Debian)'")
		writeScript(t, filepath.Join(dir, "initdb"), "exit 1")
	}
	opts := nowhere()
	opts.folders = []string{filepath.Join(base, "*", "bin")}
	opts.Download.Disabled = true
	for _, c := range []struct {
		major int
		want  string
	}{{0, "15.1"}, {14, "14.1"}} {
		got, err := findPrograms(t.Context(), opts, nil, c.major)
		if err != nil || got.version != c.want {
			t.Errorf("data of version %d: got %s, %v; want %s", c.major, got.version, err, c.want)
		}
	}
}

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		out, version string
		major        int
	}{
		{"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", "15.18", 15},
		{"postgres (PostgreSQL) 17.0\n", "17.0", 17},
		{"postgres (PostgreSQL) 18beta1\n", "18beta1", 18},
		{"postgres (PostgreSQL) 9.6.24\n", "9.6.24", 9},
		{"something else", "", 0},
		{"postgres (PostgreSQL) ", "", 0},
	} {
		version, major, err := parseVersion(c.out)
		if version != c.version || major != c.major || (err != nil) != (c.major == 0) {
			t.Errorf("%q: got %s, %d, %v; want %s, %d", c.out, version, major, err, c.version, c.major)
		}
	}
}

func TestDownload(t *testing.T) {
	t.Parallel()
	real := installed(t)
	// An archive of the real one's form, whose programs hand on to the installed.
	good := jar(t,
		file{"bin/postgres", "#!/bin/sh\nexec " + real.dir + "/postgres \"$@\"\n", 0o755},
		file{"bin/initdb", "#!/bin/sh\nexec " + real.dir + "/initdb \"$@\"\n", 0o755},
		file{"share/postgresql/readme", "text", 0o600},
	)
	name, err := platform()
	if err != nil {
		t.Fatal(err)
	}
	path := "/maven2/io/zonky/test/postgres/embedded-postgres-binaries-" + name + "/17.6.0/embedded-postgres-binaries-" + name + "-17.6.0.jar"

	// serve is a repository with files; it counts what it was asked for.
	serve := func(t *testing.T, files map[string][]byte) (Options, *atomic.Int64) {
		t.Helper()
		var requests atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			body, ok := files[r.URL.Path]
			if !ok {
				http.NotFound(w, r)
				return
			}
			_, _ = w.Write(body)
		}))
		t.Cleanup(server.Close)
		opts := nowhere()
		opts.Temporary, opts.Tests, opts.TempDir = true, true, roomyFolder(t)
		cache := filepath.Join(roomyFolder(t), "cache")
		opts.Download = Download{BaseURL: server.URL + "/maven2", Version: "17.6.0", CacheDir: cache, Client: server.Client()}
		return opts, &requests
	}
	sum := func(b []byte) []byte {
		s := sha256.Sum256(b)
		return []byte(hex.EncodeToString(s[:]))
	}

	t.Run("is used, and kept", func(t *testing.T) {
		t.Parallel()
		opts, requests := serve(t, map[string][]byte{path: good, path + ".sha256": append(sum(good), "  archive.jar\n"...)})
		var bar bytes.Buffer
		opts.Download.Progress = &bar
		var notices []string
		opts.Logf = func(format string, args ...any) { notices = append(notices, fmt.Sprintf(format, args...)) }
		for range 2 {
			s, err := Start(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			query(t, s.URL(), "SELECT 1")
			end(t, s)
		}
		if got := requests.Load(); got != 2 {
			t.Errorf("%d requests, want the checksum and the archive, once", got)
		}
		if len(notices) != 1 || !strings.Contains(notices[0], "downloading version 17.6.0") {
			t.Errorf("notices: got %q, want one line before the download", notices)
		}
		if bar.Len() == 0 {
			t.Error("no progress was shown")
		}
		fi, err := os.Stat(filepath.Join(opts.Download.CacheDir, "17.6.0-"+name, "share/postgresql/readme"))
		if err != nil || fi.Mode().Perm() != 0o644 {
			t.Errorf("a file of the archive: got %v, %v; want it readable by the server's account", fi, err)
		}
	})
	t.Run("two at once fetch it once", func(t *testing.T) {
		t.Parallel()
		opts, requests := serve(t, map[string][]byte{path: good})
		opts.Download.SHA256 = string(sum(good))
		found := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := findPrograms(t.Context(), opts, nil, 0)
				found <- err
			}()
		}
		for range 2 {
			if err := <-found; err != nil {
				t.Error(err)
			}
		}
		if got := requests.Load(); got != 1 {
			t.Errorf("%d requests, want 1", got)
		}
	})

	outside := jar(t, file{"bin/../../outside", "x", 0o644})
	link := jar(t, file{"bin/postgres", "-> ../../../bin/sh", 0})
	for _, c := range []struct {
		name  string
		files map[string][]byte
		sha   string
		want  string
	}{
		{"another checksum", map[string][]byte{path: good, path + ".sha256": sum([]byte("other"))}, "", "expected " + string(sum([]byte("other")))},
		{"no checksum", map[string][]byte{path: good}, "", "no checksum is pinned for this archive, and there is none beside it: answer 404 Not Found"},
		{"no archive", map[string][]byte{path + ".sha256": sum(good)}, "", "answer 404 Not Found"},
		{"cut off", map[string][]byte{path: good[:len(good)/2]}, string(sum(good)), "SHA-256"},
		{"not an archive", map[string][]byte{path: []byte("hello")}, string(sum([]byte("hello"))), "unpack the archive"},
		{"a name that leads out", map[string][]byte{path: outside}, string(sum(outside)), "unpack the archive"},
		{"a link that leads out", map[string][]byte{path: link}, string(sum(link)), "leads out of it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			opts, _ := serve(t, c.files)
			opts.Download.SHA256 = c.sha
			_, err := Start(t.Context(), opts)
			var notFound *NotFoundError
			if !errors.As(err, &notFound) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant in it: %s", err, c.want)
			}
			left, _ := filepath.Glob(filepath.Join(opts.Download.CacheDir, "*"))
			hidden, _ := filepath.Glob(filepath.Join(opts.Download.CacheDir, ".new-*"))
			if len(left) != 1 || len(hidden) != 0 { // the lock
				t.Errorf("left in the cache: %v %v", left, hidden)
			}
		})
	}
	t.Run("no checksum over plain http", func(t *testing.T) {
		t.Parallel()
		opts := nowhere()
		opts.Download = Download{BaseURL: "http://mirror.invalid/maven2", Version: "17.6.0", CacheDir: t.TempDir()}
		if _, err := findPrograms(t.Context(), opts, nil, 0); err == nil || !strings.Contains(err.Error(), "over plain http") {
			t.Errorf("got %v, want it refused before a connection is tried", err)
		}
	})
}

func TestEveryPinIsAChecksum(t *testing.T) {
	t.Parallel()
	for name, pin := range pinnedSHA256 {
		if b, err := hex.DecodeString(pin); err != nil || len(b) != sha256.Size || !strings.HasSuffix(name, " "+DefaultVersion) {
			t.Errorf("%s: %s", name, pin)
		}
	}
}

// installed are this machine's programs. Without any the test fails.
func installed(t *testing.T) programs {
	t.Helper()
	acct, err := chooseAccount("", "")
	if err != nil {
		t.Fatal(err)
	}
	progs, err := findPrograms(context.Background(), Options{Getenv: os.Getenv, Logf: logf(t)}, acct, 0)
	if err != nil {
		t.Fatal(err)
	}
	return progs
}

func scripts(t *testing.T, bodies map[string]string) string {
	t.Helper()
	dir := roomyFolder(t)
	for name, body := range bodies {
		writeScript(t, filepath.Join(dir, name), body)
	}
	return dir
}

func writeScript(t *testing.T, path, body string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// file is one entry of an archive; a text that starts with "-> " is a link.
type file struct {
	name, text string
	mode       int64
}

// jar makes an archive of the published form: a zip that holds a .txz.
func jar(t *testing.T, files ...file) []byte {
	t.Helper()
	var txz, out bytes.Buffer
	x, err := xz.NewWriter(&txz)
	check(t, err)
	w := tar.NewWriter(x)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.text)), Typeflag: tar.TypeReg}
		if target, ok := strings.CutPrefix(f.text, "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, f.text = tar.TypeSymlink, target, 0, ""
		}
		check(t, w.WriteHeader(h))
		_, err := io.WriteString(w, f.text)
		check(t, err)
	}
	check(t, w.Close())
	check(t, x.Close())
	z := zip.NewWriter(&out)
	for name, body := range map[string][]byte{"META-INF/MANIFEST.MF": []byte("Manifest-Version: 1.0\n"), "postgres-linux-x86_64.txz": txz.Bytes()} {
		f, err := z.Create(name)
		check(t, err)
		_, err = f.Write(body)
		check(t, err)
	}
	check(t, z.Close())
	return out.Bytes()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
