package publish

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ssebridge/ssebridge/bridge"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// FuzzCheck: an event is either refused with a field and a message, or can be framed and read back.
func FuzzCheck(f *testing.F) {
	f.Add("a/b", "id", int64(0), int32(0), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("$a", "a\nb", int64(1)<<62, int32(-1), "00-0-0-0")
	now := time.Now()
	f.Fuzz(func(t *testing.T, topic, id string, seconds int64, nanos int32, parent string) {
		event, err := check(&ssebridgev1.Event{
			Topic: topic, Id: id, Time: &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}, Traceparent: parent,
		}, now)
		if refusal := (*bridge.Refusal)(nil); errors.As(err, &refusal) {
			require.NotEmpty(t, refusal.Violations)
			assert.NotEmpty(t, refusal.Violations[0].Message)
			assert.NotEmpty(t, refusal.Code)
			return
		}
		require.NoError(t, err)
		assert.NoError(t, bridge.ValidateTopic(event.Topic))
		year := event.Time.Year()
		assert.True(t, year >= 1 && year <= 9999)
	})
}
