package sse

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/telemetry"
)

// Config is what a Handler needs. The zero value of an optional field stands for its default.
type Config struct {
	Hub *bridge.Hub
	// Authorize says who asks, and until when that may read what it asks for. The error is a *Refusal. Nil refuses
	// everything.
	Authorize func(*http.Request, *bridge.Subscription) (Grant, error)
	Limits    Limits // of open streams; defaults to none
	Logger    *slog.Logger
	Heartbeat time.Duration // mean time between heartbeats of a silent stream. Defaults to 15 s.
	Stall     time.Duration // a reader that takes no byte for so long is closed. Defaults to 60 s.
	// MaxAge is the mean age at which a stream is asked to reconnect, so that readers spread over replicas. Zero: never.
	MaxAge time.Duration
	// TraceParent puts the trace context of an event into its CloudEvent.
	TraceParent bool
	Telemetry   *telemetry.Telemetry // defaults to none
}

// Grant is what a caller is allowed.
type Grant struct {
	Until     time.Time // when its stream ends, because its identity does; zero: it does not
	Principal string    // who it is, among all whom any issuer knows; empty: anonymous
}

// Handler serves GET /v1/events. It may be used concurrently.
type Handler struct {
	config     Config
	admissions *admissions
	loops      *loops
}

// NewHandler makes a handler. It must be shut down.
func NewHandler(config Config) *Handler {
	if config.Authorize == nil {
		config.Authorize = func(*http.Request, *bridge.Subscription) (Grant, error) {
			return Grant{}, &Refusal{Status: http.StatusForbidden, Detail: "nobody may read anything here"}
		}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Heartbeat == 0 {
		config.Heartbeat = 15 * time.Second
	}
	if config.Stall == 0 {
		config.Stall = 60 * time.Second
	}
	if config.Telemetry == nil {
		config.Telemetry = telemetry.Off()
	}
	h := &Handler{config: config, admissions: newAdmissions(config.Limits)}
	h.loops = newLoops(&h.config, h.admissions)
	return h
}

// Shutdown returns when every connection that was taken over has ended; when ctx ends it cuts those that have not. It
// comes after [bridge.Hub.Drain], which asks them to end, and after the shutdown of the server, which does not know
// them.
func (h *Handler) Shutdown(ctx context.Context) error {
	return h.loops.shutdown(ctx)
}

// ServeHTTP answers with an event stream that ends when the caller goes, when it stalls, or when the hub ends it; or
// with a refusal.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, step := h.config.Telemetry.Subscribe(r.Context(), r.Header.Get("Traceparent"))
	defer step.Gone()
	r = r.WithContext(ctx)
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, step, http.StatusMethodNotAllowed, "", "use GET")
		return
	}
	if r.ContentLength != 0 { // a hang-up is noticed only behind the end of a body
		refuse(w, step, http.StatusBadRequest, "", "this request has a body: send none")
		return
	}
	accept := parseAccept(r)
	if !accept.stream {
		refuse(w, step, http.StatusNotAcceptable, "", "this is an event stream: send Accept: text/event-stream, or none")
		return
	}
	req, err := parseRequest(r, time.Now())
	if param := (*paramError)(nil); errors.As(err, &param) {
		refuse(w, step, http.StatusBadRequest, param.param, param.Error())
		return
	}
	if h.config.TraceParent && req.sub.Format == bridge.FormatCloudEvents {
		req.sub.Format = bridge.FormatTraced
	}
	step.Asked(len(req.sub.Patterns), req.sub.Format.String())
	from := callerAddress(r, h.config.Limits.TrustedProxies)
	if reason := h.admissions.full(from); reason != "" { // before a token costs its verification
		h.turnAway(w, r, step, accept, reason)
		return
	}
	grant, err := h.config.Authorize(r, &req.sub)
	if err != nil {
		h.deny(w, r, step, accept, err)
		return
	}
	place, reason := h.admissions.admit(grant.Principal, from)
	if reason != "" {
		h.turnAway(w, r, step, accept, reason)
		return
	}
	takenOver := false
	defer func() {
		if !takenOver {
			h.admissions.release(place)
		}
	}()
	takenOver = h.open(w, r, step, accept, req, grant.Until, place)
}

// open opens a reader and serves it: on a connection that is taken over, with the place of the stream, or with this
// goroutine.
func (h *Handler) open(
	w http.ResponseWriter, r *http.Request, step *telemetry.Subscribe, accept acceptance, req request, until time.Time, place admission,
) (takenOver bool) {
	var woken signal
	var waker bridge.Waker
	taken := h.loops.newConn(r, until, place)
	if taken != nil {
		waker = taken
	} else {
		woken = make(signal, 1)
		waker = woken
	}
	reader, err := h.config.Hub.Subscribe(r.Context(), req.sub, req.start, waker)
	if err != nil {
		if taken != nil {
			taken.abandon()
		}
		h.notNow(w, r, step, accept, err)
		return false
	}
	if taken == nil {
		defer reader.Close()
		h.stream(w, r, reader, woken, until, step)
		return false
	}
	if err := h.loops.takeOver(taken, w, r, reader); err != nil {
		reader.Close()
		h.config.Logger.ErrorContext(r.Context(), "subscribe", "error", err)
		return false
	}
	step.Opened(reader.ID, string(reader.Source()))
	return true
}

// turnAway answers a request for one stream too many.
func (h *Handler) turnAway(w http.ResponseWriter, r *http.Request, step *telemetry.Subscribe, accept acceptance, reason bridge.EndReason) {
	if reason == bridge.EndOverload && h.admissions.warn(time.Now()) {
		h.config.Logger.Warn("there are as many streams as there may be: new ones are put off", "streams", h.config.Limits.Total)
	}
	postpone(w, r, step, accept, reason, limitDetails[reason])
}

// deny answers a request that Authorize has refused.
func (h *Handler) deny(w http.ResponseWriter, r *http.Request, step *telemetry.Subscribe, accept acceptance, err error) {
	refusal := (*Refusal)(nil)
	switch {
	case !errors.As(err, &refusal):
		h.config.Logger.ErrorContext(r.Context(), "authorize", "error", err)
		refuse(w, step, http.StatusForbidden, "", "you may not read these topics")
	case refusal.Status == http.StatusServiceUnavailable:
		postpone(w, r, step, accept, bridge.EndUnavailable, refusal.Detail)
	default:
		if refusal.Reason != "" {
			step.Refused(refusal.Status, refusal.Reason)
		}
		if refusal.Challenge != "" {
			w.Header().Set("WWW-Authenticate", refusal.Challenge)
		}
		refuse(w, step, refusal.Status, "", refusal.Detail)
	}
}

// notNow answers a request for which the hub has no reader now.
func (h *Handler) notNow(w http.ResponseWriter, r *http.Request, step *telemetry.Subscribe, accept acceptance, err error) {
	switch {
	case r.Context().Err() != nil:
	case errors.Is(err, bridge.ErrDraining):
		postpone(w, r, step, accept, bridge.EndDrain, bridge.ErrDraining.Error())
	case errors.Is(err, bridge.ErrNotWarm):
		postpone(w, r, step, accept, bridge.EndUnavailable, bridge.ErrNotWarm.Error())
	default:
		h.config.Logger.WarnContext(r.Context(), "subscribe", "error", err)
		postpone(w, r, step, accept, bridge.EndUnavailable, bridge.ErrLogUnavailable.Error())
	}
}
