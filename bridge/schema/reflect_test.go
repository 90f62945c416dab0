package schema_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/ssebridge/ssebridge/bridge/schema"
)

// What grpcreflect asks of its resolvers.
var _ interface {
	protodesc.Resolver
	protoregistry.ExtensionTypeResolver
	RangeExtensionsByMessage(message protoreflect.FullName, yield func(protoreflect.ExtensionType) bool)
} = (*schema.Registry)(nil)

func TestReflection(t *testing.T) {
	base := file("base.proto", "base", nil, message("Base"))
	base.Syntax = proto.String("proto2")
	base.MessageType[0].ExtensionRange = append(base.MessageType[0].ExtensionRange, extensionRange(100, 200))
	more := field("string", "more")
	more.Number, more.Extendee = proto.Int32(100), proto.String(".base.Base")
	base.Extension = []*fieldProto{more}
	linked := file("ssebridge/v1/publish.proto", "mine", nil, message("Mine"))
	registry := open(t, write(t, "a.binpb", set(shop(), base)), write(t, "b.binpb", set(linked)))

	for _, path := range []string{"shop/v1/shop.proto", "google/protobuf/any.proto", "ssebridge/v1/publish.proto", "base.proto"} {
		found, err := registry.FindFileByPath(path)
		require.NoError(t, err)
		assert.Equal(t, path, found.Path())
	}
	for _, name := range []protoreflect.FullName{
		"shop.v1.OrderShipped", "shop.v1.OrderShipped.order_id", "google.protobuf.Any", "base.more", "mine.Mine",
		"ssebridge.v1.PublishService", "ssebridge.v1.PublishService.Publish",
	} {
		found, err := registry.FindDescriptorByName(name)
		require.NoError(t, err)
		assert.Equal(t, name, found.FullName())
		of, err := registry.FindFileByPath(found.ParentFile().Path())
		require.NoError(t, err, "the file of what is found can be found")
		assert.Same(t, of, found.ParentFile())
	}
	_, err := registry.FindFileByPath("no.proto")
	assert.Equal(t, protoregistry.NotFound, err)
	for _, name := range []string{"no.Such", strings.Repeat("a.", 1<<20) + "a"} {
		_, err = registry.FindDescriptorByName(protoreflect.FullName(name))
		assert.Equal(t, protoregistry.NotFound, err)
	}

	extension, err := registry.FindExtensionByName("base.more")
	require.NoError(t, err)
	byNumber, err := registry.FindExtensionByNumber("base.Base", 100)
	require.NoError(t, err)
	assert.Equal(t, extension, byNumber)
	_, err = registry.FindExtensionByNumber("base.Base", 101)
	assert.Equal(t, protoregistry.NotFound, err)
	byNumber, err = registry.FindExtensionByNumber("google.protobuf.FieldOptions", 1159)
	require.NoError(t, err)
	assert.EqualValues(t, "buf.validate.field", byNumber.TypeDescriptor().FullName())
	byName, err := registry.FindExtensionByName("buf.validate.field")
	require.NoError(t, err)
	assert.Equal(t, byNumber, byName)
	for extended, want := range map[protoreflect.FullName]int{"base.Base": 1, "google.protobuf.OneofOptions": 1, "no.Such": 0} {
		found := 0
		registry.RangeExtensionsByMessage(extended, func(protoreflect.ExtensionType) bool { found++; return true })
		assert.Equal(t, want, found, extended)
	}
}
