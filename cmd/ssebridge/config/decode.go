package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"

	"github.com/goccy/go-yaml/ast"

	"github.com/ssebridge/ssebridge/auth/token"
)

// decoder fills a configuration from a syntax tree. It goes on after a mistake.
type decoder struct {
	source  *source
	origins map[string]Position
	faults  []*Error
}

func (d *decoder) report(node ast.Node, key string, err error) {
	d.faults = append(d.faults, d.source.fault(d.begin(node), key, err))
}

// begin returns where a node begins. The parser says of a mapping where its first colon is.
func (d *decoder) begin(node ast.Node) Position {
	if mapping, ok := node.(*ast.MappingNode); ok && !mapping.IsFlowStyle && len(mapping.Values) > 0 {
		node = mapping.Values[0].Key
	}
	at := node.GetToken().Position
	return d.source.position(at.Line, at.Column)
}

// decode reads a node into a field.
func (d *decoder) decode(key string, node ast.Node, field reflect.Value) {
	d.origins[key] = d.begin(node)
	switch node := node.(type) {
	case *ast.AnchorNode, *ast.AliasNode:
		d.report(node, key, errors.New("anchors and aliases are not supported: write the value out, and put text that begins with & or * in quotes"))
	case *ast.TagNode:
		d.report(node, key, errors.New("tags are not supported: remove it, and put text that begins with ! in quotes"))
	case *ast.NullNode:
		// A section or list all of whose lines are commented out is one that was left out.
		if field.Kind() != reflect.Struct && field.Kind() != reflect.Slice {
			d.report(node, key, fmt.Errorf("the key has no value: write %s, or remove the key", wanted(field.Type())))
		}
	case *ast.MappingNode:
		if field.Kind() != reflect.Struct {
			d.report(node, key, fmt.Errorf("is a mapping: write %s", wanted(field.Type())))
			return
		}
		d.section(key, node, field)
	case *ast.SequenceNode:
		if field.Kind() != reflect.Slice {
			d.report(node, key, fmt.Errorf("is a list: write %s", wanted(field.Type())))
			return
		}
		d.list(key, node, field)
	default:
		value, ok := scalarOf(node)
		if !ok {
			d.report(node, key, fmt.Errorf("is no value of this key: write %s", wanted(field.Type())))
			return
		}
		if err := set(field, value); err != nil {
			d.report(node, key, err)
		}
	}
}

func scalarOf(node ast.Node) (scalar, bool) {
	switch node := node.(type) {
	case *ast.StringNode:
		return scalar{text, node.Value}, true
	case *ast.LiteralNode:
		return scalar{text, node.Value.Value}, true
	case *ast.BoolNode:
		return scalar{boolean, node.Token.Value}, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return scalar{number, node.GetToken().Value}, true
	}
	return scalar{}, false
}

// section reads a mapping into a struct.
func (d *decoder) section(prefix string, mapping *ast.MappingNode, into reflect.Value) {
	fields := map[string]reflect.Value{}
	for field, value := range into.Fields() {
		fields[field.Tag.Get("yaml")] = value
	}
	seen := map[string]Position{}
	for _, pair := range mapping.Values {
		name := pair.Key.GetToken().Value
		key := below(prefix, name)
		if first, ok := seen[name]; ok {
			d.report(pair.Key, key, fmt.Errorf("the key is given twice, first in line %d: remove one", first.Line))
			continue
		}
		seen[name] = d.begin(pair.Key)
		field, known := fields[name]
		switch pair.Key.(type) {
		case *ast.StringNode:
		case *ast.MergeKeyNode, *ast.MappingKeyNode:
			d.report(pair.Key, prefix, fmt.Errorf("keys of the form %q are not supported: write the keys out, as name: value", name))
			continue
		default:
			known = false
		}
		if !known || name == "" {
			d.report(pair.Key, key, unknownKey(name, into.Type()))
			continue
		}
		d.decode(key, pair.Value, field)
	}
}

// list reads a sequence into a slice, which it replaces.
func (d *decoder) list(key string, sequence *ast.SequenceNode, into reflect.Value) {
	into.Set(reflect.MakeSlice(into.Type(), len(sequence.Values), len(sequence.Values)))
	for i, node := range sequence.Values {
		entry := into.Index(i)
		if issuer, ok := reflect.TypeAssert[*token.Issuer](entry.Addr()); ok {
			*issuer = token.DefaultIssuer()
		}
		d.decode(fmt.Sprintf("%s[%d]", key, i), node, entry)
	}
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// below makes the path of a key in a section.
func below(prefix, name string) string {
	if !plainKey.MatchString(name) {
		name = short(name)
	}
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}
