package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imagepurge/imagepurge/internal/term"
	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/repository"
)

// mostShown is how many images of one listing are told one by one; all of them
// stand in the JSON.
const mostShown = 20

// printTimeline writes one line an event and, below it, what there is to know.
// task is the one that is looked at; calls of others are marked. 0: all of them.
func printTimeline(w io.Writer, events []repository.Event, task int64) error {
	header, align := []string{"WHEN", "TASK", "CALL", "WHAT"}, []term.Align{term.Left, term.Right, term.Right}
	var rows [][]string
	for i := range events {
		e := &events[i]
		call := ""
		if e.Call != nil {
			call = fmt.Sprint(e.Call.Sequence)
		}
		for n, line := range lines(e) {
			if n == 0 {
				rows = append(rows, []string{instant(e.At), taskMark(e, task), call, line})
			} else {
				rows = append(rows, []string{"", "", "", "  " + line})
			}
		}
	}
	return term.Table(w, header, rows, align...)
}

// taskMark names the task of an event; a star stands by another's.
func taskMark(e *repository.Event, task int64) string {
	switch {
	case e.Task == 0:
		return "-"
	case task != 0 && e.Task != task:
		return fmt.Sprintf("*%d", e.Task)
	}
	return fmt.Sprint(e.Task)
}

// lines tell one event.
func lines(e *repository.Event) []string {
	switch e.Kind {
	case repository.EventList:
		return listingLines(e)
	case repository.EventDelete:
		return deleteLines(e)
	case repository.EventGivenBack:
		return []string{givenBackLine(e)}
	}
	return []string{auditLine(e.Audit)}
}

func listingLines(e *repository.Event) []string {
	if !e.Believed() {
		return []string{"listing: " + answerWords(e.Call)}
	}
	out := []string{"listing: " + plural(len(e.View), "image")}
	for i, v := range e.View {
		if i == mostShown {
			out = append(out, fmt.Sprintf("… and %d more; see --output json", len(e.View)-i))
			break
		}
		out = append(out, shownLine(v, e.Task))
	}
	for _, g := range e.Gone {
		out = append(out, goneLine(g, e.Task))
	}
	return out
}

func shownLine(v repository.ShownImage, task int64) string {
	line := fmt.Sprintf("index %d  %s  %s", v.Index, shortKey(v.Key), roleWords(v.Role))
	switch v.Change {
	case repository.ShownNew:
		line += "; NEW"
	case repository.ShownCameBack:
		line += "; CAME BACK: a listing before this one lacked it"
	case repository.ShownStillThere:
		line += "; STILL THERE, after " + callName(*v.By, task)
	}
	return line
}

func roleWords(role string) string {
	if role == repository.RoleTarget {
		return "target"
	}
	return "not to be deleted"
}

func goneLine(g repository.GoneImage, task int64) string {
	line := fmt.Sprintf("gone     %s  %s, was at index %d in %s", shortKey(g.Key), roleWords(g.Role), g.Index, callName(g.Seen, task))
	switch {
	case g.Why == repository.GoneByDelete:
		return line + "; deleted by " + callName(*g.By, task)
	case g.By != nil:
		return line + "; MISSING: its delete, " + callName(*g.By, task) + ", did not run"
	}
	return line + "; MISSING: no DELETE was meant for it"
}

func deleteLines(e *repository.Event) []string {
	var head string
	if n := len(e.Meant); n > 1 {
		head = fmt.Sprintf("DELETE of %d indexes, %d to 0, meant for all images listed", n, n-1)
	} else {
		head = fmt.Sprintf("DELETE index %d, meant for %s", *e.Call.Position, shortKey(*e.Call.Key))
	}
	out := []string{head, timesOf(e), "answer: " + answerWords(e.Call)}
	if n := e.Next; n != nil {
		next := callName(n.CallRef, e.Task)
		switch {
		case len(e.Meant) > 1 && n.Shown:
			out = append(out, "next listing: "+next+" still showed some of them")
		case n.Shown:
			out = append(out, fmt.Sprintf("next listing: %s still showed it, at index %d", next, n.Index))
		default:
			out = append(out, "next listing: "+next+" did not show it any more")
		}
	}
	return out
}

// timesOf says when a delete was intended, sent and answered. The intent's time is
// by the database's clock, the others by the worker's.
func timesOf(e *repository.Event) string {
	clock := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return t.UTC().Format("15:04:05.000")
	}
	line := fmt.Sprintf("sent %s, answered %s", clock(e.Call.SentAt), clock(e.Call.AnsweredAt))
	if e.IntendedAt != nil {
		line = "intended " + clock(e.IntendedAt) + ", " + line
	}
	return line + ", by " + e.Call.Worker
}

func givenBackLine(e *repository.Event) string {
	line := "given back"
	if w := waitWords[jobs.Waiting(e.Why)]; w != "" {
		line += ": " + w
	}
	took := time.Duration(e.For * float64(time.Second))
	return fmt.Sprintf("%s; taken up again after %s (claim %d)", line, term.Duration(took), e.Epoch)
}

func auditLine(a *repository.AuditEntry) string {
	line := fmt.Sprintf("%s by %s%s at %s", a.Action, a.Actor, claims(a), a.Host)
	if a.Action == "task.finish" {
		line = fmt.Sprintf("the task ended: %v", a.Details["state"])
		if o := fmt.Sprint(a.Details["outcome"]); o != "" {
			line += fmt.Sprintf(", %s: %s", o, outcomeWords[jobs.Outcome(o)])
		}
	}
	if was, ok := a.Details["outcome"].(string); ok && was != "" && a.Action != "task.finish" {
		line += ", of " + was
	}
	if a.Action == "customer.check" {
		line += fmt.Sprintf(": %v images listed", orNone(a.Details["images_seen"]))
	}
	if a.Reason != nil {
		line += ": " + term.Visible(*a.Reason)
	}
	return line
}

// claims are the names that the environment gave whoever acted, where they are others.
func claims(a *repository.AuditEntry) (text string) {
	claimed, _ := a.Details["claimed"].(map[string]any)
	for _, v := range slices.Sorted(maps.Keys(claimed)) {
		text += fmt.Sprintf(", %s=%s", v, term.Visible(fmt.Sprint(claimed[v])))
	}
	if text == "" {
		return ""
	}
	return " (claimed: " + text[2:] + ")"
}

func orNone(v any) any {
	if v == nil {
		return "no"
	}
	return v
}

// paragraph writes a heading and sentences below it.
func paragraph(w io.Writer, heading string, sentences []string) {
	if len(sentences) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", heading)
	for _, s := range sentences {
		fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(s, "\n", "\n    "))
	}
}
