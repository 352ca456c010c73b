package embeddedpg

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// place is one server's folder and address:
//
//	lock          held by the process that runs the server; its pid is in it
//	data          the server's data; data.new-* while initdb works on it
//	run           the folder of the socket, 0700
//	password      of Role; only asked for over TCP
//	hba.conf      who may connect; written at every start
//	port          only where the socket's path would be too long
//	postgres.log  what the server says; postgres.log.1 the older part
type place struct {
	dir  string
	port int // 0: unix socket
	// password is known once prepare or readAddress ran.
	password string
}

// unixPort names the socket only; nothing listens on it.
const unixPort = 5432

// logLimit is the size in bytes from which a log is put aside at a start.
const logLimit = 10 << 20

func (p place) lockFile() string { return filepath.Join(p.dir, "lock") }
func (p place) dataDir() string  { return filepath.Join(p.dir, "data") }
func (p place) runDir() string   { return filepath.Join(p.dir, "run") }
func (p place) hbaFile() string  { return filepath.Join(p.dir, "hba.conf") }
func (p place) logFile() string  { return filepath.Join(p.dir, "postgres.log") }
func (p place) portFile() string { return filepath.Join(p.dir, "port") }
func (p place) passFile() string { return filepath.Join(p.dir, "password") }

// socketFits says whether the socket's path is within the system's limit; the
// server refuses to start with a longer one.
func (p place) socketFits() bool {
	return len(filepath.Join(p.runDir(), ".s.PGSQL."+strconv.Itoa(unixPort))) <= maxSocketPath
}

func (p place) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(Role), Path: "/" + database}
	// Both are said so that PGSSLMODE and the like in the environment do not count.
	q := url.Values{"sslmode": {"disable"}, "target_session_attrs": {"any"}}
	if p.port == 0 {
		q.Set("host", p.runDir())
		q.Set("port", strconv.Itoa(unixPort))
	} else {
		u.User = url.UserPassword(Role, p.password)
		u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port))
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// prepare makes what the server needs beside its data, owned by the account
// that it runs as. Existing files are kept, so that the address is too.
//
// keepPort is the port that others already know, 0 if none: it is used or the
// start fails. Otherwise the port of last time is taken if it is free.
func (p *place) prepare(own func(string) error, keepPort int) error {
	if err := os.Mkdir(p.runDir(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(p.runDir(), 0o700); err != nil { // trust is safe in here only
		return err
	}
	if err := own(p.runDir()); err != nil {
		return err
	}
	if _, err := os.Stat(p.passFile()); errors.Is(err, fs.ErrNotExist) {
		if err := writeWhole(p.passFile(), []byte(rand.Text()+"\n"), own); err != nil {
			return err
		}
	}
	if err := own(p.passFile()); err != nil {
		return err
	}
	hba := "local all all trust\n"
	if !p.socketFits() {
		hba = "host all all 127.0.0.1/32 scram-sha-256\n"
		port, err := p.readPort()
		switch {
		case keepPort != 0 && !portFree(keepPort):
			return fmt.Errorf("port %d of 127.0.0.1 was taken by another program", keepPort)
		case keepPort != 0:
			port = keepPort
		case err != nil || !portFree(port):
			if port, err = freePort(); err != nil {
				return err
			}
		}
		if err := writeWhole(p.portFile(), []byte(strconv.Itoa(port)+"\n"), own); err != nil {
			return err
		}
	} else if err := os.Remove(p.portFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeWhole(p.hbaFile(), []byte(hba), own); err != nil {
		return err
	}
	return p.readAddress()
}

// readAddress learns the address from what the runner wrote; fs.ErrNotExist
// while it has not yet.
func (p *place) readAddress() error {
	password, err := os.ReadFile(p.passFile())
	if err != nil {
		return err
	}
	p.password = strings.TrimSpace(string(password))
	p.port = 0
	if p.socketFits() {
		return nil
	}
	p.port, err = p.readPort()
	return err
}

func (p place) readPort() (int, error) {
	text, err := os.ReadFile(p.portFile())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// openLog opens the server's log for appending; a large one is put aside first.
func (p place) openLog(own func(string) error) (*os.File, error) {
	if fi, err := os.Stat(p.logFile()); err == nil && fi.Size() > logLimit {
		if err := os.Rename(p.logFile(), p.logFile()+".1"); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND|noFollow, 0o600)
	if err != nil {
		return nil, err
	}
	if err := own(p.logFile()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// logTail is the end of the server's log, at most 2 KB and nothing before the
// offset, for errors.
func (p place) logTail(from int64) string {
	f, err := os.Open(p.logFile())
	if err != nil {
		return "(" + err.Error() + ")"
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil {
		_, _ = f.Seek(max(from, fi.Size()-2048), io.SeekStart)
	}
	text, _ := io.ReadAll(io.LimitReader(f, 2048))
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return "(empty)"
	}
	return string(text)
}

// writeWhole writes a file that others never see half written.
func writeWhole(path string, text []byte, own func(string) error) error {
	// CreateTemp never follows a link that somebody else put there: root may
	// work in another account's folder.
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = own(f.Name())
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func portFree(port int) bool {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

// removeTree removes a folder. A server that just ended may leave children
// that write their last file, so a folder that is not empty is tried again.
func removeTree(dir string) error {
	var err error
	for range 5 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
	}
	return err
}
