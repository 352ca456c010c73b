package embeddedpg

import (
	"archive/tar"
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/ulikunitz/xz"
)

const (
	// DefaultBaseURL is the repository of the archives, Maven Central.
	DefaultBaseURL = "https://repo1.maven.org/maven2"
	// DefaultVersion is the archive that is fetched where no PostgreSQL is
	// installed.
	DefaultVersion = "18.4.0"

	// unpackedLimit bounds what an archive may unpack to, in bytes; a real one
	// has about 60 MB.
	unpackedLimit = 2 << 30
)

// pinnedSHA256 has the checksums of the .jar files of DefaultVersion.
//
// They were copied from a public project that pins the same files and says that
// it compared them with the repository's own .sha256; they have not been
// checked against the repository by us. A wrong one can only refuse a download,
// never let a wrong file through.
var pinnedSHA256 = map[string]string{
	"darwin-amd64 18.4.0":   "68381ed1488edd337345c6c4bc6ae0c823832a4dd7af8b04656ee5c218c291b5",
	"darwin-arm64v8 18.4.0": "ab698c4486a795d2aa8a158b3a41e1201a77e7ff72a6255094cd5900080853c2",
	"linux-amd64 18.4.0":    "401d4e69baba9072d3772607710df0d47b39a7632c6b01b2a5f5d85a9514e212",
	"linux-arm64v8 18.4.0":  "a9ec284923b9a7d2db41509bfb88c3d0eeb9f4aa5e2b29ea0aac5e8dbaf4c335",
	"windows-amd64 18.4.0":  "1f71b4d67eeee94034ffbea7a9fae68ab34ff1e31ac01837acb6f56984350ece",
}

