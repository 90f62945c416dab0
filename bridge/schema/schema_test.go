package schema_test

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ssebridge/ssebridge/bridge"
)

func TestSchemaRefused(t *testing.T) {
	redefined := func(pkg string, m *messageProto) []byte {
		return set(file("mine.proto", pkg, nil, m))
	}
	nest := message("protobuf")
	nest.NestedType = []*messageProto{message("Timestamp", field("string", "x"))}
	enum := file("mine.proto", "google.protobuf", nil)
	enum.EnumType = []*descriptorpb.EnumDescriptorProto{{
		Name:  proto.String("NullValue"),
		Value: []*descriptorpb.EnumValueDescriptorProto{{Name: proto.String("X"), Number: proto.Int32(0)}},
	}}
	edition := file("cmd/protoc-gen-go/testdata/x.proto", "x", nil)
	edition.Syntax = proto.String("editions")
	for _, test := range []struct {
		name string
		data []byte
		says []string
	}{
		{"text", []byte("syntax = \"proto3\";"), []string{"is not a serialized google.protobuf.FileDescriptorSet", "buf build -o"}},
		{"JSON", []byte(`{"file":[]}`), []string{"it is JSON", ".binpb"}},
		{"gzip", []byte("\x1f\x8b\x08\x00"), []string{"compressed with gzip"}},
		{"no files", []byte{0x7a, 0x00}, []string{"holds no files", "buf build -o"}},
		{"file in place of set", must(proto.Marshal(shop())), []string{"buf build -o"}},
		{"missing import", set(file("a.proto", "a", []string{"b/b.proto"})),
			[]string{"a.proto imports b/b.proto, which the set does not hold", "buf build -o", "--include_imports"}},
		{"cycle", set(file("a.proto", "a", []string{"b.proto"}), file("b.proto", "b", []string{"a.proto"})),
			[]string{"b.proto imports a.proto, which imports it in turn"}},
		{"imports itself", set(file("a.proto", "a", []string{"a.proto"})), []string{"a.proto imports a.proto"}},
		{"twice and different", set(file("a.proto", "a", nil), file("a.proto", "b", nil)),
			[]string{`two different files with the name "a.proto"`}},
		{"name twice", set(file("a.proto", "a", nil, message("M")), file("b.proto", "a", nil, message("M"))),
			[]string{"b.proto", "a.M"}},
		{"type not imported", set(file("a.proto", "a", nil, message("M", field(".b.N", "n")))), []string{"a.proto", "b.N"}},
		{"invalid", set(file("a.proto", "a", nil, message("1"))), []string{"a.proto", "invalid nested name"}},
		{"no name", set(&fileProto{}), []string{"file path must be populated"}},
		{"well-known", redefined("google.protobuf", message("Timestamp")),
			[]string{"mine.proto defines google.protobuf.Timestamp, which is a well-known type"}},
		{"well-known, nested", redefined("google", nest), []string{"defines google.protobuf.Timestamp"}},
		{"well-known enum", set(enum), []string{"defines google.protobuf.NullValue"}},
		{"edition", set(edition), []string{"has the edition EDITION_UNKNOWN"}},
		{"not UTF-8", set(&fileProto{Name: proto.String("\xff"), Dependency: []string{"\xfe"}}), []string{"which the set does not hold"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, err := open(t).Encoder(test.data)
			assert.Nil(t, e.Encoder)
			refusal := refused(t, err, bridge.CodeInvalidArgument)
			assert.Equal(t, "schema", refusal.Violations[0].Field)
			assert.Equal(t, "schema", refusal.Violations[0].Rule)
			for _, says := range test.says {
				assert.Contains(t, refusal.Message, says)
			}
			assert.Equal(t, strings.ToValidUTF8(refusal.Message, ""), refusal.Message)
			assert.NotContains(t, refusal.Message, "\u00a0")
		})
	}
}

