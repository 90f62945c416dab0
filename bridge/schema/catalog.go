package schema

import (
	"fmt"
	"sync"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// catalog is what one source knows: the files on disk, or the schema of a publisher. It may be used concurrently.
type catalog struct {
	sets      []*set
	index     *index                                  // of all sets
	validator func() (protovalidate.Validator, error) // made when it is first needed, then kept
}

func newCatalog(sets []*set, all *index) *catalog {
	c := &catalog{sets: sets, index: all}
	c.validator = sync.OnceValues(func() (protovalidate.Validator, error) {
		return protovalidate.New(protovalidate.WithExtensionTypeResolver(&resolver{files: c}))
	})
	return c
}

// resolver looks types up for one event, in the order in which sources win. It resolves nested google.protobuf.Any and
// extensions for the protobuf runtime, whose interfaces ask for the very error protoregistry.NotFound.
type resolver struct {
	files  *catalog
	schema *catalog // the publisher's; nil where there is none
	room   int      // bytes of memory that the event may still take, estimated
}

// message returns a type and, unless it is built in, the catalog that it is of.
func (r *resolver) message(name protoreflect.FullName) (*message, *catalog) {
	if found := builtin.index.messages[name]; found != nil {
		return found, nil
	}
	if found := r.files.index.messages[name]; found != nil {
		return found, r.files
	}
	if r.schema != nil {
		if found := r.schema.index.messages[name]; found != nil {
			return found, r.schema
		}
	}
	return nil, nil
}

// FindMessageByName returns the type of a message.
func (r *resolver) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	found, _ := r.message(name)
	if found == nil {
		return nil, protoregistry.NotFound
	}
	return found.kind, nil
}

// FindMessageByURL returns the type that the type URL of a google.protobuf.Any names.
func (r *resolver) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return r.FindMessageByName(nameOf(url))
}

// FindExtensionByName returns the type of an extension field.
func (r *resolver) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	for _, source := range r.indexes() {
		if found := source.extensions[name]; found != nil {
			return found, nil
		}
	}
	return nil, protoregistry.NotFound
}

// FindExtensionByNumber returns the type of an extension field of a message.
func (r *resolver) FindExtensionByNumber(
	extended protoreflect.FullName, number protoreflect.FieldNumber,
) (protoreflect.ExtensionType, error) {
	for _, source := range r.indexes() {
		if found := source.numbers[extensionNumber{extended, number}]; found != nil {
			return found, nil
		}
	}
	return nil, protoregistry.NotFound
}

func (r *resolver) indexes() []*index {
	if r.schema == nil {
		return []*index{builtin.index, r.files.index}
	}
	return []*index{builtin.index, r.files.index, r.schema.index}
}

// merge makes one catalog of the sets of several files. The same name must mean the same in all of them.
func merge(loaded []loadedSet) (*catalog, error) {
	m := &merger{seen: map[protoreflect.FullName]definition{}}
	all, sets := emptyIndex(), []*set{}
	for _, next := range loaded {
		if err := m.add(next); err != nil {
			return nil, err
		}
		sets = append(sets, next.set)
		for name, found := range next.set.index.messages {
			if all.messages[name] == nil {
				all.messages[name] = found
			}
		}
		for name, found := range next.set.index.extensions {
			if all.extensions[name] == nil {
				all.extensions[name] = found
			}
		}
		for number, found := range next.set.index.numbers {
			present := all.numbers[number]
			if present == nil {
				all.numbers[number] = found
				continue
			}
			a, b := present.TypeDescriptor().FullName(), found.TypeDescriptor().FullName()
			if a != b {
				return nil, fmt.Errorf("%s: the extension %s has the number %d of %s, and so has %s of another file: "+
					"give one of them another number", next.path, b, number.number, number.extended, a)
			}
		}
	}
	return newCatalog(sets, all), nil
}
