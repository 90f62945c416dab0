package schema

import (
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// Linked in so that every well-known type is there, whoever imports this package.
	_ "google.golang.org/protobuf/types/descriptorpb"
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/apipb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/sourcecontextpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/typepb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	wellKnownFolder  = "google/protobuf/"
	wellKnownPackage = "google.protobuf."
)

// builtin holds the types that every set shares and none overrides: the well-known types, because the JSON mapping
// knows them by name and relies on their fields, and the options of protovalidate, because its rules are read with
// the linked-in version whatever version the set was built with.
var builtin = newBuiltin()

type builtinTypes struct {
	files *protoregistry.Files
	names map[protoreflect.FullName]protoreflect.Descriptor // messages and enums
	index *index
}

func newBuiltin() *builtinTypes {
	var files []protoreflect.FileDescriptor
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if strings.HasPrefix(file.Path(), wellKnownFolder) {
			files = append(files, file)
		}
		return true
	})
	files = append(files, validate.File_buf_validate_validate_proto)
	slices.SortFunc(files, func(a, b protoreflect.FileDescriptor) int { return strings.Compare(a.Path(), b.Path()) })

	b := &builtinTypes{
		files: &protoregistry.Files{},
		names: map[protoreflect.FullName]protoreflect.Descriptor{},
	}
	for _, file := range files {
		if err := b.files.RegisterFile(file); err != nil {
			panic(err) // the linker has admitted them side by side
		}
		b.name(file.Messages(), file.Enums())
	}
	b.index = newIndex(files, linkedTypes{}, nil)
	return b
}

func (b *builtinTypes) name(messages protoreflect.MessageDescriptors, enums protoreflect.EnumDescriptors) {
	for i := range enums.Len() {
		b.names[enums.Get(i).FullName()] = enums.Get(i)
	}
	for i := range messages.Len() {
		b.names[messages.Get(i).FullName()] = messages.Get(i)
		b.name(messages.Get(i).Messages(), messages.Get(i).Enums())
	}
}

// wellKnown reports whether a name is that of a well-known type.
func (b *builtinTypes) wellKnown(name protoreflect.FullName) bool {
	return strings.HasPrefix(string(name), wellKnownPackage) && b.names[name] != nil
}

// linkedTypes makes the Go types of descriptors that are linked in.
type linkedTypes struct{}

func (linkedTypes) message(desc protoreflect.MessageDescriptor) protoreflect.MessageType {
	linked, err := protoregistry.GlobalTypes.FindMessageByName(desc.FullName())
	if err != nil {
		panic(err) // its file is linked in
	}
	return linked
}

func (linkedTypes) extension(desc protoreflect.ExtensionDescriptor) protoreflect.ExtensionType {
	linked, err := protoregistry.GlobalTypes.FindExtensionByName(desc.FullName())
	if err != nil {
		panic(err) // its file is linked in
	}
	return linked
}
