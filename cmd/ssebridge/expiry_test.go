package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

const everybody = "topics: [{pattern: '**', publish: 'true', subscribe: 'auth.kind == \"token\"'}]\n"

// expiring returns a claim for a token that ends in two to three seconds, and when.
func expiring() (exp int64, at time.Time) {
	exp = in(3 * time.Second)
	return exp, time.Unix(exp, 0)
}

// TestStreamsEndWithTheirToken, within a second, over HTTP/1.1 and h2c, busy and idle, by header and by cookie.
func TestStreamsEndWithTheirToken(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, "public: {cookie: session}\n"+everybody+r.issuers())
	publishing, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(stop) // first, once the subtests have ended
	group.Go(func() {
		for n := 0; publishing.Err() == nil; n++ {
			_, _ = publishAs(publishing, b.internalURL, "", nil, numbered(t, "busy", n), numbered(t, "busy", n))
		}
	})
	for topic, show := range map[string]func(string) func(*http.Request){"busy": withBearer, "idle": withCookie} {
		for version, client := range httpVersions() {
			t.Run(topic+" "+version, func(t *testing.T) {
				t.Parallel()
				exp, at := expiring()
				response := ask(t, client, b.publicURL, topics(topic), show(r.user("alice", "exp", exp)))
				require.Equal(t, http.StatusOK, response.StatusCode)
				stream := newEventStream(response.Body)
				id := stream.nextNotice(t, "ssebridge.open").id
				var events int
				for {
					f, err := stream.next()
					require.NoError(t, err)
					if f.event == "" {
						id = f.id
						events++
						continue
					}
					if f.event == "ssebridge.heartbeat" {
						continue
					}
					assert.Equal(t, "ssebridge.expired", f.event)
					assert.Equal(t, `{"reason":"token"}`, f.data)
					if topic == "busy" { // an idle reader moves on with what is published elsewhere
						assert.Equal(t, id, f.id, "the reader resumes there with another token")
					}
					break
				}
				assert.Equal(t, topic == "busy", events > 0)
				_, err := stream.next()
				require.ErrorIs(t, err, io.EOF)
				late := time.Since(at)
				assert.GreaterOrEqual(t, late, time.Duration(0))
				assert.Less(t, late, time.Second)
				again := ask(t, client, b.publicURL, topics(topic), show(r.user("alice", "exp", exp)))
				assert.Equal(t, http.StatusUnauthorized, again.StatusCode)
				again = ask(t, client, b.publicURL, topics(topic), show(r.user("alice")), withHeader("Last-Event-Id", id))
				require.Equal(t, http.StatusOK, again.StatusCode)
				newEventStream(again.Body).nextNotice(t, "ssebridge.open")
			})
		}
	}
}

// TestStalledStreamsEndWithTheirToken: a reader that takes nothing does not keep what it may no longer have.
func TestStalledStreamsEndWithTheirToken(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, everybody+r.issuers())
	big, err := structpb.NewStruct(map[string]any{"text": strings.Repeat("x", 200<<10)})
	require.NoError(t, err)
	for range 60 { // 12 MiB, far more than any buffer on the way
		results, err := publishAs(t.Context(), b.internalURL, "", nil, &ssebridgev1.Event{Topic: "big", Data: packed(t, big)})
		require.NoError(t, err)
		require.Nil(t, results[0].GetError())
	}
	for version, client := range map[string]*http.Client{"HTTP/1.1": streamClient, "h2c": newPublishClient(nil)} { // with windows of its own
		t.Run(version, func(t *testing.T) {
			exp, at := expiring()
			before := b.hub.Readers()
			response := ask(t, client, b.publicURL, topics("big")+"&since=earliest", withBearer(r.user("alice", "exp", exp)))
			require.Equal(t, http.StatusOK, response.StatusCode)
			_, err := newEventStream(response.Body).lines.ReadString('\n') // and no more
			require.NoError(t, err)
			require.Equal(t, before+1, b.hub.Readers())
			require.Eventually(t, func() bool { return b.hub.Readers() == before }, time.Until(at)+time.Second, 5*time.Millisecond)
			assert.GreaterOrEqual(t, time.Since(at), time.Duration(0))
			rest, err := io.Copy(io.Discard, response.Body)
			require.Error(t, err, "cut, so that nobody takes what came for all")
			assert.Less(t, rest, int64(10<<20))
		})
	}
}

