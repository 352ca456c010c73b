package capillary

import "github.com/imagepurge/imagepurge/jobs"

// ReadListing classifies the answer to a listing whose body came whole, as
// [Client.List] does. It is for whoever has the bytes without a connection: a
// simulation, a test. SentAt and AnsweredAt are left to the caller.
func ReadListing(status int, body []byte, customer int64) jobs.Answer {
	return read(classifyListing(status, body, customer), status)
}

// ReadDelete classifies the answer to a DELETE of so many indexes whose body
// came whole, as [Client.Delete] does.
func ReadDelete(status int, body []byte, indexes int) jobs.Answer {
	return read(classifyDelete(status, body, indexes), status)
}

func read(v verdict, status int) jobs.Answer {
	return jobs.Answer{Class: v.class, HTTPStatus: status, Code: v.code, Message: v.sentence(), Images: v.images, Organizations: v.numbers}
}
