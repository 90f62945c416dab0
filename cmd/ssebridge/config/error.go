package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Position is where a value was given.
type Position struct {
	Origin string // the file, a flag such as --public-addr, or an environment variable; empty for a default
	Line   int    // in the file, from 1; 0 elsewhere
	Column int    // characters, from 1; 0 elsewhere
}

// String returns file:line:column, or the origin alone.
func (p Position) String() string {
	if p.Line == 0 {
		return p.Origin
	}
	return fmt.Sprintf("%s:%d:%d", p.Origin, p.Line, p.Column)
}

// Error is one mistake in a configuration. Its text is "file:line:column: key: what is wrong: how to mend it", followed
// by the line of the file with a mark.
type Error struct {
	Position Position
	Key      string // such as topics[3].subscribe; empty where the file is no YAML
	Err      error

	excerpt string
}

func (e *Error) Error() string {
	var text strings.Builder
	for _, part := range []string{e.Position.String(), e.Key} {
		if part != "" {
			text.WriteString(part + ": ")
		}
	}
	return text.String() + withoutPassword(e.Err.Error()) + e.excerpt
}

// Unwrap returns what is wrong, without its place.
func (e *Error) Unwrap() error { return e.Err }

// At makes an error point at the place where a key was given: a dotted path such as public.tls.cert or
// topics[3].subscribe, entries counted from 0. A key that was not given stands where its section or entry begins. Nil
// stays nil.
func (c *Config) At(key string, err error) error {
	if err == nil {
		return nil
	}
	return c.at(key, err)
}

func (c *Config) at(key string, err error) *Error {
	for parent := key; parent != ""; parent = parent[:max(strings.LastIndexAny(parent, ".["), 0)] {
		if position, found := c.origins[parent]; found {
			return c.source.fault(position, key, err)
		}
	}
	return &Error{Key: key, Err: err}
}

// join sorts errors by their place, what flags and the environment say first.
func join(faults []*Error) error {
	slices.SortStableFunc(faults, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Position.Line, b.Position.Line), cmp.Compare(a.Position.Column, b.Position.Column))
	})
	var errs []error
	for _, fault := range faults {
		errs = append(errs, fault)
	}
	return errors.Join(errs...)
}

// source is the text of a configuration file.
type source struct {
	name  string
	lines [][]byte
}

func newSource(name string, text []byte) *source {
	return &source{name: name, lines: bytes.Split(text, []byte("\n"))}
}

// position makes a place of the file. A place beyond the end of a line or of the file, where the parser puts what is
// missing, counts as the end.
func (s *source) position(line, column int) Position {
	line = min(max(line, 1), len(s.lines))
	end := utf8.RuneCount(bytes.TrimSuffix(s.lines[line-1], []byte("\r"))) + 1
	return Position{Origin: s.name, Line: line, Column: min(max(column, 1), end)}
}

// fault makes an error at a place, with its line where that is of the file.
func (s *source) fault(at Position, key string, err error) *Error {
	fault := &Error{Position: at, Key: key, Err: err}
	if s != nil && at.Line > 0 {
		fault.excerpt = s.excerpt(at)
	}
	return fault
}

const maxExcerpt = 160 // characters; longer lines do not help

// excerpt shows a line with a mark under the column.
func (s *source) excerpt(at Position) string {
	line := strings.TrimRight(string(s.lines[at.Line-1]), "\r")
	if utf8.RuneCountInString(line) > maxExcerpt || !utf8.ValidString(line) {
		return ""
	}
	shown, indent := []rune(line), []rune(nil)
	for i, c := range shown {
		if c != '\t' && !unicode.IsPrint(c) {
			shown[i], c = '\ufffd', ' '
		}
		if i < at.Column-1 {
			indent = append(indent, map[bool]rune{true: '\t', false: ' '}[c == '\t'])
		}
	}
	return fmt.Sprintf("\n%5d | %s\n      | %s^", at.Line, withoutPassword(string(shown)), string(indent))
}

var userInfo = regexp.MustCompile(`://[^/\s"']*@`)

// withoutPassword hides what stands before the host of a URL: errors are written to logs.
func withoutPassword(text string) string { return userInfo.ReplaceAllString(text, "://***@") }
