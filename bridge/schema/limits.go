package schema

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Bounds of what a set may hold. Real ones stay far below them.
const (
	maxNameBytes     = 512     // of a full name; lookups try each prefix of a name
	maxDeclarations  = 32      // messages declared inside of messages, as in protoc
	maxPublicImports = 1 << 20 // steps through public imports, whose paths can double with each layer of files
	unlimited        = math.MaxInt
)

// Field numbers of descriptor.proto.
const (
	setFile        = 1 // FileDescriptorSet.file
	fileSourceInfo = 9 // FileDescriptorProto.source_code_info
)

// withoutSource copies a set without its comments and line numbers, which nothing here reads and which often make up
// most of it, and without what is no file.
func withoutSource(set []byte) ([]byte, error) {
	stripped := make([]byte, 0, len(set))
	err := eachField(set, func(number protowire.Number, kind protowire.Type, file []byte) error {
		if number != setFile || kind != protowire.BytesType {
			return nil
		}
		kept, rest := make([]byte, 0, len(file)), file
		for len(rest) > 0 {
			number, _, size := protowire.ConsumeField(rest)
			if size < 0 {
				return protowire.ParseError(size)
			}
			if number != fileSourceInfo {
				kept = append(kept, rest[:size]...)
			}
			rest = rest[size:]
		}
		stripped = protowire.AppendTag(stripped, setFile, protowire.BytesType)
		stripped = protowire.AppendBytes(stripped, kept)
		return nil
	})
	return stripped, err
}

// nameSurvey bounds the names of a file and adds up what the full names of its declarations take, each of which holds
// those of all around it.
type nameSurvey struct{ cost int }

func (s *nameSurvey) file(file *descriptorpb.FileDescriptorProto) error {
	for _, name := range append(file.GetDependency(), file.GetName(), file.GetPackage()) {
		if err := checkName(name); err != nil {
			return err
		}
	}
	scope := len(file.GetPackage())
	if err := s.messages(scope, file.GetMessageType(), maxDeclarations); err != nil {
		return err
	}
	if err := s.enums(scope, file.GetEnumType()); err != nil {
		return err
	}
	for _, service := range file.GetService() {
		inner, err := s.declare(scope, service.GetName())
		if err != nil {
			return err
		}
		for _, method := range service.GetMethod() {
			if err := s.use(inner, method.GetName(), method.GetInputType(), method.GetOutputType()); err != nil {
				return err
			}
		}
	}
	return s.fields(scope, file.GetExtension())
}

func (s *nameSurvey) messages(scope int, list []*descriptorpb.DescriptorProto, depth int) error {
	if len(list) > 0 && depth == 0 {
		return fmt.Errorf("%s is declared inside of more than %d messages", list[0].GetName(), maxDeclarations)
	}
	for _, m := range list {
		inner, err := s.declare(scope, m.GetName())
		if err != nil {
			return err
		}
		if err := s.fields(inner, m.GetField()); err != nil {
			return err
		}
		if err := s.fields(inner, m.GetExtension()); err != nil {
			return err
		}
		for _, oneof := range m.GetOneofDecl() {
			if err := s.use(inner, oneof.GetName()); err != nil {
				return err
			}
		}
		if err := s.enums(inner, m.GetEnumType()); err != nil {
			return err
		}
		if err := s.messages(inner, m.GetNestedType(), depth-1); err != nil {
			return err
		}
	}
	return nil
}

func (s *nameSurvey) enums(scope int, list []*descriptorpb.EnumDescriptorProto) error {
	for _, enum := range list {
		inner, err := s.declare(scope, enum.GetName())
		if err != nil {
			return err
		}
		for _, value := range enum.GetValue() {
			if err := s.use(inner, value.GetName()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *nameSurvey) fields(scope int, list []*descriptorpb.FieldDescriptorProto) error {
	for _, field := range list {
		if err := s.use(scope, field.GetName(), field.GetTypeName(), field.GetExtendee(), field.GetJsonName()); err != nil {
			return err
		}
	}
	return nil
}

// declare adds the full name of a declaration in a scope and returns the length of both.
func (s *nameSurvey) declare(scope int, name string) (int, error) {
	full := scope + len(".") + len(name)
	s.cost += full
	if full > maxNameBytes {
		return 0, tooLong(name)
	}
	return full, nil
}

// use adds a declaration and checks the names that it refers to.
func (s *nameSurvey) use(scope int, name string, references ...string) error {
	for _, reference := range references {
		if err := checkName(reference); err != nil {
			return err
		}
	}
	_, err := s.declare(scope, name)
	return err
}

func checkName(name string) error {
	if len(name) > maxNameBytes {
		return tooLong(name)
	}
	return nil
}

func tooLong(name string) error {
	return fmt.Errorf("has the name %q…, which is longer than %d bytes with the names around it",
		shorten(name, 40), maxNameBytes)
}