// TestPublishStreamsEndWithTheirToken: with last, and with the result of everything that was taken, idle and busy, over
// each protocol.
func TestPublishStreamsEndWithTheirToken(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, everybody+r.issuers())
	for protocol, options := range protocols {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s busy=%v", protocol, busy), func(t *testing.T) {
				t.Parallel()
				exp, at := expiring()
				stream := publisher(b.internalURL, options...).Publish(t.Context())
				bearer(stream.RequestHeader(), r.service("orders", "exp", exp))
				topic := strings.ReplaceAll(fmt.Sprintf("%s-%v", protocol, busy), " ", "-")
				require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{numbered(t, topic, 0)}}))
				var group sync.WaitGroup
				defer group.Wait()
				if busy {
					group.Go(func() {
						for n := 1; stream.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{numbered(t, topic, n)}}) == nil; n++ {
						}
					})
				}
				results, last := 0, false
				for {
					response, err := stream.Receive()
					if errors.Is(err, io.EOF) {
						break
					}
					require.NoError(t, err)
					require.False(t, last, "nothing comes behind last")
					last = response.GetLast()
					for _, result := range response.GetResults() {
						require.Nil(t, result.GetError())
						results++
					}
				}
				assert.True(t, last)
				assert.GreaterOrEqual(t, time.Since(at), time.Duration(0))
				assert.Less(t, time.Since(at), time.Second)
				assert.Equal(t, busy, results > 1)
				_ = stream.CloseRequest()

				response := ask(t, streamClient, b.publicURL, topics(topic)+"&since=earliest&format=json", withBearer(r.user("alice")))
				frames, err := collectEvents(newEventStream(response.Body), results)
				require.NoError(t, err)
				for n, f := range frames {
					require.Equal(t, data(n), f.data, "what has a result is stored")
				}
				_, err = streamAs(t.Context(), b.internalURL, r.service("orders", "exp", exp), options, numbered(t, topic, 0))
				assert.Equal(t, connect.CodeUnauthenticated, connect.CodeOf(err))
			})
		}
	}
}

// TestCommandsWithATokenThatExpires say so and end; what has no result is told.
func TestCommandsWithATokenThatExpires(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, everybody+r.issuers())
	exp, _ := expiring()
	reader, writer := io.Pipe()
	defer writer.Close()
	go func() {
		_, _ = io.WriteString(writer, eventLines(1))
		time.Sleep(time.Until(time.Unix(exp, 0)) + 500*time.Millisecond) // a token ends by the clock, and its stream soon after
		_, _ = io.WriteString(writer, eventLines(1))
	}()
	var out, errs output
	status := run(t.Context(), []string{"publish", "--addr", b.internalURL, "--token", r.service("orders", "exp", exp)}, reader, &out, &errs)
	assert.Equal(t, 1, status)
	assert.Equal(t, 1, strings.Count(out.String(), "cursor"))
	assert.Contains(t, errs.String(), "unauthenticated: the token has expired; 1 events have no result")

	exp, _ = expiring()
	status, subscribed, notes := command(t, "", "subscribe", "--addr", b.publicURL, "--topic", "a", "--since", "earliest",
		"--token", r.user("alice", "exp", exp))
	assert.Equal(t, 1, status)
	assert.Equal(t, 1, strings.Count(subscribed, "\n"))
	assert.Contains(t, notes, `ssebridge.expired {"reason":"token"}`)
	assert.Contains(t, notes, "401 Unauthorized")
}

// TestKeysInAFileRotate while streams are open: they go on, and each new one needs a key that is there.
func TestKeysInAFileRotate(t *testing.T) {
	t.Parallel()
	first, second := newECKey("first"), newEdKey("second")
	file := keyFile(t, first)
	b := startSecured(t, everybody+fmt.Sprintf(
		"issuers: [{name: i, url: %q, jwks_file: %q, audiences: [ssebridge], roles: [subscribe, publish]}]\n", users, file))
	rotate(t, b, first, second, func(keys ...signingKey) { writeKeys(t, file, keys...) })
}

// TestKeysByURLRotate likewise.
func TestKeysByURLRotate(t *testing.T) {
	t.Parallel()
	first, second := newECKey("first"), newEdKey("second")
	server := startKeyServer(t, first)
	b := startSecured(t, everybody+fmt.Sprintf(
		"issuers: [{name: i, url: %q, jwks_url: %q, audiences: [ssebridge], roles: [subscribe, publish]}]\n", users, server.URL))
	rotate(t, b, first, second, func(keys ...signingKey) { server.set(keys...) })
	assert.LessOrEqual(t, server.fetched(), 4, "nobody floods the issuer with unknown keys")
}

