package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// list is what an intake reads, and how it was before the first byte was read.
type list struct {
	io.ReadCloser
	name   string                      // for people
	stat   func() (fs.FileInfo, error) // how the file is now
	before fs.FileInfo                 // nil: a pipe or the like, which gives each byte once
}

// openList opens a file, or stdin for "-".
func (a *app) openList(file string) (*list, error) {
	l := &list{ReadCloser: io.NopCloser(a.stdin), name: "stdin"}
	f, ok := a.stdin.(*os.File)
	if file != "-" {
		var err error
		if f, err = os.Open(file); err != nil {
			return nil, fmt.Errorf("read the list: %w", err)
		}
		l.ReadCloser, l.name, ok = f, filepath.Base(file), true
	}
	if !ok {
		return l, nil
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	if !info.Mode().IsRegular() {
		return l, nil
	}
	for _, w := range []io.Writer{a.out.Out, a.out.Err} {
		if sameFile(w, info) {
			return nil, errors.New("the list is where this command prints to; nothing was taken in")
		}
	}
	l.before, l.stat = info, f.Stat
	if file != "-" { // another file may come to stand under the name
		l.stat = func() (fs.FileInfo, error) { return os.Stat(file) }
	}
	return l, nil
}

func sameFile(w io.Writer, info fs.FileInfo) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	other, err := f.Stat()
	return err == nil && os.SameFile(other, info)
}

// unchanged refuses a list that isn't what it was: what was read may be half of one
// list and half of another, which nobody has asked for.
func (l *list) unchanged() error {
	if l.before == nil {
		return nil
	}
	now, err := l.stat()
	if err == nil && os.SameFile(now, l.before) && now.Size() == l.before.Size() && now.ModTime().Equal(l.before.ModTime()) {
		return nil
	}
	return hint(fmt.Errorf("%s changed while it was read; nothing was taken in", l.name), "hand it in again once nobody writes it any more")
}
