package sse

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/telemetry"
)

// problem is a problem document (RFC 9457).
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Parameter string `json:"parameter,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// Refusal is why a caller may not read.
type Refusal struct { //nolint:errname // the field's word, as in refuse
	Status    int    // 401 or 403; 503 where the caller's identity cannot be checked now
	Detail    string // what the caller may know of it
	Challenge string // WWW-Authenticate, for 401 (RFC 9110, section 11.6.1)
	Reason    string // for metrics and spans, one of few; empty: by the status
}

// Error returns the detail.
func (r *Refusal) Error() string { return r.Detail }

// reasons names refusals in metrics and spans, by their status.
var reasons = map[int]string{
	http.StatusBadRequest:       "invalid",
	http.StatusUnauthorized:     "unauthenticated",
	http.StatusForbidden:        "forbidden",
	http.StatusMethodNotAllowed: "method",
	http.StatusNotAcceptable:    "accept",
}

// refuse answers a request that will not succeed as it is.
func refuse(w http.ResponseWriter, step *telemetry.Subscribe, status int, parameter, detail string) {
	step.Refused(status, reasons[status]) // no effect where it was refused for a reason of its own
	writeProblem(w, problem{Status: status, Detail: detail, Parameter: parameter})
}

func writeProblem(w http.ResponseWriter, p problem) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	body, err := json.Marshal(p)
	if err != nil {
		http.Error(w, p.Title, p.Status) // strings and numbers always marshal
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // who has gone does not read it
}

// postpone answers a request that may succeed later. EventSource never retries after 429, 502 or 503, so a caller
// that reads streams gets one that names the reason and ends; a caller that asks for JSON alone gets a status. The
// connection ends too, or whoever is sent away would come back over it to this replica; over HTTP/2 it may have other
// streams.
func postpone(
	w http.ResponseWriter, r *http.Request, step *telemetry.Subscribe, accept acceptance, reason bridge.EndReason, detail string,
) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	wait := retryAfter()
	if accept.json {
		status := http.StatusServiceUnavailable
		if reason == bridge.EndPrincipalLimit || reason == bridge.EndAddressLimit {
			status = http.StatusTooManyRequests
		}
		step.Refused(status, string(reason))
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		writeProblem(w, problem{Status: status, Detail: detail, Reason: string(reason)})
		return
	}
	step.Refused(http.StatusOK, string(reason))
	writeHead(w)
	_, _ = w.Write(bridge.AppendRetry(nil, wait))
	_, _ = w.Write(reconnectFrame(bridge.Cursor{}, reason)) //nolint:gosec // one of a few words
}

// retryAfter is a random time from 1 to 5 seconds, so that a fleet of browsers never returns at once.
func retryAfter() time.Duration {
	return time.Second + rand.N(4*time.Second) //nolint:gosec // spreads load, guards nothing
}

func reconnectFrame(place bridge.Cursor, reason bridge.EndReason) []byte {
	return bridge.AppendNotice(nil, place, bridge.EventReconnect, "reason", string(reason))
}

// writeHead sends the status and the header of an event stream.
func writeHead(w http.ResponseWriter) {
	setStreamHeader(w.Header())
	w.WriteHeader(http.StatusOK)
}

func setStreamHeader(header http.Header) {
	header.Set("Content-Type", bridge.MediaType)
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no") // nginx: pass events at once
}

// openFrames is how a stream begins.
func openFrames(reader *bridge.Reader) []byte {
	retry := bridge.AppendRetry(nil, retryAfter())
	return bridge.AppendNotice(retry, reader.Place(), bridge.EventOpen, "reader", reader.ID)
}
