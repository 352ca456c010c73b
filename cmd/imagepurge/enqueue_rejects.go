package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/imagepurge/imagepurge/internal/term"
)

// rejects are the bad lines of a list. They wait in a file without a name, so that
// an intake that is refused or killed leaves none behind, and get a file of their
// own once the intake stands.
type rejects struct {
	path  string
	lines *os.File // nil: none so far
	there bool     // the same lines stand under the name already
}

func (r *rejects) add(header, line []byte) error {
	if r.lines == nil {
		// Beside the file to come: where that can't be made or the disk is full, the
		// intake is refused.
		f, err := os.CreateTemp(filepath.Dir(r.path), ".imagepurge-rejects-*")
		if err != nil {
			return rejectsError(err)
		}
		_ = os.Remove(f.Name()) // where an open file keeps its name, close takes it
		r.lines = f
		if len(header) > 0 {
			line = append(append(bytes.Clone(header), '\n'), line...)
		}
	}
	if _, err := r.lines.Write(line); err != nil {
		return rejectsError(err)
	}
	return nil
}

func rejectsError(err error) error {
	return hint(fmt.Errorf("write the rejects: %w; nothing was taken in", err), "name another file for the bad lines: --rejects FILE")
}

// ready refuses an intake whose bad lines couldn't be put where they belong. The
// same lines there are those of an earlier try, or of the list's dry run.
func (r *rejects) ready() error {
	if r.lines == nil {
		return nil
	}
	if err := r.lines.Sync(); err != nil {
		return rejectsError(err)
	}
	info, err := os.Lstat(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return rejectsError(err)
	case info.Mode().IsRegular():
		if r.there, err = r.same(); err != nil {
			return rejectsError(err)
		}
	}
	if !r.there {
		return rejectsError(isThere(r.path))
	}
	return nil
}

func (r *rejects) all() io.Reader { return io.NewSectionReader(r.lines, 0, math.MaxInt64) }

// same tells that the file there holds what this one would.
func (r *rejects) same() (bool, error) {
	there, err := os.Open(r.path)
	if err != nil {
		return false, err
	}
	defer there.Close()
	ours, theirs := sha256.New(), sha256.New()
	if _, err := io.Copy(ours, r.all()); err != nil {
		return false, err
	}
	if _, err := io.Copy(theirs, there); err != nil {
		return false, err
	}
	return bytes.Equal(ours.Sum(nil), theirs.Sum(nil)), nil
}

// place gives the lines their file, and says which.
func (r *rejects) place(a *app, batch int64, bad int) error {
	n := term.Number(int64(bad))
	if r.there {
		a.note("%s bad lines were left out; they stand in %s already", n, r.path)
		return nil
	}
	err := writeNew(r.path, func(w io.Writer) error {
		_, err := io.Copy(w, r.all())
		return err
	})
	if err != nil {
		return hint(fmt.Errorf("batch %d stands, but its %s bad lines were not written: %w", batch, n, err),
			"hand the same list in again with another --rejects FILE: it is not taken in twice, and they are written")
	}
	a.note("%s bad lines were left out and written to %s", n, r.path)
	return nil
}

func (r *rejects) close() {
	if r.lines != nil {
		_ = r.lines.Close()
		_ = os.Remove(r.lines.Name())
	}
}
