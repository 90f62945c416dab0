package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/telemetry"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// Config is what a Service needs. The zero value of an optional field stands for its default.
type Config struct {
	Log      bridge.Log
	Encoders bridge.Encoders
	// Caller says who makes a call and what they may do. Nil: nobody may do anything.
	Caller func(context.Context) Caller
	// JSONData returns the data of an event that came as JSON and that the codec left as it was.
	JSONData      func(*ssebridgev1.Event) ([]byte, bool)
	Logger        *slog.Logger
	Source        string               // CloudEvents source. Defaults to "/ssebridge".
	MaxEventBytes int                  // JSON of one event. Defaults to 256 KiB.
	InFlight      int                  // events of one stream that have no result yet. Defaults to 1,024.
	MaxAge        time.Duration        // mean age at which a stream ends with last. Defaults to 1 h.
	BodyTime      time.Duration        // for the body of a unary call to arrive. Defaults to 1 min.
	Telemetry     *telemetry.Telemetry // defaults to none
}

// Caller is who makes a call.
type Caller struct {
	ID    string    // whose event ids these are: equal ones of others are other events
	Until time.Time // when the caller's identity ends, and a stream with it; zero: it does not
	// Authorize says whether the caller may publish an event of a type to a topic, and the event's CloudEvents source,
	// which may be empty for the usual one. The error is a *bridge.Refusal. Nil allows nothing.
	Authorize func(topic, typeName string) (source string, err error)
}

func (c Config) withDefaults() Config {
	if c.Caller == nil {
		c.Caller = func(context.Context) Caller { return Caller{} }
	}
	if c.JSONData == nil {
		c.JSONData = func(*ssebridgev1.Event) ([]byte, bool) { return nil, false }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Source == "" {
		c.Source = "/ssebridge"
	}
	if c.MaxEventBytes == 0 {
		c.MaxEventBytes = 256 << 10
	}
	if c.InFlight == 0 {
		c.InFlight = 1024
	}
	if c.MaxAge == 0 {
		c.MaxAge = time.Hour
	}
	if c.BodyTime == 0 {
		c.BodyTime = time.Minute
	}
	if c.Telemetry == nil {
		c.Telemetry = telemetry.Off()
	}
	return c
}

// Service implements ssebridge.v1.PublishService. It may be used concurrently.
type Service struct {
	config Config
	turns  turns

	mu       sync.Mutex
	streams  map[*publishStream]struct{}
	draining bool
}

// New makes a service.
func New(config Config) *Service {
	return &Service{config: config.withDefaults(), turns: newTurns(), streams: map[*publishStream]struct{}{}}
}

// Drain asks every stream, and every one that begins from now on, to end with last.
func (s *Service) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for stream := range s.streams {
		stream.stop()
	}
}

// Streams returns how many streams are open.
func (s *Service) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

func (s *Service) intake(ctx context.Context, header http.Header) *intake {
	in := &intake{config: &s.config, turns: s.turns, caller: s.config.Caller(ctx), outcomes: make(chan outcome, s.config.InFlight)}
	if parent := header.Get("Traceparent"); validTraceParent(parent) {
		in.traceParent = parent
	}
	return in
}

// PublishBatch implements the unary call.
func (s *Service) PublishBatch(
	ctx context.Context, request *connect.Request[ssebridgev1.PublishBatchRequest],
) (*connect.Response[ssebridgev1.PublishBatchResponse], error) {
	in := s.intake(ctx, request.Header())
	response := &ssebridgev1.PublishBatchResponse{}
	err := in.run(ctx, func(ctx context.Context) error {
		return in.take(ctx, request.Msg.GetSchema(), request.Msg.GetEvents())
	}, func(results []*ssebridgev1.PublishResult) error {
		response.Results = append(response.Results, results...)
		return nil
	}, func() {})
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(response), nil
}

// Publish implements the stream.
func (s *Service) Publish(
	ctx context.Context, rpc *connect.BidiStream[ssebridgev1.PublishRequest, ssebridgev1.PublishResponse],
) error {
	stream := &publishStream{rpc: rpc, in: s.intake(ctx, rpc.RequestHeader()), interrupt: interrupter(ctx)}
	s.enter(stream)
	defer s.leave(stream)
	age := time.AfterFunc(s.age(stream.in.caller), stream.stop)
	defer age.Stop()
	defer stream.end()
	return stream.run(ctx)
}

// age is how old a caller's stream becomes: 80 to 120 % of the mean, so that publishers who came together spread over the
// replicas, and no older than the caller's identity, as the next stream needs another token.
func (s *Service) age(caller Caller) time.Duration {
	age := s.config.MaxAge*4/5 + rand.N(s.config.MaxAge*2/5+1) //nolint:gosec // spreads load, guards nothing
	if !caller.Until.IsZero() {
		age = min(age, time.Until(caller.Until))
	}
	return age
}

func (s *Service) enter(stream *publishStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[stream] = struct{}{}
	if s.draining {
		stream.stop()
	}
}

func (s *Service) leave(stream *publishStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, stream)
}

// publishStream is one Publish call.
type publishStream struct {
	rpc       *connect.BidiStream[ssebridgev1.PublishRequest, ssebridgev1.PublishResponse]
	in        *intake
	interrupt func() // makes a Receive that waits return

	mu      sync.Mutex
	stopped bool
	ended   bool // the response is gone, so nothing may be interrupted any more
}

// stop makes the stream take no more events. It may be called at any time, more than once.
func (p *publishStream) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if !p.ended {
		p.interrupt()
	}
}

func (p *publishStream) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
}

func (p *publishStream) isStopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped
}

// run receives in this goroutine and sends results in another. It returns when both are done.
func (p *publishStream) run(ctx context.Context) error {
	err := p.in.run(ctx, p.receive, func(results []*ssebridgev1.PublishResult) error {
		return p.rpc.Send(&ssebridgev1.PublishResponse{Results: results})
	}, p.stop)
	if err != nil {
		return callError(err)
	}
	if p.isStopped() {
		return p.rpc.Send(&ssebridgev1.PublishResponse{Last: true})
	}
	return nil
}

// receive takes in events until the publisher has sent all or the stream is stopped; both are no error.
func (p *publishStream) receive(ctx context.Context) error {
	for !p.isStopped() {
		request, err := p.rpc.Receive()
		switch {
		case errors.Is(err, io.EOF) || err != nil && p.isStopped():
			return nil
		case err != nil:
			return err
		}
		if err := p.take(ctx, request); err != nil {
			return err
		}
	}
	return nil
}

// take takes in one message of the stream.
func (p *publishStream) take(ctx context.Context, request *ssebridgev1.PublishRequest) (err error) {
	ctx, span := p.in.config.Telemetry.Publish(ctx, p.in.traceParent, len(request.GetEvents()))
	defer func() { span.End(err) }()
	return p.in.take(ctx, request.GetSchema(), request.GetEvents())
}

// callError is the error with which a call ends.
func callError(err error) error {
	var (
		refusal *bridge.Refusal
		coded   *connect.Error
	)
	switch {
	case errors.As(err, &refusal):
		return connect.NewError(connect.CodeInvalidArgument, errors.New(refusal.Message))
	case errors.Is(err, bridge.ErrLogUnavailable):
		return connect.NewError(connect.CodeUnavailable, fmt.Errorf("%w: send again every event that has no result", bridge.ErrLogUnavailable))
	case errors.As(err, &coded):
		return coded
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	}
	return connect.NewError(connect.CodeInternal, err)
}