func rotate(t *testing.T, b *program, first, second signingKey, set func(...signingKey)) {
	t.Helper()
	mint := func(k signingKey) string {
		return k.token(claims{"iss": users, "sub": "alice", "aud": "ssebridge", "exp": in(time.Hour)})
	}
	status := func(k signingKey) int {
		response := ask(t, streamClient, b.publicURL, topics("a"), withBearer(mint(k)))
		response.Body.Close()
		return response.StatusCode
	}
	becomes := func(k signingKey, want int) {
		t.Helper()
		// Between fetches that tokens ask for are 10 s.
		require.Eventually(t, func() bool { return status(k) == want }, 15*time.Second, 100*time.Millisecond)
	}
	open := ask(t, streamClient, b.publicURL, topics("a"), withBearer(mint(first)))
	require.Equal(t, http.StatusOK, open.StatusCode)
	reader := newEventStream(open.Body)
	stream := publisher(b.internalURL).Publish(t.Context())
	bearer(stream.RequestHeader(), mint(first))
	n := 0
	works := func() {
		t.Helper()
		require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{numbered(t, "a", n)}}))
		response, err := stream.Receive()
		require.NoError(t, err)
		assert.Equal(t, response.GetResults()[0].GetCursor(), reader.nextEvent(t).id)
		n++
	}
	works()
	set(first, second)
	becomes(second, http.StatusOK)
	assert.Equal(t, http.StatusOK, status(first))
	works()
	set(second)
	stranger := newECKey("third")
	require.Eventually(t, func() bool {
		return status(stranger) == http.StatusUnauthorized && status(first) == http.StatusUnauthorized
	}, 30*time.Second, 100*time.Millisecond, "the old key counts no more")
	assert.Equal(t, http.StatusOK, status(second))
	works()
}

// TestIssuerOutOfReach: what cannot be checked now is not refused for good.
func TestIssuerOutOfReach(t *testing.T) {
	t.Parallel()
	key := newECKey("a")
	server := startKeyServer(t) // out of order
	logs := &output{}
	b := startLogged(t, securedOptions(t, "public: {cookie: session}\n"+everybody+fmt.Sprintf(
		"issuers: [{name: i, url: %q, jwks_url: %q, audiences: [ssebridge], roles: [subscribe, publish]}]\n", users, server.URL)),
		slog.New(slog.NewTextHandler(logs, nil)))
	token := key.token(claims{"iss": users, "sub": "alice", "aud": "ssebridge", "exp": in(time.Hour)})
	for version, client := range httpVersions() {
		for carrier, show := range map[string]func(string) func(*http.Request){"header": withBearer, "cookie": withCookie} {
			t.Run(version+" "+carrier, func(t *testing.T) {
				for _, accept := range []string{"text/event-stream", "*/*", ""} {
					response := ask(t, client, b.publicURL, topics("a"), show(token), func(r *http.Request) {
						r.Header.Set("Accept", accept)
						if accept == "" {
							r.Header.Del("Accept")
						}
					})
					assert.Equal(t, http.StatusOK, response.StatusCode)
					assert.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
					text, err := io.ReadAll(response.Body)
					require.NoError(t, err, "it ends")
					assert.Regexp(t, `^retry: ([1-4]\d{3}|5000)\n\nevent: ssebridge.reconnect\ndata: {"reason":"unavailable"}\n\n$`, string(text))
				}
				response := ask(t, client, b.publicURL, topics("a"), show(token), withHeader("Accept", "application/json, text/event-stream"))
				assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
				assert.Regexp(t, `^[1-6]$`, response.Header.Get("Retry-After"))
				p := readProblem(t, response)
				assert.Equal(t, "unavailable", p.Reason)
				assert.NotContains(t, p.Detail, server.URL, "nobody is told where the keys are")
			})
		}
	}
	for protocol, options := range protocols {
		_, err := publishAs(t.Context(), b.internalURL, token, options, numbered(t, "a", 1))
		assert.Equal(t, connect.CodeUnavailable, connect.CodeOf(err), protocol)
		_, err = streamAs(t.Context(), b.internalURL, token, options, numbered(t, "a", 1))
		assert.Equal(t, connect.CodeUnavailable, connect.CodeOf(err), protocol)
		assert.NotContains(t, err.Error(), server.URL)
	}
	_, err := publishAs(t.Context(), b.internalURL, "", nil, numbered(t, "a", 1))
	require.NoError(t, err, "who shows no token needs no issuer")
	assert.LessOrEqual(t, server.fetched(), 4)
	assert.LessOrEqual(t, strings.Count(logs.String(), "level=WARN"), 2, "once, not with every request:\n%s", logs)

	server.set(key)
	var opened *http.Response
	require.Eventually(t, func() bool {
		opened = ask(t, streamClient, b.publicURL, topics("a"), withBearer(token))
		text, _ := bufio.NewReader(io.LimitReader(opened.Body, 200)).ReadString('}')
		return strings.Contains(text, "ssebridge.open")
	}, 30*time.Second, 200*time.Millisecond, "the issuer is back")
}
