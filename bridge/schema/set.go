package schema

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// howToBuild ends the messages about sets that are not complete or no sets at all.
const howToBuild = "build it with `buf build -o events.binpb` or " +
	"`protoc --include_imports --descriptor_set_out=events.binpb`"

// set is one parsed FileDescriptorSet: files that, with the built-in ones, are complete. It is not changed once it
// is made.
type set struct {
	protos []*descriptorpb.FileDescriptorProto    // without the built-in ones, in the order of the set
	paths  map[string]protoreflect.FileDescriptor // by the path in the set
	files  *protoregistry.Files                   // by name
	index  *index
	cost   int // bytes that it takes in memory with its rules and forms compiled, estimated
}

// parse makes a set of serialized bytes; data may be changed afterwards. Sets that would take more than budget bytes
// are refused.
func parse(data []byte, budget int) (parsed *set, err error) {
	// A last resort: no input is known that makes the protobuf runtime panic here.
	defer func() {
		if cause := recover(); cause != nil {
			parsed, err = nil, fmt.Errorf("holds descriptors that the protobuf runtime cannot take: %v", cause)
		}
	}()
	decoded, cost, err := decode(data, budget)
	if err != nil {
		return nil, err
	}
	b := &builder{
		set: &set{
			paths: map[string]protoreflect.FileDescriptor{},
			files: &protoregistry.Files{},
		},
		names:   map[protoreflect.FullName]protoreflect.Descriptor{},
		waiting: map[string]*descriptorpb.FileDescriptorProto{},
		leads:   map[string]int{},
	}
	if err := b.add(decoded.GetFile()); err != nil {
		return nil, err
	}
	var files []protoreflect.FileDescriptor
	for _, file := range b.set.protos {
		built, err := b.build(file.GetName())
		if err != nil {
			return nil, err
		}
		files = append(files, built)
	}
	b.set.index = newIndex(files, dynamicTypes{}, builtin.index)
	b.set.cost = cost + b.set.index.ruleCost + b.set.index.formCost
	if b.set.cost > budget {
		return nil, tooCostly(b.set.cost, budget)
	}
	return b.set, nil
}

// decode reads the bytes of a set and estimates what it takes in memory, rules aside.
func decode(data []byte, budget int) (*descriptorpb.FileDescriptorSet, int, error) {
	decoded := &descriptorpb.FileDescriptorSet{}
	stripped, err := withoutSource(data)
	if err != nil {
		return nil, 0, notSet(data, err)
	}
	cost, err := setScale.weigh(decoded.ProtoReflect().Descriptor(), stripped, maxDepth)
	if err != nil {
		return nil, 0, notSet(data, err)
	}
	if cost > budget {
		return nil, 0, tooCostly(cost, budget)
	}
	if err := (proto.UnmarshalOptions{RecursionLimit: maxDepth}).Unmarshal(stripped, decoded); err != nil {
		return nil, 0, notSet(data, err)
	}
	if len(decoded.GetFile()) == 0 {
		return nil, 0, errors.New("holds no files: " + howToBuild)
	}
	names := nameSurvey{cost: cost}
	for _, file := range decoded.GetFile() {
		if err := names.file(file); err != nil {
			return nil, 0, fmt.Errorf("%s %w", shorten(file.GetName(), maxNameBytes), err)
		}
	}
	if names.cost > budget {
		return nil, 0, tooCostly(names.cost, budget)
	}
	return decoded, names.cost, nil
}

// notSet explains why bytes are no set, where they look like something else.
func notSet(data []byte, err error) error {
	hint := howToBuild
	switch {
	case strings.HasPrefix(string(data), "\x1f\x8b"):
		hint = "it is compressed with gzip, unpack it"
	case strings.HasPrefix(string(data), "{"):
		hint = "it is JSON, let the file name of `buf build -o` end with .binpb"
	}
	return fmt.Errorf("is not a serialized google.protobuf.FileDescriptorSet (%s): %s", clean(err), hint)
}

func tooCostly(cost, budget int) error {
	return fmt.Errorf("takes about %d MiB of memory, at most %d MiB are granted: send the files that the events need "+
		"and no others (`buf build --path`), or start the bridge with --schema", cost>>20+1, budget>>20)
}

// builder makes the descriptors of a set, each file after those that it imports. It resolves imports and names for
// protodesc.
type builder struct {
	set     *set
	names   map[protoreflect.FullName]protoreflect.Descriptor // messages and enums built so far
	waiting map[string]*descriptorpb.FileDescriptorProto      // by path; nil while its imports are built
	leads   map[string]int                                    // how many public imports a file leads to, by path
	steps   int                                               // taken through public imports so far
}

