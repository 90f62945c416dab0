package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// server is a serving bridge with an empty log.
type server struct {
	cpus                  []int
	public, internal, ops string // URLs
	process               *exec.Cmd
	directory             string
	exited                chan struct{}
}

const (
	readyWithin   = 30 * time.Second
	stoppedWithin = 20 * time.Second
)

// serve starts a bridge on these processors and returns when it is ready.
func (r *rig) serve(ctx context.Context, cpus []int) (*server, error) {
	r.servers++
	s := &server{cpus: cpus, directory: filepath.Join(r.dir, fmt.Sprintf("serve-%d", r.servers)), exited: make(chan struct{})}
	if err := os.Mkdir(s.directory, 0o700); err != nil {
		return nil, err
	}
	addresses, err := freeAddresses(ctx, 3)
	if err != nil {
		return nil, err
	}
	s.public, s.internal, s.ops = "http://"+addresses[0], "http://"+addresses[1], "http://"+addresses[2]
	log, err := os.Create(s.logFile())
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	s.process = on(ctx, cpus, r.binary, "serve", "--dev", "--data-dir", filepath.Join(s.directory, "log"),
		"--public-addr", addresses[0], "--internal-addr", addresses[1], "--ops-addr", addresses[2])
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.process.Wait() // what it wrote says why
		close(s.exited)
	}()
	if err := s.awaitReady(ctx); err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(s.process.Args, " "), err, s.logTail())
		s.stop()
		return nil, err
	}
	return s, nil
}

// freeAddresses returns addresses that were free a moment ago.
func freeAddresses(ctx context.Context, n int) (addresses []string, err error) {
	for range n {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("a free port: %w", err)
		}
		defer func() { _ = listener.Close() }() // when all are found, so that they differ
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}

func (s *server) logFile() string { return filepath.Join(s.directory, "stderr") }

func (s *server) logTail() string {
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return tail(string(text))
}

func (s *server) awaitReady(ctx context.Context) error {
	limit := time.After(readyWithin)
	for {
		if _, err := s.get(ctx, "/readyz"); err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-s.exited:
			return errors.New("the bridge ended before it was ready")
		case <-limit:
			return fmt.Errorf("the bridge was not ready within %v", readyWithin)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// get reads a page of the ops listener.
func (s *server) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.ops+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s%s: %s\n%s", s.ops, path, response.Status, tail(string(body)))
	}
	return body, err
}

// stop ends the bridge and forgets its log.
func (s *server) stop() {
	_ = s.process.Process.Signal(os.Interrupt) // it may have ended
	select {
	case <-s.exited:
	case <-time.After(stoppedWithin):
		_ = s.process.Process.Kill()
		<-s.exited
	}
	_ = os.RemoveAll(s.directory)
}
