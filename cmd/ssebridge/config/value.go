package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written as such or with the unit KiB, MiB, GiB or TiB.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes Size
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String returns the size with the largest unit that divides it.
func (s Size) String() string {
	for _, unit := range sizeUnits {
		if s != 0 && s%unit.bytes == 0 {
			return strconv.FormatInt(int64(s/unit.bytes), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

func parseSize(text string) (Size, error) {
	number, unit := text, Size(1)
	for _, known := range sizeUnits {
		if before, ok := strings.CutSuffix(text, known.name); ok {
			number, unit = before, known.bytes
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && Size(n)*unit/unit != Size(n) {
		return 0, fmt.Errorf("%s is too large: write a size such as 64MiB", short(text))
	}
	if err != nil {
		return 0, fmt.Errorf("%s is no size: write a whole number of bytes, or one with a unit, such as 64MiB or 1GiB", short(text))
	}
	return Size(n) * unit, nil
}

var bareNumber = regexp.MustCompile(`^[0-9]{1,9}$`)

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case bareNumber.MatchString(text) && text != "0":
		return 0, fmt.Errorf("%s has no unit: write %ss for seconds", text, text)
	case err != nil:
		return 0, fmt.Errorf("%s is no duration: write a number with the unit ms, s, m or h, such as 30s or 24h", short(text))
	}
	return d, nil
}

// kind is what a value is in YAML.
type kind string

const (
	plain   kind = "plain" // of a flag or a variable: whatever is wanted
	text    kind = "text"
	number  kind = "number"
	boolean kind = "boolean"
)

// scalar is a single value.
type scalar struct {
	kind kind
	text string
}

// as reports whether the value may be read as what is wanted.
func (s scalar) as(wanted ...kind) bool {
	for _, kind := range wanted {
		if s.kind == kind || s.kind == plain {
			return true
		}
	}
	return false
}

func (s scalar) String() string {
	if s.kind == number || s.kind == boolean {
		return "the " + string(s.kind) + " " + short(s.text)
	}
	return short(s.text)
}

// set reads a value into a field. The error says what is wrong and how to mend it.
func set(field reflect.Value, value scalar) (err error) {
	if field.Kind() == reflect.String {
		if !value.as(text) {
			return fmt.Errorf("%s is not text: put it in quotes, %q", value, value.text)
		}
		field.SetString(value.text)
		return nil
	}
	switch field := field.Addr().Interface().(type) {
	case *bool:
		*field, err = strconv.ParseBool(value.text)
		if !value.as(boolean) || err != nil {
			return fmt.Errorf("%s is neither true nor false: write one of them, without quotes", value)
		}
	case *int:
		n, err := strconv.ParseInt(strings.ReplaceAll(value.text, "_", ""), 10, 32)
		if !value.as(number) || err != nil {
			return fmt.Errorf("%s is no whole number that fits: write one such as 1024, without quotes", value)
		}
		*field = int(n)
	case *Size:
		if !value.as(number, text) {
			return fmt.Errorf("%s is no size: write one such as 64MiB", value)
		}
		*field, err = parseSize(value.text)
	case *time.Duration:
		if !value.as(number, text) {
			return fmt.Errorf("%s is no duration: write one such as 30s", value)
		}
		*field, err = parseDuration(value.text)
	default:
		return fmt.Errorf("%s is a single value: write %s", value, wanted(reflect.TypeOf(field).Elem()))
	}
	return err
}

// wanted names what a field takes.
func wanted(field reflect.Type) string {
	switch {
	case field == reflect.TypeFor[time.Duration]():
		return "a duration such as 30s"
	case field == reflect.TypeFor[Size]():
		return "a size such as 64MiB"
	case field.Kind() == reflect.Int:
		return "a whole number"
	case field.Kind() == reflect.Bool:
		return "true or false"
	case field.Kind() == reflect.Slice && field.Elem().Kind() == reflect.Struct:
		return "a list of entries that begin with -, each with the keys " + strings.Join(keysOf(field.Elem()), ", ")
	case field.Kind() == reflect.Slice:
		return "a list such as [a, b]"
	case field.Kind() == reflect.Struct:
		return "a mapping with the keys " + strings.Join(keysOf(field), ", ")
	}
	return "text"
}

const maxShort = 64 // bytes of a value that are repeated in an error

// short quotes a value, cut where it is long.
func short(value string) string {
	if len(value) > maxShort {
		return strconv.Quote(value[:maxShort]) + "…"
	}
	return strconv.Quote(value)
}
