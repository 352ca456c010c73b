package main

import (
	"fmt"
	"io"
	"time"

	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/repository"
)

// graceOfWindow is how long after its opening a window may have no worker: cron
// and service managers take their time.
const graceOfWindow = time.Minute

// live counts an organisation's workers that are not silent.
func live(all []repository.WorkerSeen, organization string) (n int) {
	for _, x := range all {
		if x.Organization == organization && !x.Silent {
			n++
		}
	}
	return n
}

func showWorkers(w io.Writer, all []repository.WorkerSeen, now time.Time) error {
	for _, x := range all {
		fmt.Fprintf(w, "worker %s: %s, version %s, since %s, %s calls in flight, %s customers in hand, ", x.Name, term.Visible(x.Host), term.Visible(x.Version),
			term.Time(x.StartedAt, nil), term.Number(int64(x.InFlight)), term.Number(int64(x.InHand)))
		seen := "seen " + term.Relative(x.SeenAt, now)
		if x.Silent {
			seen = "not seen for " + term.Duration(now.Sub(x.SeenAt))
		}
		if _, err := fmt.Fprintln(w, seen); err != nil {
			return err
		}
	}
	return nil
}

// versionsNote says that workers of different versions run: right while they are
// replaced one by one, and worth a look at any other time.
func versionsNote(all []repository.WorkerSeen) string {
	first := ""
	for _, x := range all {
		switch {
		case x.Silent:
		case first == "":
			first = x.Version
		case x.Version != first:
			return fmt.Sprintf("note: workers of different versions run: %s and %s", term.Visible(first), term.Visible(x.Version))
		}
	}
	return ""
}
