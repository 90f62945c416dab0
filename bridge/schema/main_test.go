package schema_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What follows builds descriptors in as few words as the .proto files would take.

type (
	fileProto    = descriptorpb.FileDescriptorProto
	messageProto = descriptorpb.DescriptorProto
	fieldProto   = descriptorpb.FieldDescriptorProto
)

// file makes a proto3 file of a package that imports others.
func file(path, pkg string, imports []string, messages ...*messageProto) *fileProto {
	return &fileProto{
		Name: proto.String(path), Package: proto.String(pkg), Syntax: proto.String("proto3"),
		Dependency: imports, MessageType: messages,
	}
}

func message(name string, fields ...*fieldProto) *messageProto {
	m := &messageProto{Name: proto.String(name)}
	for i, f := range fields {
		f.Number = proto.Int32(int32(i + 1))
		m.Field = append(m.Field, f)
	}
	return m
}

// field makes a field of a kind such as "string", ".shop.v1.Item" or "repeated int64".
func field(kind, name string, rules ...*validate.FieldRules) *fieldProto {
	f := &fieldProto{Name: proto.String(name), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
	if item, repeated := strings.CutPrefix(kind, "repeated "); repeated {
		kind, f.Label = item, descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	}
	if item, required := strings.CutPrefix(kind, "required "); required {
		kind, f.Label = item, descriptorpb.FieldDescriptorProto_LABEL_REQUIRED.Enum()
	}
	if strings.HasPrefix(kind, ".") {
		f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String(kind)
	} else {
		f.Type = descriptorpb.FieldDescriptorProto_Type(
			descriptorpb.FieldDescriptorProto_Type_value["TYPE_"+strings.ToUpper(kind)]).Enum()
	}
	for _, r := range rules {
		f.Options = &descriptorpb.FieldOptions{}
		proto.SetExtension(f.Options, validate.E_Field, r)
	}
	return f
}

func extensionRange(start, end int32) *descriptorpb.DescriptorProto_ExtensionRange {
	return &descriptorpb.DescriptorProto_ExtensionRange{Start: proto.Int32(start), End: proto.Int32(end)}
}

func cel(id, expression, text string) *validate.Rule {
	return validate.Rule_builder{
		Id: proto.String(id), Expression: proto.String(expression), Message: proto.String(text),
	}.Build()
}

func celField(id, expression, text string) *validate.FieldRules {
	return validate.FieldRules_builder{Cel: []*validate.Rule{cel(id, expression, text)}}.Build()
}

func celMessage(m *messageProto, id, expression, text string) *messageProto {
	m.Options = &descriptorpb.MessageOptions{}
	proto.SetExtension(m.Options, validate.E_Message,
		validate.MessageRules_builder{Cel: []*validate.Rule{cel(id, expression, text)}}.Build())
	return m
}

func minLen(n uint64) *validate.FieldRules {
	return validate.FieldRules_builder{
		String: validate.StringRules_builder{MinLen: proto.Uint64(n)}.Build(),
	}.Build()
}

// set serializes files.
func set(files ...*fileProto) []byte {
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
	if err != nil {
		panic(err)
	}
	return data
}

// shop is the schema of most tests.
func shop() *fileProto {
	imports := []string{
		"google/protobuf/any.proto", "google/protobuf/struct.proto", "google/protobuf/timestamp.proto",
		"google/protobuf/wrappers.proto", "buf/validate/validate.proto",
	}
	shipped := message("OrderShipped",
		field("string", "order_id"),
		field("int64", "total_cents"),
		field(".google.protobuf.Timestamp", "shipped_at"),
		field("repeated .shop.v1.Item", "items"),
		field(".google.protobuf.Any", "detail"),
		field(".google.protobuf.Value", "extra"),
		field("repeated .google.protobuf.Any", "more"),
	)
	parcel := message("Parcel",
		field("string", "parcel_id"),
		field("int64", "total_cents"),
		field(".google.protobuf.Timestamp", "shipped_at"),
		field("repeated .shop.v1.Item", "items"),
	)
	item := message("Item", field("string", "name"), field("int32", "quantity"))
	ruled := celMessage(message("Ruled",
		field("string", "name", minLen(3)),
		field("repeated string", "tags", validate.FieldRules_builder{Repeated: validate.RepeatedRules_builder{
			Items: minLen(2)}.Build()}.Build()),
		field("int32", "low"),
		field("int32", "high"),
	), "ruled.order", "this.low <= this.high", "low must not be above high")
	around := message("Around", field("repeated .shop.v1.Ruled", "all"))
	broken := message("Broken", field("string", "name", celField("broken", "this.nothing > 1", "")))
	failing := message("Failing", field("string", "name", celField("failing", "int(this) > 1", "")))
	return file("shop/v1/shop.proto", "shop.v1", imports, shipped, parcel, item, ruled, around, broken, failing)
}

// write writes a set into a file and returns its path.
func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// registry makes encoders that take events as they are published.
type registry struct{ *schema.Registry }

func (r registry) Encoder(data []byte) (encoderOfAny, error) {
	e, err := r.Registry.Encoder(data)
	return encoderOfAny{e, r}, err
}

// encoderOfAny finds the type of an event and then encodes it.
type encoderOfAny struct {
	bridge.Encoder

	types registry
}

func (e encoderOfAny) Encode(typeURL string, value []byte) (name string, data []byte, err error) {
	if name, err = e.types.TypeName(typeURL, nil); err == nil {
		data, err = e.Encoder.Encode(name, value)
	}
	return name, data, err
}

func (e encoderOfAny) EncodeJSON(text []byte) (name string, data []byte, err error) {
	if name, err = e.types.TypeName("", text); err == nil {
		data, err = e.Encoder.EncodeJSON(name, text)
	}
	return name, data, err
}

func open(t testing.TB, globs ...string) registry {
	t.Helper()
	return openLogging(t, slog.DiscardHandler, globs...)
}

func openLogging(t testing.TB, handler slog.Handler, globs ...string) registry {
	t.Helper()
	opened, err := schema.Open(globs, slog.New(handler))
	require.NoError(t, err)
	return registry{opened}
}

// encoder returns an encoder without files for a publisher that sends these.
func encoder(t testing.TB, files ...*fileProto) encoderOfAny {
	t.Helper()
	var data []byte
	if len(files) > 0 {
		data = set(files...)
	}
	e, err := open(t).Encoder(data)
	require.NoError(t, err)
	return e
}

// wire encodes a message of the type, given as JSON, in the binary format.
func wire(t testing.TB, text, name string, files ...*fileProto) []byte {
	t.Helper()
	registry := &protoregistry.Files{}
	for _, f := range files {
		built, err := protodesc.NewFile(f, either{registry, protoregistry.GlobalFiles})
		require.NoError(t, err)
		require.NoError(t, registry.RegisterFile(built))
	}
	desc, err := either{registry, protoregistry.GlobalFiles}.FindDescriptorByName(protoreflect.FullName(name))
	require.NoError(t, err)
	m := dynamicpb.NewMessage(desc.(protoreflect.MessageDescriptor))
	require.NoError(t, protojson.UnmarshalOptions{AllowPartial: true}.Unmarshal([]byte(text), m))
	data, err := proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(m) // in order, as generated code does
	require.NoError(t, err)
	return data
}

type either struct{ first, second protodesc.Resolver }

func (e either) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if found, err := e.first.FindFileByPath(path); err == nil {
		return found, nil
	}
	return e.second.FindFileByPath(path)
}

func (e either) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if found, err := e.first.FindDescriptorByName(name); err == nil {
		return found, nil
	}
	return e.second.FindDescriptorByName(name)
}

// refused asserts that an error is a refusal of the code and returns it.
func refused(t testing.TB, err error, code bridge.Code) *bridge.Refusal {
	t.Helper()
	var refusal *bridge.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, code, refusal.Code, refusal.Message)
	require.NotEmpty(t, refusal.Message)
	require.NotEmpty(t, refusal.Violations)
	return refusal
}
