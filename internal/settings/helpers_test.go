package settings

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	_ "time/tzdata" // not the machine's
)

// files stand for the file system.
type files map[string]string

func (f files) read(path string) ([]byte, error) {
	if text, ok := f[path]; ok {
		return []byte(text), nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// from loads a settings file, if it isn't empty, beside variables.
func from(file string, environ ...string) (Settings, error) {
	src := Source{Environ: environ, ReadFile: files{"f.yaml": file, "/run/pw": "fromfile\n", "/run/empty": "\n"}.read}
	if file != "" {
		src.File = "f.yaml"
	}
	return Load(src)
}

func mustLoad(t *testing.T, file string, environ ...string) Settings {
	t.Helper()
	s, err := from(file, environ...)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return s
}

// faultsOf are the faults of err, a line each.
func faultsOf(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T is no *Error: %v", err, err)
	}
	var lines []string
	for _, f := range e.Faults {
		lines = append(lines, f.String())
		if f.Key == "" || f.Place == "" || f.Problem == "" {
			t.Errorf("a fault lacks key, place or problem: %+v", f)
		}
		if f.Form != "" && !strings.Contains(f.Form, "such as") && !strings.Contains(f.Form, "0 1 * * *") {
			t.Errorf("the form has no example: %s", f.Form)
		}
	}
	return lines
}
