package schema

import (
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// The methods below let gRPC reflection serve event types: a Registry is a protodesc.Resolver and an extension
// resolver, as grpcreflect.WithDescriptorResolver and grpcreflect.WithExtensionResolver want them. What is linked into
// the process comes first, then the files; publishers' schemas are their own and not shown.

// FindFileByPath returns the descriptor of a file, or protoregistry.NotFound.
func (r *Registry) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if file, err := protoregistry.GlobalFiles.FindFileByPath(path); err == nil {
		return file, nil
	}
	for _, loaded := range r.files.Load().sets {
		if file := loaded.paths[path]; file != nil {
			return file, nil
		}
		if file, err := loaded.files.FindFileByPath(path); err == nil {
			return file, nil // one that was built under another path
		}
	}
	return nil, protoregistry.NotFound
}

// FindDescriptorByName returns the descriptor of a name, or protoregistry.NotFound.
func (r *Registry) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if len(name) > maxNameBytes { // the registries below try each prefix
		return nil, protoregistry.NotFound
	}
	if desc, err := protoregistry.GlobalFiles.FindDescriptorByName(name); err == nil {
		return desc, nil
	}
	for _, loaded := range r.files.Load().sets {
		if desc, err := loaded.files.FindDescriptorByName(name); err == nil {
			return desc, nil
		}
	}
	return nil, protoregistry.NotFound
}

// FindExtensionByName returns an extension, or protoregistry.NotFound.
func (r *Registry) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	if found, err := protoregistry.GlobalTypes.FindExtensionByName(name); err == nil {
		return found, nil
	}
	return (&resolver{files: r.files.Load()}).FindExtensionByName(name)
}

// FindExtensionByNumber returns the extension of a message with a number, or protoregistry.NotFound.
func (r *Registry) FindExtensionByNumber(
	extended protoreflect.FullName, number protoreflect.FieldNumber,
) (protoreflect.ExtensionType, error) {
	if found, err := protoregistry.GlobalTypes.FindExtensionByNumber(extended, number); err == nil {
		return found, nil
	}
	return (&resolver{files: r.files.Load()}).FindExtensionByNumber(extended, number)
}

// RangeExtensionsByMessage calls visit for each extension of a message until it returns false.
func (r *Registry) RangeExtensionsByMessage(
	extended protoreflect.FullName, visit func(protoreflect.ExtensionType) bool,
) {
	seen, going := map[protoreflect.FieldNumber]bool{}, true
	protoregistry.GlobalTypes.RangeExtensionsByMessage(extended, func(extension protoreflect.ExtensionType) bool {
		seen[extension.TypeDescriptor().Number()] = true
		going = visit(extension)
		return going
	})
	for number, extension := range r.files.Load().index.numbers {
		if !going {
			return
		}
		if number.extended == extended && !seen[number.number] {
			going = visit(extension)
		}
	}
}
