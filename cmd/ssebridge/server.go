package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// server is one listener and what answers there: HTTP/1.1, and HTTP/2 in cleartext (h2c, prior knowledge).
type server struct {
	listener net.Listener
	http     *http.Server
}

// listen opens a listener for a flag's address and returns the URL under which it is reached from this machine.
func listen(ctx context.Context, flag, addr string) (*server, string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, "", listenError(flag, addr, err)
	}
	bound, _ := listener.Addr().(*net.TCPAddr)
	host := bound.IP.String()
	if bound.IP.IsUnspecified() || bound.IP.IsLoopback() && bound.IP.To4() != nil {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(bound.String())
	return &server{listener: listener}, "http://" + net.JoinHostPort(host, port), nil
}

// serve answers requests until shutdown or close. A listener that fails is told to failed.
func (s *server) serve(handler http.Handler, logger *slog.Logger, failed chan<- error) {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler:           handler,
		Protocols:         &protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: 30 * time.Second, // a peer that has vanished is noticed
			PingTimeout:     15 * time.Second,
		},
	}
	go func() {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
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
