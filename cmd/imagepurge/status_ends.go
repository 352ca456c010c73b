package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/imagepurge/imagepurge/internal/term"
)

// estimate puts in when each batch will be done, and whether that is too late.
func (st *shownStatus) estimate(ends map[int64]reckoned, now time.Time) {
	st.Estimates = []reckoned{}
	for _, id := range slices.Sorted(maps.Keys(ends)) {
		st.Estimates = append(st.Estimates, ends[id])
		if late := ends[id].lateness(now); late != "" {
			st.Trouble = append(st.Trouble, late)
		}
	}
}

// wholeEnd is when the last batch of an organisation will be done, or why that can't
// be told of one of them.
func (st *shownStatus) wholeEnd(organization string, ends map[int64]reckoned) (until *time.Time, unknown string) {
	for _, b := range st.Batches {
		r, open := ends[b.ID]
		switch {
		case !open || b.Organization != organization:
		case r.Until == nil:
			unknown = r.Unknown
		case until == nil || r.Until.After(*until):
			until = r.Until
		}
	}
	if unknown != "" {
		return nil, unknown
	}
	return until, ""
}

func (st *shownStatus) showEnds(w io.Writer) error {
	for _, r := range st.Estimates {
		if _, err := fmt.Fprintf(w, "batch %d: about %s calls left, %s\n", r.Batch, term.Number(r.Calls), r.sentence()); err != nil {
			return err
		}
	}
	return nil
}
