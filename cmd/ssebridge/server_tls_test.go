package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

// startTLSBridge runs a bridge with one certificate, in a directory, for all three listeners.
func startTLSBridge(t *testing.T, ca *authority) (*program, secretDir, *output) {
	t.Helper()
	dir := secretDir(t.TempDir())
	chain, key := ca.issue(t, nil)
	dir.put(t, chain, key)
	options := testOptions(t)
	options.config.Public.TLS, options.config.Internal.TLS, options.config.Ops.TLS = dir.files(), dir.files(), dir.files()
	var logs output
	p, err := start(t.Context(), options, slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	require.NoError(t, err)
	t.Cleanup(p.shutdown)
	require.Eventually(t, func() bool { return p.readiness(t.Context()).Ready }, 30*time.Second, 5*time.Millisecond)
	return p, dir, &logs
}

// readClient opens a connection for each request, over HTTP/1.1 or HTTP/2.
func readClient(ca *authority, protocol string) *http.Client {
	client := newReadClient(ca.pool())
	transport := client.Transport.(*http.Transport)
	transport.DisableKeepAlives = true
	transport.Protocols.SetHTTP1(protocol == "HTTP/1.1")
	transport.Protocols.SetHTTP2(protocol == "HTTP/2.0")
	return client
}

func caFile(t *testing.T, ca *authority) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, []byte(certificatePEM(ca.certificate)), 0o600))
	return path
}

// TestListenersOverTLS: each listener has a URL that says https, speaks both protocols to those who ask for them by ALPN,
// TLS 1.2 and 1.3 and nothing older, and tells a client in cleartext what is wrong.
func TestListenersOverTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	b, _, _ := startTLSBridge(t, ca)
	for name, base := range map[string]string{"public": b.publicURL, "internal": b.internalURL, "ops": b.opsURL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Regexp(t, `^https://localhost:\d+$`, base)
			path := map[string]string{"public": "/v1/events?topic=a", "internal": "/grpc.health.v1.Health/Check", "ops": "/livez"}[name]
			for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
				ctx, cancel := context.WithCancel(t.Context())
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
				require.NoError(t, err)
				response, err := readClient(ca, protocol).Do(request)
				require.NoError(t, err)
				assert.Equal(t, protocol, response.Proto)
				assert.NotEqual(t, http.StatusNotFound, response.StatusCode)
				cancel()
				_ = response.Body.Close()
			}

			for version, works := range map[uint16]bool{
				tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true,
			} {
				conn := tls.Client(dial(t, base), &tls.Config{
					RootCAs: ca.pool(), ServerName: "localhost", MinVersion: version, MaxVersion: version, NextProtos: []string{"h2"},
				})
				err := conn.Handshake()
				if !works {
					assert.ErrorContains(t, err, "protocol version not supported", tls.VersionName(version))
					continue
				}
				require.NoError(t, err, tls.VersionName(version))
				assert.Equal(t, "h2", conn.ConnectionState().NegotiatedProtocol)
			}

			conn := dial(t, base)
			_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
			require.NoError(t, err)
			answer, err := io.ReadAll(conn)
			require.NoError(t, err)
			assert.Contains(t, string(answer), "400 Bad Request")
			assert.Contains(t, string(answer), "HTTP request to an HTTPS server")

			_, err = newReadClient(nil).Get(base + path)
			assert.ErrorContains(t, err, "unknown authority", "clients verify")
		})
	}
}

// TestCleartextListenersHaveNoTLS: what begins as TLS is not taken for anything else.
func TestCleartextListenersHaveNoTLS(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	_, err := newReadClient(nil).Get(strings.Replace(b.publicURL, "http:", "https:", 1) + "/v1/events?topic=a")
	assert.ErrorContains(t, err, "server gave HTTP response to HTTPS client")
}

