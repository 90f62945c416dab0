package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/ssebridge/ssebridge/bridge"
)

// readyTimeout is how long the log may take to answer a readiness probe.
const readyTimeout = time.Second

// readiness is the detail of /readyz?verbose.
type readiness struct {
	Ready    bool   `json:"ready"`
	Log      string `json:"log"` // "ok", or what is wrong
	Window   string `json:"window"`
	Draining bool   `json:"draining"`
	Readers  int    `json:"readers"`
}

// opsHandler answers /livez, which says that this process runs, /readyz, which says that it can serve: started, log
// reachable, window warm, not draining, and /metrics and /debug/pprof.
func (p *program) opsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", p.observer.metrics)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		state := p.readiness(r.Context())
		status := http.StatusOK
		if !state.Ready {
			status = http.StatusServiceUnavailable
		}
		if !r.URL.Query().Has("verbose") {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(map[bool]string{true: "ok\n", false: "not ready\n"}[state.Ready]))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(state) // who has gone does not read it
	})
	return mux
}

func (p *program) readiness(ctx context.Context) readiness {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	state := readiness{Log: "ok", Window: "warm", Draining: p.hub.Draining(), Readers: p.hub.Readers()}
	if err := p.log.Ready(ctx); err != nil {
		state.Log = err.Error()
	}
	if !p.hub.Warm() {
		state.Window = "cold"
	}
	state.Ready = state.Log == "ok" && p.hub.Warm() && !state.Draining
	return state
}

// dropHandler ends one reader, as a network that fails would, so that a page can show how a browser comes back. It
// is served with open rules only.
func dropHandler(hub *bridge.Hub) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hub.End(r.FormValue("reader"), bridge.EndRequested) {
			http.Error(w, "no such reader", http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
