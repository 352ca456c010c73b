package simulation

import (
	"errors"
	"time"
)

var errAway = errors.New("the connection to the database is lost")

// statement sends one statement to the database. run is its transaction, at one
// instant of the database's clock; done is told of it, if the process still lives.
// The database commits whether or not the process does.
func (p *process) statement(run func(now time.Time), done func(error)) {
	w := p.w
	there, back := w.quick(), w.quick()
	if w.away {
		p.inCore(there, func() { done(errAway) })
		return
	}
	if w.fault(w.dbFaults, "a slow statement") {
		there = w.upTo(3 * time.Second)
	}
	var lost error
	if w.fault(w.dbFaults, "the database's connection is lost") {
		lost = errAway
		switch w.IntN(3) {
		case 0: // before the statement came
			p.inCore(there+back, func() { done(lost) })
			return
		case 1: // with its answer
		case 2: // and it runs only after the process was told that nobody knows
			server := w.server
			w.after(there+back+w.upTo(2*time.Second), func() {
				if w.server == server && !w.away {
					run(w.databaseTime())
				}
			})
			p.inCore(there+back, func() { done(lost) })
			return
		}
	}
	server := w.server
	w.after(there, func() {
		if w.away || w.server != server {
			lost = errAway
			return
		}
		run(w.databaseTime())
	})
	p.inCore(there+back, func() {
		if w.server != server { // it may have committed there
			lost = errAway
		}
		done(lost)
	})
}

// outage takes the database away for a while.
func (w *world) outage() {
	if w.away || !w.happens("the database is away") {
		return
	}
	w.away = true
	w.server++ // connections are gone
	d := w.upTo(pick(w.chance, 20*time.Second, 2*time.Minute))
	w.say("the DATABASE is away for %v", d)
	w.after(d, func() {
		w.away = false
		w.say("the DATABASE is back")
		w.rouse()
	})
}

// failOver puts another server in its place, which lacks the last commits.
func (w *world) failOver() {
	if w.away || !w.happens("a fail-over that loses commits") {
		return
	}
	before := w.store.Snapshot()
	mark := w.hist.mark()
	w.losing = true
	w.after(w.upTo(2*time.Second), func() {
		w.losing = false
		w.away = true
		w.server++
		w.say("FAIL-OVER: commits of the last moments are lost")
		w.store.FailOver(before)
		w.hist.forget(w, mark)
		w.decideAgain()
		w.after(w.upTo(10*time.Second), func() {
			w.away = false
			w.rouse()
		})
	})
}
