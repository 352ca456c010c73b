package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/imagepurge/imagepurge/jobs"
	"github.com/imagepurge/imagepurge/repository"
)

// outcomeWords say what an outcome means, for somebody who has never seen one.
var outcomeWords = map[jobs.Outcome]string{
	jobs.ImagesDeleted:      "every image that was to be deleted is gone",
	jobs.NoImages:           "the customer had no image",
	jobs.AlreadyAbsent:      "none of the named images was there",
	jobs.CustomerErased:     "the platform had erased the customer",
	jobs.CustomerGone:       "the customer went away while the purge was under way",
	jobs.DryRun:             "counted only; nothing was deleted",
	jobs.CustomerNotFound:   "the platform knows no such customer",
	jobs.InvalidCustomer:    "the platform calls the customer's id invalid",
	jobs.AttemptsExhausted:  "too many faults; it was given up",
	jobs.MergedCustomer:     "the customer was merged into another account",
	jobs.BystanderMissing:   "an image that was not to be deleted is gone",
	jobs.StillPresent:       "an image is still listed although the API said that it is deleted",
	jobs.IndexContradiction: "three times no image stood where a listing had just shown one",
	jobs.UnexpectedResponse: "the API gave an answer that is in no table, or refused this customer alone",
	jobs.CancelledOutcome:   "a person ended it",
}

var waitWords = map[jobs.Waiting]string{
	jobs.WaitSettle:     "the customer settles after a delete whose outcome is unknown",
	jobs.WaitBackoff:    "a back-off after a fault",
	jobs.WaitBreaker:    "the organisation's breaker is open",
	jobs.WaitListingLag: "a listing may lag; another one decides",
	jobs.WaitCustomer:   "another task has the customer, or the customer rests",
	jobs.WaitDue:        "its due time",
}

var classWords = map[jobs.Class]string{
	jobs.ClassListed:     "answered",
	jobs.ClassDeleted:    "the API said: deleted",
	jobs.ClassNotRun:     "it did not run",
	jobs.ClassNoImage:    "there was no image at that index",
	jobs.ClassUnknown:    "nobody knows whether it ran",
	jobs.ClassErased:     "the platform has erased the customer",
	jobs.ClassNotFound:   "the platform knows no such customer",
	jobs.ClassMerged:     "the customer was merged into another account",
	jobs.ClassRefused:    "the API refuses the organisation: credentials, permissions or address",
	jobs.ClassOverLimit:  "over the API's rate limit; it did not run",
	jobs.ClassInvalid:    "the API calls the request invalid; it did not run",
	jobs.ClassUnexpected: "an answer that is in no table; nobody knows whether it ran",
	jobs.ClassNotSent:    "nothing was sent",
}

// codeWords explain the codes whose class alone does not say what happened.
var codeWords = map[string]string{
	"8080": "the API met an error while it deleted", "521": "the API is busy with this customer",
	"timeout": "no answer in time", "reset": "the connection was lost", "refused": "no connection", "dns": "the host name was not resolved",
	"tls": "no secure connection", "unreadable": "the answer was cut off or unreadable", "redirect": "a redirect, which is not followed",
	"late": "the time for sending was over", "cancelled": "imagepurge was stopped", "missing_token": "an image without an identity in the listing",
	"duplicate_token": "the same image twice in the listing", "wrong_customer": "another customer's listing",
}

// answerWords tell a call's answer.
func answerWords(c *repository.TaskCall) string {
	if c.Class == nil {
		return "no answer is on record: the worker was stopped hard, or it is under way"
	}
	class := jobs.Class(*c.Class)
	if c.Kind == repository.EventList {
		switch class {
		case jobs.ClassUnknown:
			return "no listing came" + codeNote(c)
		case jobs.ClassUnexpected:
			return "an answer that is in no table" + codeNote(c)
		}
	}
	words, ok := classWords[class]
	if !ok {
		words = *c.Class
	}
	return words + codeNote(c)
}

// codeNote is what the API or the wire said, in words and as it said it.
func codeNote(c *repository.TaskCall) string {
	var words string
	var said []string
	if c.HTTPStatus != nil {
		said = append(said, fmt.Sprintf("HTTP %d", *c.HTTPStatus))
	}
	if c.ErrorCode != nil {
		said = append(said, "code "+*c.ErrorCode)
		if w := codeWords[*c.ErrorCode]; w != "" {
			words = ": " + w
		}
	}
	if len(said) == 0 {
		return words
	}
	return words + " (" + strings.Join(said, ", ") + ")"
}

// callName names a call, and its task where that is another one.
func callName(c repository.CallRef, task int64) string {
	switch c.Task {
	case 0:
		return "the listing made now"
	case task:
		return fmt.Sprintf("call %d", c.Sequence)
	}
	return fmt.Sprintf("call %d of task %d", c.Sequence, c.Task)
}

// plural writes 1 image, 2 images.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// second is a time to the second: what a customer is told.
func second(t *time.Time) string {
	if t == nil {
		return "an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04:05 MST")
}

// shortKey shortens an identity as everywhere else.
func shortKey(k string) string { return repository.ShortKey(k) }
