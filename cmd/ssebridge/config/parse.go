package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxFile  = 1 << 20 // bytes
	maxDepth = 32      // of what is in brackets, and of lists on one line: the parser recurses
)

// Override is a value from outside the file that wins over it.
type Override struct {
	Key    string   // such as public.addr: a single value, or a list of texts
	Values []string // one for a single value
	Origin string   // what to call it in an error, such as --public-addr
}

// Load reads a configuration file. Without a path it starts from the defaults alone. The error joins an *[Error] for
// each mistake, in the order of their places, unless the file cannot be read.
func Load(path string, overrides ...Override) (Config, error) {
	if path == "" {
		return parse(nil, nil, overrides)
	}
	text, err := read(path)
	if err != nil {
		return Config{}, fmt.Errorf("configuration file: %w", err)
	}
	return Parse(path, text, overrides...)
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	return io.ReadAll(io.LimitReader(file, maxFile+1))
}

// Parse reads the text of a configuration file, which errors call name. An empty text is a file in which nothing is
// set.
func Parse(name string, text []byte, overrides ...Override) (Config, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	return parse(newSource(name, text), text, overrides)
}

func parse(source *source, text []byte, overrides []Override) (Config, error) {
	c := Default()
	c.source, c.origins = source, map[string]Position{}
	var faults []*Error
	if source != nil {
		body, fault := tree(source, text)
		if fault != nil {
			return Config{}, fault
		}
		d := &decoder{source: source, origins: c.origins}
		if body != nil {
			d.decode("", body, reflect.ValueOf(&c).Elem())
		}
		faults = d.faults
	}
	for _, override := range overrides {
		c.forget(override.Key)
		c.origins[override.Key] = Position{Origin: override.Origin}
		if err := c.override(override); err != nil {
			faults = append(faults, c.at(override.Key, err))
		}
	}
	// What was not understood is not checked as well.
	for _, fault := range c.check() {
		if !covered(fault, faults) {
			faults = append(faults, fault)
		}
	}
	if err := join(faults); err != nil {
		return Config{}, err
	}
	return c, nil
}

// covered reports whether there is an error about a fault's key, or about what the key is in, already.
func covered(fault *Error, faults []*Error) bool {
	for _, known := range faults {
		if rest, ok := strings.CutPrefix(fault.Key, known.Key); known.Key != "" && ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// forget drops the places of a list's entries, which are replaced.
func (c *Config) forget(list string) {
	maps.DeleteFunc(c.origins, func(key string, _ Position) bool { return strings.HasPrefix(key, list+"[") })
}

func (c *Config) override(o Override) error {
	field := reflect.ValueOf(c).Elem()
	for name := range strings.SplitSeq(o.Key, ".") {
		section := field
		field = reflect.Value{}
		for candidate, value := range section.Fields() {
			if candidate.Tag.Get("yaml") == name {
				field = value
			}
		}
		if !field.IsValid() {
			return fmt.Errorf("sets %s, which is no key", o.Key)
		}
	}
	if list, ok := reflect.TypeAssert[*[]string](field.Addr()); ok {
		*list = o.Values
		return nil
	}
	return set(field, scalar{plain, strings.Join(o.Values, ",")})
}

// tree parses a file. It returns nil for a file in which nothing is set.
func tree(source *source, text []byte) (ast.Node, *Error) {
	at := func(p *token.Position) Position { return source.position(p.Line, p.Column) }
	if fault := unreadable(source, text); fault != nil {
		return nil, fault
	}
	tokens := lexer.Tokenize(string(text))
	if deep := tooDeep(tokens); deep != nil {
		return nil, source.fault(at(deep.Position), "", errors.New("brackets or lists are nested too deep: a configuration needs four levels at most"))
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // the decoder finds all of them
	if err != nil {
		position := source.position(1, 1)
		message := err.Error()
		if syntax := yaml.Error(nil); errors.As(err, &syntax) {
			message = syntax.GetMessage()
			if syntax.GetToken() != nil {
				position = at(syntax.GetToken().Position)
			}
		}
		return nil, source.fault(position, "", fmt.Errorf("not YAML: %s: look at the indentation and brackets here and in the line below, "+
			"and put rules and other text with special characters in single quotes", message))
	}
	var bodies []ast.Node
	for _, document := range file.Docs {
		if _, directive := document.Body.(*ast.DirectiveNode); document.Body != nil && !directive {
			bodies = append(bodies, document.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return nil, nil
	case 1:
		return bodies[0], nil
	}
	second := (&decoder{source: source}).begin(bodies[1])
	return nil, source.fault(second, "", errors.New("a second document begins here: remove the --- before it, or the document"))
}

// unreadable finds what is no text.
func unreadable(source *source, text []byte) *Error {
	if len(text) > maxFile {
		return source.fault(source.position(1, 1), "", fmt.Errorf("the file has more than %s: is it the right one?", Size(maxFile)))
	}
	for i, line := range source.lines {
		column := 1
		for rest := line; len(rest) > 0; column++ {
			c, size := utf8.DecodeRune(rest)
			if c == utf8.RuneError && size == 1 || c < ' ' && c != '\t' && c != '\r' || c == 0x7f {
				return source.fault(source.position(i+1, column), "",
					fmt.Errorf("the byte 0x%02x is no text: save the file as UTF-8, without control characters", rest[0]))
			}
			rest = rest[size:]
		}
	}
	return nil
}

// tooDeep returns the token at which the nesting becomes deeper than any configuration has it.
func tooDeep(tokens token.Tokens) *token.Token {
	brackets, entries, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			entries, line = 0, t.Position.Line
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType:
			entries++
		default:
		}
		if brackets > maxDepth || entries > maxDepth {
			return t
		}
	}
	return nil
}
