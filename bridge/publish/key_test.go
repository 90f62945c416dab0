package publish

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/ssebridge/ssebridge/bridge"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// keyLog notes under which keys events are stored.
type keyLog struct {
	bridge.Log

	keys []string
}

func (l *keyLog) Append(_ context.Context, _ *bridge.Event, key string) (bridge.Pending, error) {
	l.keys = append(l.keys, key)
	return storedPending{}, nil
}

type storedPending struct{}

func (storedPending) Ready() bool                   { return true }
func (storedPending) Wait() (bridge.Receipt, error) { return bridge.Receipt{}, nil }

type rawEncoder struct{}

func (rawEncoder) TypeName(typeURL string, _ []byte) (string, error) { return typeURL, nil }

func (rawEncoder) Encoder([]byte) (bridge.Encoder, error) { return rawEncoder{}, nil }

func (rawEncoder) Encode(_ string, value []byte) ([]byte, error) { return value, nil }

func (rawEncoder) EncodeJSON(_ string, json []byte) ([]byte, error) { return json, nil }

// TestKeysOfEvents: an event is the same as another one where publisher, topic and id are, and only there.
func TestKeysOfEvents(t *testing.T) {
	log := &keyLog{}
	caller := Caller{Authorize: func(string, string) (string, error) { return "", nil }}
	service := New(Config{Log: log, Encoders: rawEncoder{}, Caller: func(context.Context) Caller { return caller }})
	store := func(publisher, topic, id string) string {
		caller.ID = publisher
		in := service.intake(t.Context(), nil)
		err := in.run(t.Context(), func(ctx context.Context) error {
			return in.take(ctx, nil, []*ssebridgev1.Event{{Topic: topic, Id: id, Data: &anypb.Any{TypeUrl: "t.T", Value: []byte("{}")}}})
		}, func([]*ssebridgev1.PublishResult) error { return nil }, func() {})
		require.NoError(t, err)
		return log.keys[len(log.keys)-1]
	}
	keys := map[string]bool{}
	events := [][3]string{
		{"one", "a", "1"}, {"two", "a", "1"}, {"one", "b", "1"}, {"one", "a", "2"},
		{"", "one", "a1"}, {"one", "a1", "x"}, {"onea", "1", "x"}, {"one", "a", "1x"},
	}
	for _, event := range events {
		key := store(event[0], event[1], event[2])
		assert.NotEmpty(t, key)
		assert.Equal(t, key, store(event[0], event[1], event[2]), "again")
		keys[key] = true
	}
	assert.Len(t, keys, len(events))
	assert.Empty(t, store("one", "a", ""), "without an id no event is the same as another one")
}

// TestAgeOfStreams is spread, so that publishers who came together do not go together.
func TestAgeOfStreams(t *testing.T) {
	service := New(Config{MaxAge: time.Hour})
	ages := map[time.Duration]bool{}
	lowest, highest := 2*time.Hour, time.Duration(0)
	for range 1000 {
		age := service.age(Caller{})
		ages[age] = true
		lowest, highest = min(lowest, age), max(highest, age)
	}
	assert.GreaterOrEqual(t, lowest, 48*time.Minute)
	assert.LessOrEqual(t, highest, 72*time.Minute)
	assert.Less(t, lowest, 50*time.Minute)
	assert.Greater(t, highest, 70*time.Minute)
	assert.Greater(t, len(ages), 990)
	assert.LessOrEqual(t, service.age(Caller{Until: time.Now().Add(time.Minute)}), time.Minute, "no longer than the caller's identity")
	assert.GreaterOrEqual(t, service.age(Caller{Until: time.Now().Add(2 * time.Hour)}), 48*time.Minute)
}