// TestPublishOverTLS: the stream over HTTP/2 in each protocol, the unary call over HTTP/1.1 too.
func TestPublishOverTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	b, _, _ := startTLSBridge(t, ca)
	stream := subscribeOver(t, readClient(ca, "HTTP/2.0"), b.publicURL)
	number := 0
	for name, option := range map[string]connect.ClientOption{
		"connect": connect.WithClientOptions(), "gRPC": connect.WithGRPC(), "gRPC-Web": connect.WithGRPCWeb(),
	} {
		client := ssebridgev1connect.NewPublishServiceClient(newPublishClient(ca.pool()), b.internalURL, option)
		rpc := client.Publish(t.Context())
		for range 3 {
			require.NoError(t, rpc.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{numbered(t, "a", number)}}), name)
			answer, err := rpc.Receive()
			require.NoError(t, err, name)
			require.Len(t, answer.GetResults(), 1)
			f := stream.nextEvent(t)
			assert.Equal(t, data(number), f.data)
			assert.Equal(t, answer.GetResults()[0].GetCursor(), f.id)
			number++
		}
		require.NoError(t, rpc.CloseRequest())
		require.NoError(t, rpc.CloseResponse())
	}
	unary := ssebridgev1connect.NewPublishServiceClient(readClient(ca, "HTTP/1.1"), b.internalURL)
	answer, err := unary.PublishBatch(t.Context(), connect.NewRequest(&ssebridgev1.PublishBatchRequest{
		Events: []*ssebridgev1.Event{numbered(t, "a", number)},
	}))
	require.NoError(t, err)
	assert.Equal(t, answer.Msg.GetResults()[0].GetCursor(), stream.nextEvent(t).id)
}

// subscribeOver opens a stream of messages alone for the topic a.
func subscribeOver(t *testing.T, client *http.Client, base string) *eventStream {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/events?topic=a&format=json", nil)
	require.NoError(t, err)
	response, err := client.Do(request)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	stream := newEventStream(response.Body)
	t.Cleanup(stream.close)
	stream.nextNotice(t, "ssebridge.open")
	return stream
}

// TestCommandsOverTLS: publish and subscribe as one types them.
func TestCommandsOverTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	b, _, _ := startTLSBridge(t, ca)
	roots := caFile(t, ca)
	status, out, errs := command(t, eventLines(500), "publish", "--addr", b.internalURL, "--ca", roots)
	require.Zero(t, status, errs)
	assert.Equal(t, 500, strings.Count(out, `{"cursor":"`))
	status, out, errs = command(t, "", "subscribe", "--addr", b.publicURL, "--ca", roots, "--topic", "a", "--since", "earliest", "-n", "500")
	require.Zero(t, status, errs)
	assert.Equal(t, 500, strings.Count(out, "\n"))

	broken := filepath.Join(t.TempDir(), "broken.pem")
	require.NoError(t, os.WriteFile(broken, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"}), 0o600))
	for _, test := range []struct {
		addr, ca, want string
	}{
		{b.internalURL, "", "certificate signed by unknown authority"},
		{b.internalURL, caFile(t, newAuthority(t)), "certificate signed by unknown authority"},
		{b.internalURL, "nowhere.pem", "--ca: open nowhere.pem: no such file"},
		{b.internalURL, broken, "--ca: " + broken + " has no certificate in PEM"},
		{strings.Replace(b.internalURL, "https", "http", 1), roots, "is in cleartext: use --addr https://…, or leave --ca out"},
	} {
		status, out, errs := command(t, "", "publish", "--addr", test.addr, "--ca", test.ca, "a", fmt.Sprintf(structJSON, 1))
		assert.Equal(t, 1, status)
		assert.Empty(t, out)
		assert.Contains(t, errs, test.want)
	}
	status, _, errs = command(t, "", "subscribe", "--addr", b.publicURL, "--ca", broken, "--topic", "a")
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "has no certificate in PEM")
}

// TestCertificateIsReplacedWhileStreamsAreOpen: new connections get the new certificate on every listener, streams that
// are open go on, and files that are no pair change nothing.
func TestCertificateIsReplacedWhileStreamsAreOpen(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	b, dir, logs := startTLSBridge(t, ca)
	shown := func(base string) string {
		conn := tls.Client(dial(t, base), &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"})
		defer conn.Close()
		require.NoError(t, conn.Handshake())
		return certificatePEM(conn.ConnectionState().PeerCertificates[0])
	}
	publish := ssebridgev1connect.NewPublishServiceClient(newPublishClient(ca.pool()), b.internalURL).Publish(t.Context())
	streams := []*eventStream{
		subscribeOver(t, readClient(ca, "HTTP/1.1"), b.publicURL), subscribeOver(t, readClient(ca, "HTTP/2.0"), b.publicURL),
	}
	number := 0
	goOn := func() {
		number++
		require.NoError(t, publish.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{numbered(t, "a", number)}}))
		_, err := publish.Receive()
		require.NoError(t, err)
		for _, stream := range streams {
			assert.Equal(t, data(number), stream.nextEvent(t).data)
		}
	}
	goOn()

	chain, key := ca.issue(t, nil)
	dir.put(t, chain, key)
	for _, base := range []string{b.publicURL, b.internalURL, b.opsURL} {
		require.Eventually(t, func() bool { return shown(base) == chain }, 10*certificatePoll, 50*time.Millisecond)
	}
	goOn()

	broken, _ := ca.issue(t, nil)
	dir.put(t, broken, key)
	require.Eventually(t, func() bool { return strings.Count(logs.String(), "are no pair") == 3 }, 10*certificatePoll, 50*time.Millisecond)
	assert.Equal(t, chain, shown(b.publicURL))
	goOn()
	assert.Equal(t, 6, strings.Count(logs.String(), `msg="TLS certificate read"`), "at start and when replaced, of three listeners")
	assert.NotContains(t, logs.String(), "PRIVATE KEY")
}

