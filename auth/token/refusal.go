package token

import (
	"encoding/json"
	"net/http"
)

// Refusal is a request that is not answered because of who makes it, or of where a browser makes it from.
type Refusal struct { //nolint:errname // a refusal is what a caller gets, as in the core
	Status    int    // 400, 401, 403 or 503, which alone may pass
	Challenge string // value of WWW-Authenticate with 401 and where RFC 6750, section 3, has one; or empty
	Reason    Reason // of a token that does not count, or one of the reasons of requests
	Detail    string // what is wrong and how to mend it, for whoever made the request; holds no part of a token
	Err       error  // for the log; nil where Detail says it all
}

// Reasons of requests.
const (
	ReasonRequest Reason = "request" // credentials that are not in the form or number that is expected
	ReasonOrigin  Reason = "origin"  // a page from which the request must not come
)

func (r *Refusal) Error() string {
	if r.Err != nil {
		return r.Detail + ": " + r.Err.Error()
	}
	return r.Detail
}

func (r *Refusal) Unwrap() error { return r.Err }

// Write answers with a problem document (RFC 9457).
func (r *Refusal) Write(w http.ResponseWriter) {
	body, err := json.Marshal(map[string]any{
		"type": "about:blank", "title": http.StatusText(r.Status), "status": r.Status, "detail": r.Detail,
	})
	if err != nil {
		http.Error(w, http.StatusText(r.Status), r.Status) // strings and numbers always marshal
		return
	}
	header := w.Header()
	if r.Challenge != "" {
		header.Set("WWW-Authenticate", r.Challenge)
	}
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(r.Status)
	_, _ = w.Write(append(body, '\n')) // who has gone does not read it
}
