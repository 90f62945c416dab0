package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// streams is a swarm with a goroutine for each reader.
type streams struct {
	client *http.Client
	crowd  *crowd
	turns  chan struct{} // taken while connecting
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

func newStreams(client *http.Client, c *crowd) *streams {
	return &streams{client: client, crowd: c, turns: make(chan struct{}, 128), cancel: func() {}}
}

func (s *streams) connect(readers []*reader) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	for i, r := range readers {
		t := s.crowd.tallies[i%len(s.crowd.tallies)]
		s.ended.Go(func() { s.run(ctx, r, t) })
	}
}

func (s *streams) drop() {
	s.cancel()
	s.ended.Wait()
	s.client.CloseIdleConnections()
}

func (s *streams) close() { s.drop() }

// run keeps a reader connected.
func (s *streams) run(ctx context.Context, r *reader, t *tally) {
	for ctx.Err() == nil {
		err := s.stream(ctx, r, t)
		t.Lock()
		wait := r.retry
		if ctx.Err() != nil {
			if r.open {
				r.open = false
				s.crowd.open.Add(-1)
			}
		} else {
			s.crowd.ended(r, t, err)
		}
		t.Unlock()
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// stream reads one connection to its end.
func (s *streams) stream(ctx context.Context, r *reader, t *tally) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.crowd.path(s.crowd.base, r), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "text/event-stream")
	if s.crowd.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.crowd.token)
	}
	if len(r.lastID) > 0 {
		request.Header.Set("Last-Event-ID", string(r.lastID))
	}
	select {
	case s.turns <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	turn := sync.OnceFunc(func() { <-s.turns })
	defer turn()
	r.connecting(time.Now())
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // read side
	if response.StatusCode != http.StatusOK {
		detail, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
		return &statusError{status: response.Status, detail: detail}
	}
	return s.read(response.Body, r, t, turn)
}

// read takes an event stream. It calls opened once it has begun.
func (s *streams) read(body io.Reader, r *reader, t *tally, opened func()) error {
	buffer := make([]byte, 16<<10)
	for {
		n, err := body.Read(buffer)
		now := time.Now()
		t.Lock()
		began, wrong := r.read(buffer[:n], now, t)
		t.Unlock()
		if began {
			opened()
			s.crowd.open.Add(1)
		}
		switch {
		case wrong != nil:
			return wrong
		case errors.Is(err, io.EOF):
			return errEnded
		case err != nil:
			return fmt.Errorf("read: %w", err)
		}
	}
}
