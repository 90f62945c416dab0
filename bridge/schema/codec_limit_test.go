package schema_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/ssebridge/ssebridge/bridge/schema"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

const maxEvents = 65_536

// jsonEvents is a request with so many times the same event.
func jsonEvents(event string, count int) []byte {
	return []byte(`{"events":[` + strings.TrimSuffix(strings.Repeat(event+",", count), ",") + `]}`)
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestCodecsBoundEvents: a message of 4 MiB, which is all that one may hold, takes no more than a few times that to
// decode, whatever is in it.
func TestCodecsBoundEvents(t *testing.T) {
	const size = 4 << 20
	empty, full := []byte{0x0a, 0}, protowire.AppendBytes([]byte{0x0a}, bytes.Repeat([]byte{0x12, 0}, 31)) // with data
	codecs := map[string]interface {
		Unmarshal(data []byte, message any) error
	}{"proto": schema.BinaryCodec{}, "json": schema.NewJSONCodec("json")}
	for _, test := range []struct {
		name, codec string
		text        []byte
		events      int // 0: refused
	}{
		{"most", "proto", bytes.Repeat(empty, maxEvents), maxEvents},
		{"one more", "proto", bytes.Repeat(empty, maxEvents+1), 0},
		{"2 bytes each", "proto", bytes.Repeat(empty, size/2), 0},
		{"as large as that many can be", "proto", bytes.Repeat(full, size/len(full)), size / len(full)},
		{"behind other fields", "proto", append([]byte{0x12, 3, 1, 2, 3, 0x80, 1, 0}, bytes.Repeat(empty, size/2)...), 0},
		{"most", "json", jsonEvents("{}", maxEvents), maxEvents},
		{"one more", "json", jsonEvents("{}", maxEvents+1), 0},
		{"3 bytes each", "json", jsonEvents("{}", size/3), 0},
		{"2 bytes each", "json", jsonEvents("7", size/2), 0},
		{"with data", "json", jsonEvents(`{"topic":"a","data":{"@type":"x.Y"}}`, maxEvents), maxEvents},
	} {
		for _, request := range []interface {
			proto.Message
			GetEvents() []*ssebridgev1.Event
		}{&ssebridgev1.PublishRequest{}, &ssebridgev1.PublishBatchRequest{}} {
			var err error
			took := allocated(func() { err = codecs[test.codec].Unmarshal(test.text, request) })
			t.Logf("%s, %s: %d KiB", test.codec, test.name, took>>10)
			if test.events > 0 {
				require.NoError(t, err, "%s, %s", test.codec, test.name)
				assert.Len(t, request.GetEvents(), test.events)
			} else {
				assert.EqualError(t, err, "events: more than 65536 in one message: send several messages", "%s, %s", test.codec, test.name)
			}
			assert.Less(t, took, uint64(96<<20), "%s, %s", test.codec, test.name)
		}
	}
}

// TestBinaryCodec reads and writes what every other one does, messages of other services too.
func TestBinaryCodec(t *testing.T) {
	codec := schema.BinaryCodec{}
	assert.Equal(t, "proto", codec.Name())
	assert.True(t, codec.IsBinary())
	message, err := structpb.NewStruct(map[string]any{"a": 1, "b": "x", "c": []any{true}})
	require.NoError(t, err)
	want, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	require.NoError(t, err)
	stable, err := codec.MarshalStable(message)
	require.NoError(t, err)
	assert.Equal(t, want, stable)
	appended, err := codec.MarshalAppend([]byte("x"), message)
	require.NoError(t, err)
	for _, text := range [][]byte{stable, appended[1:]} {
		var back structpb.Struct
		require.NoError(t, codec.Unmarshal(text, &back))
		assert.True(t, proto.Equal(message, &back))
	}
	require.Error(t, codec.Unmarshal([]byte{0x0a, 7}, &ssebridgev1.PublishRequest{}))
	require.Error(t, codec.Unmarshal(nil, "no message"))
	_, err = codec.Marshal("no message")
	require.Error(t, err)
}

func FuzzCountedRequests(f *testing.F) {
	f.Add([]byte{0x0a, 0, 0x12, 1, 7, 0x0b, 0x0c})
	f.Fuzz(func(t *testing.T, text []byte) {
		var counted, plain ssebridgev1.PublishRequest
		err := schema.BinaryCodec{}.Unmarshal(text, &counted)
		if len(text) < 2*maxEvents {
			assert.Equal(t, proto.Unmarshal(text, &plain) == nil, err == nil)
			assert.True(t, proto.Equal(&plain, &counted))
		}
	})
}
