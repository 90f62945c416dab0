package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/ssebridge/ssebridge/bridge/sse"
)

const (
	// 64 topics of 512 bytes, percent-encoded throughout, take 96 KiB.
	maxHeaderBytes = 128 << 10
	// The kernel holds up to 4 MiB for a reader that takes nothing, unless it is told otherwise. It doubles the number,
	// for its own bookkeeping.
	publicSendBuffer = 64 << 10
	// Also for the TLS handshake, which comes before.
	readHeaderTimeout = 10 * time.Second
	// Event streams set a deadline for each write instead.
	publicWriteTimeout = time.Minute
	opsWriteTimeout    = 5 * time.Minute // a profile is taken while its answer is written
)

// server is one listener and what answers there: HTTP/1.1 and HTTP/2, which clients choose by ALPN over TLS, and by prior
// knowledge in cleartext (h2c).
type server struct {
	listener    net.Listener
	certificate *certificate // nil: cleartext
	http        *http.Server

	writeTimeout time.Duration // of an answer, from its request on; 0: none
}

// listen opens a listener, in cleartext without a certificate, and returns the URL under which it is reached from this
// machine.
func listen(ctx context.Context, addr string, certificate *certificate) (*server, string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, "", fmt.Errorf("%w: choose another address, as host:port or :port", err)
	}
	bound, _ := listener.Addr().(*net.TCPAddr)
	host := bound.IP.String()
	if bound.IP.IsUnspecified() || bound.IP.IsLoopback() && bound.IP.To4() != nil {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(bound.String())
	scheme := "http"
	if certificate != nil {
		scheme = "https"
	}
	return &server{listener: listener, certificate: certificate}, scheme + "://" + net.JoinHostPort(host, port), nil
}

// serve answers requests until shutdown or close. A listener that fails is told to failed.
func (s *server) serve(handler http.Handler, logger *slog.Logger, failed chan<- error) {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(s.certificate != nil)
	protocols.SetUnencryptedHTTP2(s.certificate == nil)
	s.http = &http.Server{
		Handler:           handler,
		Protocols:         &protocols,
		ReadHeaderTimeout: readHeaderTimeout,
		WriteTimeout:      s.writeTimeout,
		ConnContext:       sse.ConnContext,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		// net/http would answer OPTIONS * by itself, past the handlers that set headers and refuse browsers.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(&peerLog{logger: logger, handshakes: rate.Sometimes{First: 10, Interval: time.Second}}, "", 0),
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: 30 * time.Second, // a peer that has vanished is noticed
			PingTimeout:     15 * time.Second,
		},
	}
	serve := s.http.Serve
	if s.certificate != nil {
		s.http.TLSConfig = s.certificate.config()
		serve = func(listener net.Listener) error { return s.http.ServeTLS(listener, "", "") }
	}
	go func() {
		if err := serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
}

// peerLog takes the lines that net/http writes. They are about what peers do, and for debugging only, but for one: that
// a handler has panicked. Scanners and probes that break off TLS handshakes get a line a second.
type peerLog struct {
	logger     *slog.Logger
	handshakes rate.Sometimes
}

func (l *peerLog) Write(text []byte) (int, error) {
	line := strings.TrimSpace(string(text))
	switch {
	case strings.Contains(line, ": panic serving "): // "http: " or "http2: "
		l.logger.Error(line)
	case strings.Contains(line, "TLS handshake error"):
		l.handshakes.Do(func() { l.logger.Debug(line) })
	default:
		l.logger.Debug(line)
	}
	return len(text), nil
}

// cap bounds what the kernel holds for each connection that has not taken it yet, and for how long.
func (s *server) cap(bytes int, stall time.Duration) {
	s.listener = &cappedListener{Listener: s.listener, bytes: bytes, stall: stall}
}

type cappedListener struct {
	net.Listener

	bytes int
	stall time.Duration
}

func (l *cappedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(l.bytes) // fails only for a connection that has gone already
		limitSilence(tcp, l.stall)
	}
	return conn, err
}

// shutdown takes no more connections and returns when the open ones have ended, or cuts them when ctx ends.
func (s *server) shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// close cuts every connection. It may be called before serve.
func (s *server) close() {
	if s.http == nil {
		_ = s.listener.Close() // nobody uses it yet
		return
	}
	_ = s.http.Close() // what is still open is cut, which is what was asked for
}
