package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/otelconnect"
	"google.golang.org/protobuf/reflect/protodesc"

	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

// maxMessageBytes is how much one message of a call holds at most, uncompressed.
const maxMessageBytes = 4 << 20

// compressMinBytes is how large a response is for which compression pays: results are small.
const compressMinBytes = 4 << 10

// Wire is how the service meets the network.
type Wire struct {
	Codecs      []connect.Codec               // replace connect's own of the same names
	Descriptors protodesc.Resolver            // served by reflection
	Extensions  grpcreflect.ExtensionResolver // served by reflection
}

// Mount adds the service, gRPC health and gRPC reflection (v1 and v1alpha) to mux.
func (s *Service) Mount(mux *http.ServeMux, wire Wire) {
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(maxMessageBytes),
		connect.WithCompressMinBytes(compressMinBytes),
		connect.WithRecover(s.recovered),
	}
	if tracing := s.traceCalls(); tracing != nil {
		options = append(options, connect.WithInterceptors(tracing))
	}
	for _, codec := range wire.Codecs {
		options = append(options, connect.WithCodec(codec))
	}
	path, handler := ssebridgev1connect.NewPublishServiceHandler(s, options...)
	mux.Handle(path, withInterrupt(handler))
	mux.Handle(ssebridgev1connect.PublishServicePublishBatchProcedure, withBodyTime(handler, s.config.BodyTime))
	mux.Handle(grpchealth.NewHandler(s, connect.WithReadMaxBytes(maxMessageBytes)))
	reflector := grpcreflect.NewReflector(
		grpcreflect.NamerFunc(func() []string { return []string{ssebridgev1connect.PublishServiceName} }),
		grpcreflect.WithDescriptorResolver(wire.Descriptors),
		grpcreflect.WithExtensionResolver(wire.Extensions),
	)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
}

// traceCalls returns what gives each unary call a span; nil where nothing is traced. A stream, which may last for days,
// has one for each of its messages instead.
func (s *Service) traceCalls() connect.Interceptor {
	tracers := s.config.Telemetry.Tracers()
	if tracers == nil {
		return nil
	}
	interceptor, err := otelconnect.NewInterceptor(
		otelconnect.WithTracerProvider(tracers),
		otelconnect.WithPropagator(s.config.Telemetry.Propagator()),
		otelconnect.WithTrustRemote(), // publishers are services of the same house
		otelconnect.WithoutMetrics(),
		otelconnect.WithFilter(func(_ context.Context, spec connect.Spec) bool { return spec.StreamType == connect.StreamTypeUnary }),
	)
	if err != nil { // of metrics, of which there are none
		s.config.Logger.Error("unary calls are not traced", "error", err)
		return nil
	}
	return interceptor
}

// recovered turns a panic, a bug, into an error of its call and a line in the log.
func (s *Service) recovered(ctx context.Context, spec connect.Spec, _ http.Header, panicked any) error {
	s.config.Logger.ErrorContext(ctx, "panic", "procedure", spec.Procedure, "panic", panicked, "stack", string(debug.Stack()))
	return connect.NewError(connect.CodeInternal, errBug)
}

// Check implements grpchealth.Checker: serving until Drain.
func (s *Service) Check(_ context.Context, request *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	switch request.Service {
	case "", ssebridgev1connect.PublishServiceName:
	default:
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("unknown service %q", request.Service))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}

type interruptKey struct{}

// withInterrupt lets a call find out how to make a read of its own request return: connect does not hand out the
// response that this is done with.
func withInterrupt(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		interrupt := func() {
			_ = control.SetReadDeadline(time.Unix(1, 0)) // fails only for a call that has ended
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), interruptKey{}, interrupt)))
	})
}

func interrupter(ctx context.Context) func() {
	if interrupt, ok := ctx.Value(interruptKey{}).(func()); ok {
		return interrupt
	}
	return func() {}
}

// withBodyTime bounds how long a request may take to arrive. Unlike a server's ReadTimeout it lets streams be, which
// arrive as long as they live. Once the request has arrived net/http looks at the deadline no more.
func withBodyTime(next http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(limit)); err != nil {
			http.Error(w, "this server cannot bound requests in time", http.StatusInternalServerError)
			return
		}
		r.Body = &timedBody{ReadCloser: r.Body, limit: limit}
		next.ServeHTTP(w, r)
	})
}

// timedBody is a request's body that says what its deadline means.
type timedBody struct {
	io.ReadCloser

	limit time.Duration
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = connect.NewError(connect.CodeDeadlineExceeded, fmt.Errorf(
			"the request has not arrived within %v: send it faster, or in smaller parts", b.limit))
	}
	return n, err
}