// TestCertificateExpiryIsMeasured, for each listener that has a certificate.
func TestCertificateExpiryIsMeasured(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	b, _, _ := startTLSBridge(t, ca)
	response, err := readClient(ca, "HTTP/1.1").Get(b.opsURL + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	for listener, certificate := range b.certificates {
		var seconds float64
		_, err := fmt.Sscan(sample(string(text), `ssebridge_certificate_expiry_seconds{listener="`+listener+`"}`), &seconds)
		require.NoError(t, err)
		assert.InDelta(t, certificate.current.Load().Leaf.NotAfter.Unix(), seconds, 0)
	}
	assert.Len(t, b.certificates, 3)
}

// pipeListener takes connections in memory, on which time can be that of a test.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) Close() error {
	close(l.closed)
	return nil
}

// TestSlowHandshakeIsCut: neither silence, nor a hello that never ends, nor silence after a hello holds a connection for
// longer than the time for a request's head.
func TestSlowHandshakeIsCut(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(net.Conn){
		"silence": func(net.Conn) {},
		"a byte now and then": func(conn net.Conn) {
			// A record that announces 512 bytes.
			for _, err := conn.Write([]byte{22, 3, 1, 2, 0}); err == nil; _, err = conn.Write([]byte{1}) {
				time.Sleep(time.Second)
			}
		},
		"silence after the hello": func(conn net.Conn) {
			_ = tls.Client(deafConn{conn}, &tls.Config{ServerName: "localhost"}).Handshake()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dir := secretDir(t.TempDir())
				chain, key := newAuthority(t).issue(t, nil)
				dir.put(t, chain, key)
				var logs output
				logger := slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
				shown := &certificate{listener: "public", files: dir.files(), logger: logger}
				require.NoError(t, shown.read())
				listener := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
				s := &server{listener: listener, certificate: shown}
				s.serve(http.NotFoundHandler(), logger, make(chan error, 1))
				defer s.close()

				ours, theirs := net.Pipe()
				begun := time.Now()
				listener.conns <- theirs
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					send(ours)
				}()
				_, err := io.Copy(io.Discard, bufio.NewReader(ours))
				require.NoError(t, err)
				assert.Equal(t, readHeaderTimeout, time.Since(begun))
				_ = ours.Close()
				<-sent
				synctest.Wait()
				assert.Contains(t, logs.String(), "level=DEBUG msg=\"http: TLS handshake error from ")
			})
		})
	}
}

// deafConn sends and does not receive.
type deafConn struct{ net.Conn }

func (deafConn) Read([]byte) (int, error) { return 0, io.EOF }

// TestBrokenHandshakesDoNotFloodTheLog, not even where it shows everything; a handler that panics is an error.
func TestBrokenHandshakesDoNotFloodTheLog(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	b, _, logs := startTLSBridge(t, ca)
	for range 300 {
		conn := dial(t, b.publicURL)
		_, err := io.WriteString(conn, "nonsense")
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, conn)
	}
	count := strings.Count(logs.String(), "TLS handshake error")
	assert.GreaterOrEqual(t, count, 1)
	assert.Less(t, count, 60)
	assert.NotContains(t, logs.String(), "level=WARN")
	assert.NotContains(t, logs.String(), "level=ERROR")

	panicking, base, err := listen(t.Context(), "127.0.0.1:0", b.certificates["public"])
	require.NoError(t, err)
	t.Cleanup(panicking.close)
	panicking.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oh no") }),
		slog.New(slog.NewTextHandler(logs, nil)), make(chan error, 1))
	for n, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		_, err := readClient(ca, protocol).Get(base)
		require.Error(t, err)
		assert.Eventually(t, func() bool { return strings.Count(logs.String(), "level=ERROR") == n+1 }, 10*time.Second, 10*time.Millisecond)
	}
	assert.Contains(t, logs.String(), "oh no")
}
