package sandbox

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// route reads a request as far as its path, query and headers go. A status
// other than 0 turns it down.
func route(r *http.Request) (req Request, status int, allow string) {
	req = Request{Kind: KindOther, Proto: r.Proto}
	if r.URL.Path == "/v3/oauth/token/generate" {
		req.Kind = KindToken
		if r.Method != http.MethodPost {
			return req, http.StatusMethodNotAllowed, http.MethodPost
		}
		return req, 0, ""
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/customers/")
	if !ok {
		return req, http.StatusNotFound, ""
	}
	name, operation, deeper := strings.Cut(rest, "/")
	var method string
	switch {
	case name == "":
		return req, http.StatusNotFound, ""
	case !deeper:
		req.Kind, method = KindList, http.MethodGet
	case operation == "deleteImage":
		req.Kind, method = KindDelete, http.MethodDelete
	case operation == "setImage":
		req.Kind, method = KindUpload, http.MethodPost
	default:
		return req, http.StatusNotFound, ""
	}
	if r.Method != method {
		req.Kind = KindOther
		return req, http.StatusMethodNotAllowed, method
	}
	id, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		return req, http.StatusBadRequest, ""
	}
	req.Customer = id
	switch req.Kind {
	case KindList:
		req.NoSource = r.URL.Query().Get("source") == ""
	case KindDelete:
		return routeDelete(r, req)
	}
	return req, 0, ""
}

func routeDelete(r *http.Request, req Request) (Request, int, string) {
	if r.ContentLength != 0 || r.Header.Get("Content-Type") != "" {
		return req, http.StatusUnsupportedMediaType, ""
	}
	for _, text := range r.URL.Query()["image_ids"] {
		index, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return req, http.StatusBadRequest, ""
		}
		req.Indexes = append(req.Indexes, int(index))
	}
	return req, 0, ""
}

// readUpload takes the sizes of the files sent; a status other than 0 turns the
// request down. The files themselves are not kept.
func readUpload(w http.ResponseWriter, r *http.Request) (sizes []int64, status int) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "multipart/form-data" {
		return nil, http.StatusUnsupportedMediaType
	}
	r.Body = http.MaxBytesReader(w, r.Body, 5*49<<20+1<<20)
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, http.StatusBadRequest
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, http.StatusBadRequest
		}
		n, err := io.Copy(io.Discard, part)
		if err != nil {
			return nil, http.StatusBadRequest
		}
		if part.FileName() != "" {
			sizes = append(sizes, n)
		}
	}
	if len(sizes) == 0 {
		return nil, http.StatusBadRequest
	}
	return sizes, 0
}