// platform is the archive's name for the machine.
func platform() (string, error) {
	arch := map[string]string{"amd64": "amd64", "arm64": "arm64v8", "ppc64le": "ppc64le", "386": "i386"}[runtime.GOARCH]
	switch runtime.GOOS {
	case "linux":
		if _, err := os.Stat("/etc/alpine-release"); err == nil && arch != "" {
			arch += "-alpine" // musl
		}
	case "darwin":
	case "windows":
		if arch == "arm64v8" {
			arch = "amd64" // emulated
		}
	default:
		arch = ""
	}
	if arch == "" {
		return "", fmt.Errorf("there is no archive for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	return runtime.GOOS + "-" + arch, nil
}

// get returns the programs from our cache, after a download if need be. where
// says in an error what was tried.
func (d Download) get(ctx context.Context, opts Options, acct *account, major int) (progs programs, where string, err error) {
	where = "download"
	if d.Version == "" {
		d.Version = DefaultVersion
	}
	if d.BaseURL == "" {
		d.BaseURL = DefaultBaseURL
	}
	if d.Client == nil {
		d.Client = &http.Client{Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
		}}
		defer d.Client.CloseIdleConnections()
	}
	if have := versionNumbers(d.Version); major != 0 && (len(have) == 0 || have[0] != major) {
		return programs{}, where, fmt.Errorf("the archive has version %s", d.Version)
	}
	name, err := platform()
	if err != nil {
		return programs{}, where, err
	}
	if d.CacheDir == "" {
		if d.CacheDir, err = defaultCacheDir(opts.Getenv); err != nil {
			return programs{}, where, err
		}
	}
	dir := filepath.Join(d.CacheDir, d.Version+"-"+name)
	if progs, err := tryPrograms(ctx, filepath.Join(dir, "bin"), acct); err == nil {
		return progs, where, nil
	}
	if d.Disabled {
		return programs{}, where, errors.New("switched off")
	}

	address := fmt.Sprintf("%s/io/zonky/test/postgres/embedded-postgres-binaries-%[2]s/%[3]s/embedded-postgres-binaries-%[2]s-%[3]s.jar",
		strings.TrimSuffix(d.BaseURL, "/"), name, d.Version)
	where = "download of " + address
	if err := os.MkdirAll(d.CacheDir, 0o755); err != nil {
		return programs{}, where, err
	}
	lock, err := waitLock(ctx, filepath.Join(d.CacheDir, "lock"))
	if err != nil {
		return programs{}, where, err
	}
	defer lock.release()
	progs, err = tryPrograms(ctx, filepath.Join(dir, "bin"), acct)
	if err == nil {
		return progs, where, nil // another process was faster
	}
	opts.Logf("no PostgreSQL found; downloading version %s (once, about 15 MB) from %s to %s", d.Version, d.BaseURL, dir)
	if err := d.fetch(ctx, address, name, dir); err != nil {
		return programs{}, where, err
	}
	progs, err = tryPrograms(ctx, filepath.Join(dir, "bin"), acct)
	return progs, where, err
}

// defaultCacheDir is not below root's home: the account that the server runs
// as could not enter it.
func defaultCacheDir(getenv func(string) string) (string, error) {
	if isRoot() {
		return "/var/cache/imagepurge/postgres", nil
	}
	dir, err := userFolder(getenv, "XDG_CACHE_HOME", ".cache", "Library/Caches", "LOCALAPPDATA")
	return filepath.Join(dir, "postgres"), err
}

func waitLock(ctx context.Context, path string) (*fileLock, error) {
	for {
		lock, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return lock, err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// fetch downloads, checks and unpacks one archive; dir appears complete or not
// at all. Called under the cache's lock.
func (d Download) fetch(ctx context.Context, address, name, dir string) error {
	want, err := d.checksum(ctx, address, name)
	if err != nil {
		return err
	}
	left, _ := filepath.Glob(filepath.Join(d.CacheDir, ".new-*"))
	for _, dir := range left {
		_ = os.RemoveAll(dir) // of a download that was killed
	}
	work, err := os.MkdirTemp(d.CacheDir, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	jar := filepath.Join(work, "archive.jar")
	got, err := d.save(ctx, address, jar)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the archive's SHA-256 is %s, expected %s; nothing was installed", got, want)
	}
	tree := filepath.Join(work, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	if err := unpackJar(jar, tree); err != nil {
		return fmt.Errorf("unpack the archive: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil { // incomplete, or it would have been used
		return err
	}
	return os.Rename(tree, dir)
}

// checksum is what the archive must have: from the settings, pinned, or beside
// the archive. The last one proves only that the transfer was whole, so it is
// not taken over an address that others can forge.
func (d Download) checksum(ctx context.Context, address, name string) (string, error) {
	if d.SHA256 != "" {
		return strings.ToLower(d.SHA256), nil
	}
	if pinned := pinnedSHA256[name+" "+d.Version]; pinned != "" {
		return pinned, nil
	}
	if !trustworthy(address) {
		return "", errors.New("no checksum is pinned for this archive, and over plain http the one beside it proves nothing")
	}
	body, _, err := d.open(ctx, address+".sha256")
	if err != nil {
		return "", fmt.Errorf("no checksum is pinned for this archive, and there is none beside it: %w", err)
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, 1024))
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(text)) // some have the file's name behind it
	if len(fields) == 0 || len(fields[0]) != hex.EncodedLen(sha256.Size) {
		return "", errors.New("the file .sha256 beside the archive is not a checksum")
	}
	return strings.ToLower(fields[0]), nil
}

func trustworthy(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func (d Download) open(ctx context.Context, address string) (io.ReadCloser, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, err
	}
	resp, err := d.Client.Do(req)
	if err != nil {
		var uerr *url.Error
		if errors.As(err, &uerr) {
			err = uerr.Err // the address is said already
		}
		return nil, 0, fmt.Errorf("no connection: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, 0, fmt.Errorf("answer %s", resp.Status)
	}
	return resp.Body, resp.ContentLength, nil
}

// save writes what is at the address to file and returns its SHA-256.
func (d Download) save(ctx context.Context, address, file string) (string, error) {
	body, size, err := d.open(ctx, address)
	if err != nil {
		return "", err
	}
	defer body.Close()
	out, err := os.Create(file)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	to := io.MultiWriter(out, hash)
	if d.Progress != nil {
		bar := progressbar.NewOptions64(size, progressbar.OptionSetWriter(d.Progress), progressbar.OptionShowBytes(true),
			progressbar.OptionSetDescription("PostgreSQL "+d.Version), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish())
		_ = bar.RenderBlank() // at once, even if the first bytes take long
		defer func() { _ = bar.Finish() }()
		to = io.MultiWriter(out, hash, bar)
	}
	_, err = io.Copy(to, io.LimitReader(body, unpackedLimit))
	if err := errors.Join(err, out.Close()); err != nil {
		return "", fmt.Errorf("broken off: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// unpackJar unpacks the .txz in the .jar (a zip) below dir.
func unpackJar(jar, dir string) error {
	z, err := zip.OpenReader(jar)
	if err != nil {
		return err
	}
	defer z.Close()
	for _, entry := range z.File {
		if !strings.HasSuffix(entry.Name, ".txz") {
			continue
		}
		r, err := entry.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		x, err := xz.NewReader(r)
		if err != nil {
			return err
		}
		return unpackTar(tar.NewReader(x), dir)
	}
	return errors.New("there is no .txz in it")
}

// unpackTar writes nothing outside dir, whatever the names and links say:
// os.Root sees to it.
func unpackTar(t *tar.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	left := int64(unpackedLimit)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.FromSlash(path.Clean(h.Name))
		if name == "." {
			continue
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			if left -= h.Size; left < 0 {
				return errors.New("it is too large")
			}
			err = unpackFile(root, name, t, h.FileInfo().Mode())
		case tar.TypeSymlink:
			target := path.Join(path.Dir(path.Clean(h.Name)), h.Linkname)
			if path.IsAbs(h.Linkname) || !filepath.IsLocal(filepath.FromSlash(target)) {
				return fmt.Errorf("the link %s leads out of it", h.Name)
			}
			err = root.Symlink(filepath.FromSlash(h.Linkname), name)
		}
		if err != nil {
			return err
		}
	}
}

// unpackFile makes everything readable by all: the server may run as another
// account.
func unpackFile(root *os.Root, name string, from io.Reader, mode fs.FileMode) error {
	mode = 0o644 | mode.Perm()&0o111
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Chmod(mode), f.Close())
}
