package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// writeNew writes a file that the user named. It never writes over anything, nor
// through a link: what stands there may be the list that is being read, or
// somebody's only copy. A failure leaves no half of a file, which would pass for
// the whole.
func writeNew(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return isThere(path)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func isThere(path string) error {
	return fmt.Errorf("%s is there already, and nothing is written over", path)
}
