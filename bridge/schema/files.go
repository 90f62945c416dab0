package schema

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// loadedSet is a set and the file that it is of.
type loadedSet struct {
	path string
	set  *set
}

// load reads the sets of all files that the globs match.
func load(globs []string) (*catalog, error) {
	paths, err := expand(globs)
	if err != nil {
		return nil, err
	}
	var loaded []loadedSet
	for _, path := range paths {
		data, err := os.ReadFile(path) //nolint:gosec // the operator names the files
		if err != nil {
			return nil, err
		}
		parsed, err := parse(data, unlimited)
		if err != nil {
			return nil, fmt.Errorf("%s %w", path, err)
		}
		loaded = append(loaded, loadedSet{path, parsed})
	}
	return merge(loaded)
}

// expand returns the files that the globs match, each once, in the order of their names.
func expand(globs []string) ([]string, error) {
	var paths []string
	for _, glob := range globs {
		matches, err := filepath.Glob(glob)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", glob, err)
		}
		if len(matches) == 0 {
			return nil, fmt.Errorf("%s matches no file: correct the path, or %s", glob, howToBuild)
		}
		paths = append(paths, matches...)
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

// fingerprint changes when a file that the globs match changes, comes or goes. It follows symbolic links: Kubernetes
// updates a mounted ConfigMap by pointing a link at another directory.
func fingerprint(globs []string) string {
	paths, err := expand(globs)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, path := range paths {
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			fmt.Fprintln(&b, path, err)
			continue
		}
		info, err := os.Stat(target)
		if err != nil {
			fmt.Fprintln(&b, path, err)
			continue
		}
		fmt.Fprintln(&b, path, target, info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}

// merger finds names that two sets define differently.
type merger struct {
	seen map[protoreflect.FullName]definition
}

// definition is where a top-level declaration comes from, and its content.
type definition struct {
	path   string // of the set
	file   string // in the set
	digest [sha256.Size]byte
}

func (m *merger) add(loaded loadedSet) error {
	for _, file := range loaded.set.protos {
		for name, alone := range declarations(file) {
			content, err := proto.MarshalOptions{Deterministic: true}.Marshal(alone)
			if err != nil {
				return fmt.Errorf("%s: %s: %s", loaded.path, name, clean(err))
			}
			defined := definition{loaded.path, file.GetName(), sha256.Sum256(content)}
			present, found := m.seen[name]
			if !found {
				m.seen[name] = defined
			} else if present.digest != defined.digest {
				return fmt.Errorf("%s is not the same in %s (%s) and in %s (%s): build both from one version of its file",
					name, present.path, present.file, defined.path, defined.file)
			}
		}
	}
	loaded.set.protos = nil // no longer needed
	return nil
}

// declarations yields the top-level declarations of a file that events and their JSON depend on, each in a file of
// its own with what applies to all of them, so that files that share some of them can differ in others.
func declarations(file *descriptorpb.FileDescriptorProto) map[protoreflect.FullName]*descriptorpb.FileDescriptorProto {
	all := map[protoreflect.FullName]*descriptorpb.FileDescriptorProto{}
	declare := func(name string) *descriptorpb.FileDescriptorProto {
		alone := &descriptorpb.FileDescriptorProto{Syntax: file.Syntax, Edition: file.Edition}
		if features := file.GetOptions().GetFeatures(); features != nil {
			alone.Options = &descriptorpb.FileOptions{Features: features}
		}
		all[protoreflect.FullName(file.GetPackage()).Append(protoreflect.Name(name))] = alone
		return alone
	}
	for _, m := range file.GetMessageType() {
		declare(m.GetName()).MessageType = []*descriptorpb.DescriptorProto{m}
	}
	for _, enum := range file.GetEnumType() {
		declare(enum.GetName()).EnumType = []*descriptorpb.EnumDescriptorProto{enum}
	}
	for _, extension := range file.GetExtension() {
		declare(extension.GetName()).Extension = []*descriptorpb.FieldDescriptorProto{extension}
	}
	return all
}

// passing reports whether an error of load may pass without a change of the files' names, sizes and times.
func passing(err error) bool {
	_, ok := errors.AsType[*os.PathError](err)
	return ok
}
