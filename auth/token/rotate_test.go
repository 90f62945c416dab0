package token_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth/token"
)

// logged collects lines of a log.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// watch keeps keys new until the test ends.
func watch(t testing.TB, v *token.Verifier) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		v.Watch(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}

func verify(v *token.Verifier, raw string) error {
	_, err := v.Verify(context.Background(), raw, token.RoleSubscribe)
	return err
}

func signedBy(key any, kid string) string {
	return sign(jose.ES256, key, header{"kid": kid}, good().json())
}

func TestKeysInAFileAreReplaced(t *testing.T) {
	t.Parallel()
	for _, watched := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var log logged
			issuer := fileIssuer(t, set(public("a", ecKey())))
			v, err := token.NewVerifier([]token.Issuer{issuer}, log.logger())
			require.NoError(t, err)
			if watched {
				watch(t, v)
			}
			older, newer := signedBy(ecKey(), "a"), signedBy(otherEC(), "b")
			require.NoError(t, verify(v, older))
			refused(t, verify(v, newer), token.ReasonKey)

			// The same size and, in the bubble, a time of its own: only the content tells.
			require.NoError(t, os.WriteFile(issuer.JWKSFile, []byte(set(public("b", otherEC()))), 0o600))
			refused(t, verify(v, newer), token.ReasonKey) // was read less than a second ago
			// This sleep and those that follow are virtual, in a bubble of synctest: how often is looked is what is tested.
			time.Sleep(time.Second + time.Millisecond) // virtual: in a bubble of synctest
			require.NoError(t, verify(v, newer))
			refused(t, verify(v, older), token.ReasonKey)
			assert.Contains(t, log.String(), "read again")

			for _, broken := range []string{"", "[]", `{"keys":[]}`} {
				require.NoError(t, os.WriteFile(issuer.JWKSFile, []byte(broken), 0o600))
				time.Sleep(2 * time.Second) // virtual: in a bubble of synctest
				require.NoError(t, verify(v, newer))
				refused(t, verify(v, older), token.ReasonKey)
			}
			require.NoError(t, os.Remove(issuer.JWKSFile))
			time.Sleep(5 * time.Second) // virtual: in a bubble of synctest
			require.NoError(t, verify(v, newer))
			refused(t, verify(v, older), token.ReasonKey)
			assert.Equal(t, 4, strings.Count(log.String(), "those of before stay"), "one warning for each change:\n%s", log.String())
			assert.Contains(t, log.String(), "issuer=login")

			require.NoError(t, os.WriteFile(issuer.JWKSFile, []byte(set(public("a", ecKey()))), 0o600))
			time.Sleep(2 * time.Second) // virtual: in a bubble of synctest
			require.NoError(t, verify(v, older))
		})
	}
}

// keyServer serves a key set that tests change.
type keyServer struct {
	fetches atomic.Int64
	mu      sync.Mutex
	set     string
	status  int
	cache   string
	hang    chan struct{} // answers wait for it
}

func (s *keyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.fetches.Add(1)
	s.mu.Lock()
	set, status, cache, hang := s.set, s.status, s.cache, s.hang
	s.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	if cache != "" {
		w.Header().Set("Cache-Control", cache)
	}
	if status != 0 {
		w.WriteHeader(status)
	}
	_, _ = w.Write([]byte(set))
}

func (s *keyServer) change(change func(s *keyServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// urlVerifier returns a verifier of an issuer whose keys a server has.
func urlVerifier(t testing.TB, server *keyServer, logger *slog.Logger) *token.Verifier {
	t.Helper()
	network := serve(t, server)
	issuer := newIssuer("login", issuerURL, token.RoleSubscribe)
	issuer.JWKSURL = "http://localhost/keys"
	v, err := token.NewVerifierDial([]token.Issuer{issuer}, logger, network.dial)
	require.NoError(t, err)
	return v
}

// TestUnknownKeysAreFetchedButSeldom: a new key counts at once; tokens of unknown keys cost one fetch in 10 s together.
func TestUnknownKeysAreFetchedButSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &keyServer{set: set(public("a", ecKey()))}
		v := urlVerifier(t, server, discarded)
		older, newer := signedBy(ecKey(), "a"), signedBy(otherEC(), "b")
		assert.Zero(t, server.fetches.Load(), "nothing is fetched at start")
		require.NoError(t, verify(v, older))
		assert.EqualValues(t, 1, server.fetches.Load())

		time.Sleep(10 * time.Second) // virtual, as above: the time between two fetches is what is tested
		server.change(func(s *keyServer) { s.set = set(public("a", ecKey()), public("b", otherEC())) })
		require.NoError(t, verify(v, newer), "a new key counts at once")
		require.NoError(t, verify(v, older))
		assert.EqualValues(t, 2, server.fetches.Load())

		unknown, forged := signedBy(otherEC(), "c"), signedBy(otherEC(), "a")
		for range 300 { // 30 s
			time.Sleep(100 * time.Millisecond) // virtual: in a bubble of synctest
			refused(t, verify(v, unknown), token.ReasonKey)
			refused(t, verify(v, forged), token.ReasonSignature)
		}
		assert.EqualValues(t, 5, server.fetches.Load(), "one fetch in 10 s")
		require.NoError(t, verify(v, older))
	})
}

