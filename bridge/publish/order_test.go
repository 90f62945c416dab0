package publish_test

import (
	"bytes"
	"context"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/publish"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// countingEncoders count how often somebody makes them work.
type countingEncoders struct {
	plainEncoders

	schemas, events *int
}

func (e countingEncoders) Encoder(schema []byte) (bridge.Encoder, error) {
	*e.schemas++
	if bytes.Equal(schema, []byte("broken")) {
		return nil, bridge.Refuse(bridge.CodeInvalidArgument, "schema", "schema", "cannot be read")
	}
	return e, nil
}

func (e countingEncoders) Encode(_ string, value []byte) ([]byte, error) {
	*e.events++
	return value, nil
}

// TestForbiddenEventsCostNothing: neither the schema nor the data of an event is looked at before the rule is asked.
func TestForbiddenEventsCostNothing(t *testing.T) {
	var schemas, events int
	log := &gateLog{gate: make(chan struct{})}
	close(log.gate)
	service := publish.New(publish.Config{
		Log: log, Encoders: countingEncoders{schemas: &schemas, events: &events},
		Caller: func(context.Context) publish.Caller {
			return publish.Caller{Authorize: func(topic, _ string) (string, error) {
				if topic == "allowed" {
					return "", nil
				}
				return "", bridge.Refuse(bridge.CodePermissionDenied, "topic", "publish", "no")
			}}
		},
	})
	publishTo := func(schema string, topics ...string) ([]*ssebridgev1.PublishResult, error) {
		request := &ssebridgev1.PublishBatchRequest{Schema: []byte(schema)}
		for _, topic := range topics {
			request.Events = append(request.Events, &ssebridgev1.Event{Topic: topic, Data: &anypb.Any{TypeUrl: "t.T", Value: []byte("{}")}})
		}
		response, err := service.PublishBatch(t.Context(), connect.NewRequest(request))
		if err != nil {
			return nil, err
		}
		return response.Msg.GetResults(), nil
	}
	results, err := publishTo("broken", "forbidden", "forbidden")
	require.NoError(t, err)
	require.Len(t, results, 2)
	assert.Equal(t, "permission_denied", results[1].GetError().GetCode())
	assert.Zero(t, schemas)
	assert.Zero(t, events)

	_, err = publishTo("broken", "forbidden", "allowed")
	coded := (*connect.Error)(nil)
	require.ErrorAs(t, err, &coded)
	assert.Equal(t, connect.CodeInvalidArgument, coded.Code(), "a schema that is needed and cannot be read ends the call")

	results, err = publishTo("good", "allowed", "forbidden", "allowed")
	require.NoError(t, err)
	assert.NotEmpty(t, results[2].GetCursor())
	assert.Equal(t, 2, schemas, "read once")
	assert.Equal(t, 2, events)
}
