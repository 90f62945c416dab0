package publish_test

import (
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/publish"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

// slowLog takes a while for each event and notices whether its caller has gone meanwhile.
type slowLog struct {
	gateLog

	wait time.Duration
}

func (l *slowLog) Append(ctx context.Context, event *bridge.Event, key string) (bridge.Pending, error) {
	time.Sleep(l.wait) // real sockets have real deadlines
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return l.gateLog.Append(ctx, event, key)
}

// TestBodiesArriveInTime: a unary call whose body is stuck, or comes too slowly, is ended; one that has arrived may take
// longer, and a stream may be silent for longer.
func TestBodiesArriveInTime(t *testing.T) {
	const limit = 150 * time.Millisecond
	log := &slowLog{wait: limit}
	log.gate = make(chan struct{})
	close(log.gate)
	service := publish.New(publish.Config{Log: log, Caller: open, Encoders: plainEncoders{}, BodyTime: limit})
	mux := http.NewServeMux()
	service.Mount(mux, publish.Wire{Descriptors: protoregistry.GlobalFiles, Extensions: protoregistry.GlobalTypes})
	batch := &ssebridgev1.PublishBatchRequest{Events: []*ssebridgev1.Event{event(50), event(50), event(50)}}
	message, err := proto.Marshal(batch)
	require.NoError(t, err)
	enveloped := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	enveloped = append(enveloped, message...)

	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		server := httptest.NewUnstartedServer(mux)
		server.EnableHTTP2 = version == "HTTP/2.0"
		server.StartTLS()
		t.Cleanup(server.Close)
		for mediaType, body := range map[string][]byte{"application/proto": message, "application/grpc-web+proto": enveloped} {
			for name, step := range map[string]time.Duration{"stuck": time.Hour, "slow": 20 * time.Millisecond} {
				t.Run(version+" "+mediaType+" "+name, func(t *testing.T) {
					reader, writer := io.Pipe()
					go func() {
						for i := range body {
							if _, err := writer.Write(body[i : i+1]); err != nil {
								return
							}
							if i > len(body)/2 {
								select {
								case <-time.After(step):
								case <-t.Context().Done():
								}
							}
						}
					}()
					defer reader.Close()
					request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
						server.URL+ssebridgev1connect.PublishServicePublishBatchProcedure, reader)
					require.NoError(t, err)
					request.Header.Set("Content-Type", mediaType)
					begun := time.Now()
					response, err := server.Client().Do(request)
					require.NoError(t, err)
					defer response.Body.Close()
					answer, err := io.ReadAll(response.Body)
					require.NoError(t, err)
					assert.Equal(t, version, response.Proto)
					assert.Less(t, time.Since(begun), 20*limit)
					told := string(answer) + response.Header.Get("Grpc-Message")
					assert.Contains(t, told, "has not arrived within 150ms")
				})
			}
		}
		t.Run(version+" in time", func(t *testing.T) {
			client := ssebridgev1connect.NewPublishServiceClient(server.Client(), server.URL)
			response, err := client.PublishBatch(t.Context(), connect.NewRequest(batch))
			require.NoError(t, err, "the log takes its time")
			assert.Len(t, response.Msg.GetResults(), 3)
			if version == "HTTP/1.1" {
				return // has no streams
			}
			stream := client.Publish(t.Context())
			for range 3 {
				time.Sleep(2 * limit) // real sockets have real deadlines
				require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{event(1)}}))
				_, err := stream.Receive()
				require.NoError(t, err)
			}
			require.NoError(t, stream.CloseRequest())
			_, err = stream.Receive()
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, stream.CloseResponse())
		})
	}
}