// TestOneFetchForAll: tokens that come while keys are being fetched wait for one fetch, and those that go do not end it.
func TestOneFetchForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &keyServer{set: set(public("a", ecKey())), hang: make(chan struct{})}
		v := urlVerifier(t, server, discarded)
		raw := signedBy(ecKey(), "a")
		impatient, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := v.Verify(impatient, raw, token.RoleSubscribe)
			gone <- err
		}()
		synctest.Wait()
		results := make(chan error, 50)
		for range cap(results) {
			go func() { results <- verify(v, raw) }()
		}
		synctest.Wait()
		cancel()
		require.ErrorIs(t, refused(t, <-gone, token.ReasonUnavailable), context.Canceled)
		close(server.hang)
		for range cap(results) {
			require.NoError(t, <-results)
		}
		assert.EqualValues(t, 1, server.fetches.Load())
	})
}

// TestIssuerThatCannotBeReached: tokens may count later, and say so at once but for the first, which waits 5 s.
func TestIssuerThatCannotBeReached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log logged
		server := &keyServer{set: set(public("a", ecKey())), hang: make(chan struct{})}
		v := urlVerifier(t, server, log.logger())
		raw := signedBy(ecKey(), "a")
		begin := time.Now()
		require.ErrorIs(t, refused(t, verify(v, raw), token.ReasonUnavailable), context.DeadlineExceeded)
		assert.Equal(t, 5*time.Second, time.Since(begin))
		for range 3 {
			refused(t, verify(v, raw), token.ReasonUnavailable)
		}
		assert.Equal(t, 5*time.Second, time.Since(begin), "those that follow do not wait")
		assert.EqualValues(t, 1, server.fetches.Load())
		// What needs no key is refused for good.
		refused(t, verify(v, es(good().with("iss", "https://other.example.com"))), token.ReasonIssuer)

		server.change(func(s *keyServer) { s.hang = nil })
		refused(t, verify(v, raw), token.ReasonUnavailable)
		time.Sleep(5 * time.Second) // virtual: in a bubble of synctest
		require.NoError(t, verify(v, raw))
		assert.Equal(t, 1, strings.Count(log.String(), "not fetched"), log.String())
		assert.Contains(t, log.String(), "keys of an issuer fetched")
	})
}

// TestKeysStayWhileTheirIssuerIsDown: with Watch, keys are fetched when they are stale and stay when that fails.
func TestKeysStayWhileTheirIssuerIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log logged
		server := &keyServer{set: set(public("a", ecKey())), cache: "public, max-age=120"}
		v := urlVerifier(t, server, log.logger())
		watch(t, v)
		synctest.Wait()
		time.Sleep(time.Second) // virtual: in a bubble of synctest
		assert.EqualValues(t, 1, server.fetches.Load(), "fetched before a token comes")
		older, newer := signedBy(ecKey(), "a"), signedBy(otherEC(), "b")
		require.NoError(t, verify(v, older))

		server.change(func(s *keyServer) { s.status = http.StatusInternalServerError })
		down := server.fetches.Load()
		time.Sleep(10 * time.Minute) // virtual: in a bubble of synctest
		require.NoError(t, verify(v, older), "keys stay")
		assert.InDelta(t, 49, server.fetches.Load()-down, 2, "tried every 10 s, once stale")
		assert.Contains(t, refused(t, verify(v, newer), token.ReasonUnavailable).Error(), "http://localhost/keys answered 500")
		refused(t, verify(v, signedBy(otherEC(), "a")), token.ReasonSignature) // no new key would mend it
		assert.Equal(t, 1, strings.Count(log.String(), "not fetched"), log.String())
		assert.Contains(t, log.String(), "kept=true")

		// The key is withdrawn: it counts until the next fetch.
		server.change(func(s *keyServer) { s.status, s.set = 0, set(public("b", otherEC())) })
		time.Sleep(10 * time.Second) // virtual: in a bubble of synctest
		require.NoError(t, verify(v, newer))
		refused(t, verify(v, older), token.ReasonKey)

		before := server.fetches.Load()
		time.Sleep(time.Hour) // virtual: in a bubble of synctest
		assert.InDelta(t, 31, server.fetches.Load()-before, 3, "fetched when stale: after 108 to 120 s")
	})
}

func TestFreshnessHasBounds(t *testing.T) {
	t.Parallel()
	for cache, perHour := range map[string]float64{
		"":                             6,  // 10 min
		"max-age=0":                    60, // 1 min
		"no-cache":                     60,
		"max-age=7200,no-store":        60,
		"MAX-AGE=600":                  6,
		`max-age="1200"`:               3,
		"max-age=86400":                1, // 1 h
		"max-age=99999999999999999999": 6,
		"max-age=-1":                   6,
	} {
		synctest.Test(t, func(t *testing.T) {
			server := &keyServer{set: set(public("a", ecKey())), cache: cache}
			watch(t, urlVerifier(t, server, discarded))
			time.Sleep(10 * time.Hour) // virtual: in a bubble of synctest
			assert.InEpsilon(t, perHour, float64(server.fetches.Load())/10, 0.2, cache)
		})
	}
}