// add takes the files of a set, without those that are built in.
func (b *builder) add(files []*descriptorpb.FileDescriptorProto) error {
	for _, file := range files {
		path := file.GetName()
		if _, err := builtin.files.FindFileByPath(path); err == nil {
			continue
		}
		if present, found := b.waiting[path]; found {
			if proto.Equal(present, file) {
				continue
			}
			return fmt.Errorf("holds two different files with the name %q: %s", path, howToBuild)
		}
		// The protobuf runtime ends the process for some of the editions that it does not know.
		if edition := file.GetEdition(); file.GetSyntax() == "editions" &&
			edition != descriptorpb.Edition_EDITION_2023 && edition != descriptorpb.Edition_EDITION_2024 {
			return fmt.Errorf("%s has the edition %v: this bridge knows proto2, proto3, 2023 and 2024", path, edition)
		}
		b.waiting[path] = file
		b.set.protos = append(b.set.protos, file)
	}
	return nil
}

// build makes the descriptor of a file after those of its imports.
func (b *builder) build(path string) (protoreflect.FileDescriptor, error) {
	if built := b.set.paths[path]; built != nil {
		return built, nil
	}
	file := b.waiting[path]
	b.waiting[path] = nil
	for _, imported := range file.GetDependency() {
		if _, err := builtin.files.FindFileByPath(imported); err == nil {
			continue
		}
		next, found := b.waiting[imported]
		switch {
		case !found:
			return nil, fmt.Errorf("%s imports %s, which the set does not hold: %s", path, imported, howToBuild)
		case next == nil && b.set.paths[imported] == nil:
			return nil, fmt.Errorf("%s imports %s, which imports it in turn", path, imported)
		}
		if _, err := b.build(imported); err != nil {
			return nil, err
		}
	}
	if err := b.countPublic(file); err != nil {
		return nil, err
	}
	built, err := protodesc.NewFile(renamed(file), b)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", path, clean(err))
	}
	if err := b.name(path, built.Messages(), built.Enums()); err != nil {
		return nil, err
	}
	if err := b.set.files.RegisterFile(built); err != nil {
		return nil, errors.New(clean(err))
	}
	b.set.paths[path] = built
	return built, nil
}

// renamed gives another path to a file that has the path of one that is linked in without being built in: the CEL
// runtime of the validator would take the linked-in one instead.
func renamed(file *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	if _, err := protoregistry.GlobalFiles.FindFileByPath(file.GetName()); err != nil {
		return file
	}
	copied := proto.CloneOf(file)
	copied.Name = proto.String("schema:" + file.GetName())
	return copied
}

// countPublic bounds the steps that protodesc takes through public imports: it follows each path through them anew,
// and there are twice as many with each layer of files that imports two of the next.
func (b *builder) countPublic(file *descriptorpb.FileDescriptorProto) error {
	public := make(map[int32]bool, len(file.GetPublicDependency()))
	for _, i := range file.GetPublicDependency() {
		public[i] = true
	}
	leads := 0
	for i, imported := range file.GetDependency() {
		b.steps += b.leads[imported]
		if public[int32(i)] {
			leads += 1 + b.leads[imported]
		}
	}
	if b.steps > maxPublicImports || leads > maxPublicImports {
		return fmt.Errorf("%s has too many public imports: import the files that it needs", file.GetName())
	}
	b.leads[file.GetName()] = leads
	return nil
}

// name makes the types of a file known by name. It refuses those that have the name of a well-known type.
func (b *builder) name(path string, messages protoreflect.MessageDescriptors, enums protoreflect.EnumDescriptors) error {
	for i := range enums.Len() {
		if err := b.nameOne(path, enums.Get(i)); err != nil {
			return err
		}
	}
	for i := range messages.Len() {
		desc := messages.Get(i)
		if err := b.nameOne(path, desc); err != nil {
			return err
		}
		if err := b.name(path, desc.Messages(), desc.Enums()); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) nameOne(path string, desc protoreflect.Descriptor) error {
	if builtin.wellKnown(desc.FullName()) {
		return fmt.Errorf("%s defines %s, which is a well-known type: import its file of %s instead",
			path, desc.FullName(), wellKnownFolder)
	}
	b.names[desc.FullName()] = desc
	return nil
}

// FindFileByPath resolves an import. Built-in files come first.
func (b *builder) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if file, err := builtin.files.FindFileByPath(path); err == nil {
		return file, nil
	}
	if file := b.set.paths[path]; file != nil {
		return file, nil
	}
	return nil, protoregistry.NotFound
}

// FindDescriptorByName resolves the name of a type. The set comes first: it may hold a copy of a built-in file under
// another path, though never the well-known types.
func (b *builder) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if desc := b.names[name]; desc != nil {
		return desc, nil
	}
	if desc := builtin.names[name]; desc != nil {
		return desc, nil
	}
	return nil, protoregistry.NotFound
}
