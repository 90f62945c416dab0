package token

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Times of keys that are fetched.
const (
	fetchTimeout = 5 * time.Second
	renewPause   = 10 * time.Second // between fetches that tokens ask for, and between retries
	minFresh     = time.Minute
	maxFresh     = time.Hour
	defaultFresh = 10 * time.Minute // where the server says nothing
)

// remoteKeys are the keys of an issuer that are fetched. They stay for as long as they cannot be fetched again.
type remoteKeys struct {
	fetch func(ctx context.Context) (*keySet, time.Duration, error)
	log   *slog.Logger // names the issuer
	set   atomic.Pointer[keySet]

	mu      sync.Mutex
	flight  chan struct{} // closed when the fetch under way ends; nil where there is none
	asked   time.Time     // when a token asked for a fetch last
	due     time.Time     // when watch fetches next
	failure error         // of the last fetch
}

func (r *remoteKeys) keys(ctx context.Context) (*keySet, error) {
	if set := r.set.Load(); set != nil {
		return set, nil
	}
	return r.renew(ctx)
}

// renew fetches the keys because a token asks for it. All tokens that ask meanwhile wait for one fetch; those that ask
// soon after get what it brought, so that nobody can make the bridge flood the issuer.
func (r *remoteKeys) renew(ctx context.Context) (*keySet, error) {
	r.mu.Lock()
	if r.flight == nil && !r.asked.IsZero() && time.Since(r.asked) < renewPause {
		defer r.mu.Unlock()
		return r.result()
	}
	if r.flight == nil {
		r.asked = time.Now()
	}
	done := r.start()
	r.mu.Unlock()

	select {
	case <-done:
	case <-ctx.Done():
		return nil, &Error{ReasonUnavailable, unavailable, ctx.Err()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.result()
}

const unavailable = "the keys of the token's issuer cannot be fetched now: try again"

// result is what the last fetch brought. The caller holds mu.
func (r *remoteKeys) result() (*keySet, error) {
	if r.failure != nil {
		return nil, &Error{ReasonUnavailable, unavailable, r.failure}
	}
	return r.set.Load(), nil
}

// start starts a fetch where none is under way, and returns what is closed when it ends. The caller holds mu.
func (r *remoteKeys) start() <-chan struct{} {
	if r.flight == nil {
		r.flight = make(chan struct{})
		go r.load()
	}
	return r.flight
}

// load fetches the keys. Its time is its own: the token that asked for it may go while others wait.
func (r *remoteKeys) load() {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	set, fresh, err := r.fetch(ctx)

	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { close(r.flight); r.flight = nil }()
	if err != nil {
		if r.failure == nil || r.failure.Error() != err.Error() {
			r.log.Warn("keys of an issuer not fetched", "error", err, "kept", r.set.Load() != nil)
		}
		r.failure, r.due = err, time.Now().Add(renewPause)
		return
	}
	if r.failure != nil || r.set.Load() == nil {
		r.log.Info("keys of an issuer fetched", "keys", len(set.keys))
	}
	r.failure = nil
	r.set.Store(set)
	// Replicas that started together do not all come back at once.
	r.due = time.Now().Add(fresh - rand.N(fresh/10)) //nolint:gosec // spreads load, guards nothing
}

// watch fetches the keys now and whenever they are no longer fresh.
func (r *remoteKeys) watch(ctx context.Context) {
	for {
		r.mu.Lock()
		wait := time.Until(r.due)
		var done <-chan struct{}
		if wait <= 0 {
			done = r.start()
		}
		r.mu.Unlock()

		var timer <-chan time.Time
		if done == nil {
			timer = time.After(wait)
		}
		select {
		case <-done:
		case <-timer:
		case <-ctx.Done():
			return
		}
	}
}
