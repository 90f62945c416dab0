package publish

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/telemetry"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

// instantLog has stored an event as soon as it is appended, and keeps nothing: what the benchmarks measure ends here.
type instantLog struct {
	bridge.Log

	cursor bridge.Cursor
}

func (l *instantLog) Append(context.Context, *bridge.Event, string) (bridge.Pending, error) {
	l.cursor.Seq++
	return instantPending(l.cursor), nil
}

type instantPending bridge.Cursor

func (instantPending) Ready() bool { return true }

func (p instantPending) Wait() (bridge.Receipt, error) {
	return bridge.Receipt{Cursor: bridge.Cursor(p)}, nil
}

func newInstantLog() *instantLog {
	return &instantLog{cursor: bridge.Cursor{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()}}
}

func benchEvent() *ssebridgev1.Event {
	return &ssebridgev1.Event{
		Topic: "shops/7/orders/42", Id: "00340434161094042557",
		Data: &anypb.Any{TypeUrl: "type.googleapis.com/shop.v1.OrderShipped", Value: bytes.Repeat([]byte("x"), 200)},
	}
}

func benchService() *Service {
	return New(Config{Log: newInstantLog(), Encoders: rawEncoder{}, Caller: func(context.Context) Caller {
		return Caller{ID: "cluster\x00orders", Authorize: func(string, string) (string, error) { return "/shop/orders", nil }}
	}})
}

// benchClient serves over h2c on the loopback interface and returns a client. Both share the processors, so that what
// the client takes is measured too.
func benchClient(b *testing.B) ssebridgev1connect.PublishServiceClient {
	b.Helper()
	mux := http.NewServeMux()
	benchService().Mount(mux, Wire{Descriptors: protoregistry.GlobalFiles, Extensions: protoregistry.GlobalTypes})
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = &h2c
	server.Start()
	b.Cleanup(server.Close)
	transport := &http.Transport{Protocols: &h2c}
	b.Cleanup(transport.CloseIdleConnections)
	return ssebridgev1connect.NewPublishServiceClient(&http.Client{Transport: transport}, server.URL)
}

// BenchmarkStream measures what an event takes from a client through a Publish stream to its result, without what has
// benchmarks of its own: rules, JSON and the log, which take nothing here. An operation is an event.
func BenchmarkStream(b *testing.B) {
	for _, events := range []int{1, 64} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) { benchStream(b, events) })
	}
}

func benchStream(b *testing.B, events int) {
	stream := benchClient(b).Publish(b.Context())
	message := &ssebridgev1.PublishRequest{}
	for range events {
		message.Events = append(message.Events, benchEvent())
	}
	await := func(results int) error {
		for results > 0 {
			response, err := stream.Receive()
			if err != nil {
				return err
			}
			results -= len(response.GetResults())
		}
		return nil
	}
	require.NoError(b, stream.Send(message)) // opens connection and stream
	require.NoError(b, await(events))
	b.ReportAllocs()
	b.ResetTimer()
	received := make(chan error, 1)
	go func() { received <- await(b.N) }()
	for left := b.N; left > 0; left -= events {
		message.Events = message.Events[:min(left, events)]
		if err := stream.Send(message); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, <-received)
	b.StopTimer()
	require.NoError(b, stream.CloseRequest())
	require.NoError(b, stream.CloseResponse())
}

// BenchmarkChecks measures the checks of an event, but for its rule, which auth/rule measures, and its data.
func BenchmarkChecks(b *testing.B) {
	plain, full := benchEvent(), benchEvent()
	full.Time = timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))
	full.Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	in := benchService().intake(b.Context(), nil)
	now := time.Now()
	for _, bench := range []struct {
		name  string
		event *ssebridgev1.Event
	}{{"plain", plain}, {"time and traceparent", full}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				accepted, err := check(bench.event, now)
				if err == nil {
					accepted.Type = "shop.v1.OrderShipped"
					err = checkType(accepted.Type)
				}
				if err == nil {
					accepted.Source, err = in.authorize(accepted.Topic, accepted.Type)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkResults measures how outcomes become results, as many at once as may be in flight. An operation is a result.
func BenchmarkResults(b *testing.B) {
	service := benchService()
	send := telemetry.Off().Receive(time.Now())
	emitted := 0
	emit := func(results []*ssebridgev1.PublishResult) error {
		emitted += len(results)
		return nil
	}
	began := 0
	b.ReportAllocs()
	for b.Loop() {
		if began == emitted {
			outcomes := service.intake(b.Context(), nil).outcomes
			for range cap(outcomes) {
				pending, _ := service.config.Log.Append(b.Context(), nil, "")
				outcomes <- outcome{pending: pending, send: &send}
			}
			close(outcomes)
			require.NoError(b, collect(outcomes, emit, func() {}))
		}
		began++
	}
}
