package schema

import (
	"sync/atomic"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// message is what the encoder knows of a message type.
type message struct {
	kind protoreflect.MessageType
	// Whether it, or a message that it can contain at whatever depth,
	ruled    bool // has protovalidate rules
	required bool // has required fields
	holds    bool // is a google.protobuf.Any

	home     *index // of the set that it is of
	compiled atomic.Pointer[form]
}

// index finds the types of one source by name. It is not changed once it is made.
type index struct {
	base       *index // finds the types that its messages hold besides its own; may be nil
	messages   map[protoreflect.FullName]*message
	extensions map[protoreflect.FullName]protoreflect.ExtensionType
	numbers    map[extensionNumber]protoreflect.ExtensionType
	ruleCost   int // bytes that a validator for all of the rules takes, estimated
	formCost   int // bytes that the forms of all messages take, estimated
}

type extensionNumber struct {
	extended protoreflect.FullName
	number   protoreflect.FieldNumber
}

// typeMaker makes types of descriptors.
type typeMaker interface {
	message(desc protoreflect.MessageDescriptor) protoreflect.MessageType
	extension(desc protoreflect.ExtensionDescriptor) protoreflect.ExtensionType
}

// dynamicTypes makes types whose messages are read with their descriptors alone.
type dynamicTypes struct{}

func (dynamicTypes) message(desc protoreflect.MessageDescriptor) protoreflect.MessageType {
	return dynamicpb.NewMessageType(desc)
}

func (dynamicTypes) extension(desc protoreflect.ExtensionDescriptor) protoreflect.ExtensionType {
	return dynamicpb.NewExtensionType(desc)
}

func emptyIndex() *index {
	return &index{
		messages:   map[protoreflect.FullName]*message{},
		extensions: map[protoreflect.FullName]protoreflect.ExtensionType{},
		numbers:    map[extensionNumber]protoreflect.ExtensionType{},
	}
}

// newIndex indexes files that are complete together with those of base, which may be nil.
func newIndex(files []protoreflect.FileDescriptor, maker typeMaker, base *index) *index {
	s := &survey{
		index:      emptyIndex(),
		maker:      maker,
		containers: map[protoreflect.FullName][]*message{},
	}
	s.index.base = base
	for _, file := range files {
		s.addExtensions(file.Extensions())
		s.addMessages(file.Messages())
	}
	s.spread(s.ruled, func(m *message) *bool { return &m.ruled })
	s.spread(s.requiring, func(m *message) *bool { return &m.required })
	s.spread(s.holding, func(m *message) *bool { return &m.holds })
	s.index.ruleCost = s.rules.cost(len(s.index.messages))
	return s.index
}

// survey collects what newIndex needs on the way.
type survey struct {
	index      *index
	maker      typeMaker
	containers map[protoreflect.FullName][]*message // by the type of their fields
	ruled      []*message                           // those with rules of their own
	requiring  []*message                           // those with required fields of their own
	holding    []*message                           // those that are an Any or hold one of base
	rules      ruleSurvey
}

func (s *survey) addMessages(list protoreflect.MessageDescriptors) {
	for i := range list.Len() {
		desc := list.Get(i)
		if desc.IsMapEntry() {
			continue // no type of its own, just the wire format of a map field
		}
		m := &message{kind: s.maker.message(desc), home: s.index}
		s.index.messages[desc.FullName()] = m
		if s.rules.add(desc) {
			s.ruled = append(s.ruled, m)
		}
		// Extensions may come from anywhere, so what can be extended can contain anything.
		open := desc.ExtensionRanges().Len() > 0
		if open || desc.RequiredNumbers().Len() > 0 {
			s.requiring = append(s.requiring, m)
		}
		if open || desc.FullName() == anyName {
			s.holding = append(s.holding, m)
		}
		s.addFields(m, desc.Fields())
		s.addExtensions(desc.Extensions())
		s.addMessages(desc.Messages())
	}
}

func (s *survey) addFields(m *message, fields protoreflect.FieldDescriptors) {
	for i := range fields.Len() {
		field := fields.Get(i)
		s.index.formCost += formCost + formNameCost*len(field.JSONName())
		if field.IsMap() {
			field = field.MapValue()
		}
		if field.Message() == nil {
			continue
		}
		name := field.Message().FullName()
		s.containers[name] = append(s.containers[name], m)
		base := s.index.base
		if base == nil || base.messages[name] == nil {
			continue
		}
		if base.messages[name].required {
			s.requiring = append(s.requiring, m)
		}
		if base.messages[name].holds {
			s.holding = append(s.holding, m)
		}
	}
}

func (s *survey) addExtensions(list protoreflect.ExtensionDescriptors) {
	for i := range list.Len() {
		desc := list.Get(i)
		extension := s.maker.extension(desc)
		s.index.extensions[desc.FullName()] = extension
		s.index.numbers[extensionNumber{desc.ContainingMessage().FullName(), desc.Number()}] = extension
	}
}

// spread sets a mark on messages and on all that can contain them.
func (s *survey) spread(from []*message, mark func(*message) *bool) {
	for len(from) > 0 {
		m := from[len(from)-1]
		from = from[:len(from)-1]
		if *mark(m) {
			continue
		}
		*mark(m) = true
		from = append(from, s.containers[m.kind.Descriptor().FullName()]...)
	}
}