func TestSchemaOfBuf(t *testing.T) {
	data, err := os.ReadFile("testdata/shop.binpb")
	require.NoError(t, err)
	for _, e := range []encoderOfAny{must(open(t).Encoder(data)), must(open(t, "testdata/shop.binpb").Encoder(nil))} {
		_, data, err := e.EncodeJSON([]byte(`{"@type":"/shop.v1.Order","lines":[{"cents":"7"}],"placed_at":"2026-01-01T00:00:00Z"}`))
		require.NoError(t, err)
		assert.Equal(t, `{"placedAt":"2026-01-01T00:00:00Z","lines":[{"cents":"7"}]}`, string(data))
		_, _, err = e.Encode("shop.v1.Order.Line", nil)
		require.NoError(t, err)
	}
}

// A set may hold the well-known files, an old version of them included: the built-in ones are used.
func TestSchemaWithWellKnown(t *testing.T) {
	files := []*fileProto{
		protodesc.ToFileDescriptorProto(timestamppb.File_google_protobuf_timestamp_proto),
		file("google/protobuf/struct.proto", "google.protobuf", nil, message("Struct", field("string", "other"))),
		file("google/protobuf/of_tomorrow.proto", "google.protobuf", nil, message("Tomorrow", field("string", "x"))),
		file("a.proto", "a", []string{"google/protobuf/struct.proto", "google/protobuf/of_tomorrow.proto"},
			message("A", field(".google.protobuf.Struct", "s"), field(".google.protobuf.Tomorrow", "t"))),
	}
	e := encoder(t, files...)
	_, data, err := e.EncodeJSON([]byte(`{"@type":"/a.A","s":{"x":1},"t":{"x":"y"}}`))
	require.NoError(t, err)
	assert.Equal(t, `{"s":{"x":1},"t":{"x":"y"}}`, string(data))
	value, err := proto.Marshal(must(structpb.NewStruct(map[string]any{"k": "v"})))
	require.NoError(t, err)
	_, data, err = e.Encode("google.protobuf.Struct", value)
	require.NoError(t, err)
	assert.Equal(t, `{"k":"v"}`, string(data))
}

func TestOrderOfSources(t *testing.T) {
	version := func(path, name string) *fileProto { return file(path, "v", nil, message("V", field("string", name))) }
	only := file("only.proto", "only", []string{"v.proto", "google/protobuf/any.proto"},
		message("Only", field(".v.V", "v"), field(".google.protobuf.Any", "any")))
	registry := open(t, write(t, "v.binpb", set(version("v.proto", "of_file"))))
	e := must(registry.Encoder(set(version("v.proto", "of_schema"), only)))

	_, data, err := e.Encode("v.V", wire(t, `{"ofFile":"x"}`, "v.V", version("v.proto", "of_file")))
	require.NoError(t, err)
	assert.Equal(t, `{"ofFile":"x"}`, string(data), "a file wins over the schema")
	_, data, err = e.EncodeJSON([]byte(`{"@type":"/only.Only","v":{"ofSchema":"x"},"any":{"@type":"/v.V","ofFile":"y"}}`))
	require.NoError(t, err)
	assert.Equal(t, `{"v":{"ofSchema":"x"},"any":{"@type":"/v.V","ofFile":"y"}}`, string(data),
		"the fields of a message are of its own set, an Any is looked up")
	_, _, err = must(registry.Encoder(nil)).Encode("only.Only", nil)
	_ = refused(t, err, bridge.CodeNotFound)
}

func TestSchemaConcurrently(t *testing.T) {
	registry := open(t)
	data := set(shop())
	value := wire(t, `{"name":"tea"}`, "shop.v1.Ruled", shop())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				e, err := registry.Encoder(data)
				if assert.NoError(t, err) {
					_, _, err = e.Encode("shop.v1.Ruled", value)
					assert.NoError(t, err)
					_, _, err = e.EncodeJSON([]byte(`{"@type":"/shop.v1.Around","all":[{"name":"x"}]}`))
					assert.Error(t, err)
				}
			}
		})
	}
	group.Wait()
}
