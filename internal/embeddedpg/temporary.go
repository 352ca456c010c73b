package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// memoryFolder holds temporary servers where it has room; a container's
	// default of 64 MB is not enough.
	memoryFolder    = "/dev/shm"
	memoryFolderMin = 1 << 30

	// runPrefix is short because the socket's path has a limit.
	runPrefix = "ip-"
)

// startTemporary makes a run folder and starts a server in it.
func (s *Server) startTemporary(ctx context.Context) (*fileLock, error) {
	if err := s.choose(ctx, ""); err != nil {
		return nil, err
	}
	bases := []string{s.opts.TempDir}
	if s.opts.TempDir == "" {
		bases = nil
		if freeBytes(memoryFolder) >= memoryFolderMin {
			bases = append(bases, memoryFolder)
		}
		bases = append(bases, os.TempDir(), "/tmp", "/var/tmp")
	}
	var problems []error
	for _, base := range bases {
		base, err := filepath.Abs(base)
		if err == nil {
			err = s.programs.enter(ctx, s.account, base)
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		s.sweep(ctx, base)
		lock, dir, err := newRunFolder(base)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		s.place = place{dir: dir}
		if err := s.becomeRunner(ctx, lock); err != nil {
			return nil, errors.Join(err, removeTree(dir))
		}
		return lock, nil
	}
	return nil, fmt.Errorf("make a folder for a temporary server: %w", errors.Join(problems...))
}

// newRunFolder makes a folder with a lock that is held. Between the two steps
// a sweep may take the lock, or even the folder: then another is made.
func newRunFolder(base string) (*fileLock, string, error) {
	var err error
	for range 10 {
		var dir string
		if dir, err = os.MkdirTemp(base, runPrefix); err != nil {
			return nil, "", err
		}
		var lock *fileLock
		if lock, err = tryLock(filepath.Join(dir, "lock")); err != nil {
			continue // whoever has it removes the folder
		}
		// The server's account has to pass through; what is in it has modes of its own.
		if err = os.Chmod(dir, 0o711); err == nil {
			return lock, dir, nil
		}
		lock.release()
		_ = os.RemoveAll(dir)
	}
	return nil, "", err
}

// sweep removes the folders of temporary servers whose process is dead, and
// ends the servers themselves where they survived it.
func (s *Server) sweep(ctx context.Context, base string) {
	found, _ := filepath.Glob(filepath.Join(base, runPrefix+"*"))
	for _, dir := range found {
		fi, err := os.Lstat(dir)
		if err != nil || !fi.IsDir() || !ownFolder(fi) {
			continue
		}
		old := &Server{opts: s.opts, place: place{dir: dir}}
		if _, err := os.Stat(old.place.lockFile()); err != nil {
			// Just being made, or left by a crash between two calls.
			if time.Since(fi.ModTime()) > time.Hour {
				_ = os.RemoveAll(dir)
			}
			continue
		}
		lock, err := tryLock(old.place.lockFile())
		if err != nil {
			continue // in use
		}
		_, err = os.Stat(filepath.Join(dir, keepFile))
		if err == nil && old.orphan() != 0 {
			lock.release() // abandoned on purpose, still running
			continue
		}
		segment := leftSegment(old.place.dataDir())
		if err := old.clearOrphan(ctx); err != nil {
			s.opts.Logf("embedded postgres: clear %s: %v", dir, err)
		} else if err := removeTree(dir); err != nil {
			s.opts.Logf("embedded postgres: remove %s: %v", dir, err)
		} else {
			s.opts.Logf("embedded postgres: removed %s, left by a process that was killed", dir)
		}
		segment.remove()
		lock.release()
	}
}
