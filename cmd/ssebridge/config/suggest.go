package config

import (
	"fmt"
	"reflect"
	"strings"
)

// keysOf returns the keys of a section in the order of its fields.
func keysOf(section reflect.Type) []string {
	var keys []string
	for field := range section.Fields() {
		if key := field.Tag.Get("yaml"); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// everyKey calls visit for each key below a section; the keys of a list's entries stand behind "[]".
func everyKey(prefix string, section reflect.Type, visit func(key string, field reflect.Type)) {
	for field := range section.Fields() {
		key := field.Tag.Get("yaml")
		if key == "" {
			continue
		}
		key = below(prefix, key)
		visit(key, field.Type)
		switch {
		case field.Type.Kind() == reflect.Struct:
			everyKey(key, field.Type, visit)
		case field.Type.Kind() == reflect.Slice && field.Type.Elem().Kind() == reflect.Struct:
			everyKey(key+"[]", field.Type.Elem(), visit)
		}
	}
}

// unknownKey says which key may have been meant.
func unknownKey(name string, section reflect.Type) error {
	known := keysOf(section)
	if near := nearest(name, known); near != "" {
		return fmt.Errorf("there is no such key: did you mean %s?", near)
	}
	elsewhere := ""
	everyKey("", reflect.TypeFor[Config](), func(key string, _ reflect.Type) {
		if elsewhere == "" && strings.HasSuffix(key, "."+name) {
			elsewhere = key
		}
	})
	if elsewhere != "" {
		return fmt.Errorf("there is no such key here: did you mean %s?", elsewhere)
	}
	return fmt.Errorf("there is no such key: remove it, or use one of %s", strings.Join(known, ", "))
}

// nearest returns the candidate that differs least from a name, or nothing when all differ a lot.
func nearest(name string, candidates []string) string {
	best, least := "", max(2, len(name)/3)+1
	if len(name) > maxShort {
		return ""
	}
	for _, candidate := range candidates {
		if d := distance(name, candidate); d < least && d < len(candidate) {
			best, least = candidate, d
		}
	}
	return best
}

// distance is how many bytes must be inserted, removed or replaced to make a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
