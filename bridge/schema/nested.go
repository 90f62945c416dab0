package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ssebridge/ssebridge/bridge"
)

// How deep messages may be nested in an event.
const (
	maxDepth = 100 // messages in messages, what an Any holds included; what C++ and Java accept by default
	maxAnys  = 16  // an Any in an Any; each holds a copy of all below it
)

// What an event may take in memory, decoded and as JSON, estimated. Small ones, those below lightBytes on the wire,
// cannot take more whatever they hold and are not weighed.
const (
	eventBudget = 64 << 20
	lightBytes  = 32 << 10
)

// fault is what is wrong with a message, and where.
type fault struct {
	code    bridge.Code
	path    string // of the field
	rule    string
	message string
}

func wrong(rule, message string) *fault {
	return &fault{code: bridge.CodeInvalidArgument, rule: rule, message: message}
}

func (f *fault) refusal() *bridge.Refusal {
	return bridge.Refuse(f.code, under("data", f.path), f.rule, f.message)
}

// checkDepth bounds the nesting of a message in which an Any can be: the protobuf runtime starts to count anew with
// each Any. It also refuses an Any of an unknown type.
func (r *resolver) checkDepth(m protoreflect.Message, depth, anys int) *fault {
	if depth == 0 {
		return wrong(ruleEncoding, fmt.Sprintf("messages are nested more than %d deep", maxDepth))
	}
	if m.Descriptor().FullName() == anyName {
		anys--
	}
	if anys < 0 {
		return wrong(ruleEncoding, fmt.Sprintf("more than %d %s are nested", maxAnys, anyName))
	}
	return r.children(m, func(child protoreflect.Message) *fault { return r.checkDepth(child, depth-1, anys) })
}

// locate finds the innermost message that has no JSON, given why the outer one has none.
func (r *resolver) locate(m protoreflect.Message, err error) *fault {
	r.room = unlimited // it was enough, and what is opened again is not kept
	options := protojson.MarshalOptions{AllowPartial: true, Resolver: r}
	inner := r.children(m, func(child protoreflect.Message) *fault {
		if _, err := options.Marshal(child.Interface()); err != nil {
			return r.locate(child, err)
		}
		return nil
	})
	if inner != nil {
		return inner
	}
	return wrong(ruleJSON, "cannot be expressed in JSON: "+clean(err))
}

// children calls visit for each message in a message, in the order of fields and keys, and stops at the first fault,
// to whose path it adds the field. The child of an Any is what it holds.
func (r *resolver) children(m protoreflect.Message, visit func(protoreflect.Message) *fault) *fault {
	if m.Descriptor().FullName() == anyName {
		held, found := r.open(m)
		if found != nil || held == nil {
			return found
		}
		return visit(held)
	}
	var fields []protoreflect.FieldDescriptor
	m.Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if field.Message() != nil {
			fields = append(fields, field)
		}
		return true
	})
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return cmp.Compare(a.Number(), b.Number()) })
	for _, field := range fields {
		if found := visitField(field, m.Get(field), visit); found != nil {
			found.path = under(field.TextName(), found.path)
			return found
		}
	}
	return nil
}

// visitField visits the messages of one field. The path of a fault begins with the index or key.
func visitField(
	field protoreflect.FieldDescriptor, value protoreflect.Value, visit func(protoreflect.Message) *fault,
) *fault {
	switch {
	case field.IsList():
		for i := range value.List().Len() {
			if found := visit(value.List().Get(i).Message()); found != nil {
				found.path = under("["+strconv.Itoa(i)+"]", found.path)
				return found
			}
		}
		return nil
	case field.IsMap():
		return visitMap(field, value.Map(), visit)
	default:
		return visit(value.Message())
	}
}

func visitMap(
	field protoreflect.FieldDescriptor, entries protoreflect.Map, visit func(protoreflect.Message) *fault,
) *fault {
	if field.MapValue().Message() == nil {
		return nil
	}
	keys := make([]protoreflect.MapKey, 0, entries.Len())
	entries.Range(func(key protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, key)
		return true
	})
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return cmp.Compare(a.String(), b.String()) })
	for _, key := range keys {
		if found := visit(entries.Get(key).Message()); found != nil {
			name := shorten(key.String(), 100)
			if field.MapKey().Kind() == protoreflect.StringKind {
				name = strconv.Quote(name)
			}
			found.path = under("["+name+"]", found.path)
			return found
		}
	}
	return nil
}

// open decodes what an Any holds. It returns nil where the Any is empty.
func (r *resolver) open(m protoreflect.Message) (protoreflect.Message, *fault) {
	fields := m.Descriptor().Fields()
	url := m.Get(fields.ByName("type_url")).String()
	if url == "" {
		return nil, nil
	}
	kind, err := r.FindMessageByURL(url)
	if err != nil {
		name := protoreflect.FullName(shorten(string(nameOf(url)), 100))
		return nil, wrong(ruleType, unknown(name))
	}
	held, value := kind.New(), m.Get(fields.ByName("value")).Bytes()
	if found := r.weigh(held.Descriptor(), value); found != nil {
		return nil, found
	}
	if err := r.unmarshal(value, held.Interface()); err != nil {
		return nil, wrong(ruleEncoding, notOfType(held.Descriptor().FullName(), err))
	}
	return held, nil
}

// weigh takes what a message will need from the room that its event has.
func (r *resolver) weigh(desc protoreflect.MessageDescriptor, value []byte) *fault {
	cost, err := eventScale.weigh(desc, value, maxDepth)
	if err != nil {
		return wrong(ruleEncoding, notOfType(desc.FullName(), err))
	}
	if r.room -= cost; r.room < 0 {
		return tooLarge()
	}
	return nil
}

func tooLarge() *fault {
	return &fault{code: bridge.CodeResourceExhausted, rule: ruleSize, message: fmt.Sprintf(
		"the event would take more than %d MiB of memory: send several smaller ones", eventBudget>>20)}
}

// unmarshal decodes into a new message without asking for its required fields.
func (r *resolver) unmarshal(value []byte, m proto.Message) error {
	options := proto.UnmarshalOptions{
		Merge:          true, // there is nothing to be reset
		AllowPartial:   true,
		DiscardUnknown: true, // the JSON mapping has no place for them
		RecursionLimit: maxDepth,
		Resolver:       r,
	}
	return options.Unmarshal(value, m)
}

func notOfType(name protoreflect.FullName, err error) string {
	return fmt.Sprintf("the bytes are not of the type %s: %s", name, clean(err))
}
