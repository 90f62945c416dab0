package schema

import (
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Bounds of timestamp.proto and duration.proto, whose messages have no JSON beyond them.
const (
	minTimestamp = -62135596800 // 0001-01-01T00:00:00Z
	maxTimestamp = 253402300799 // 9999-12-31T23:59:59Z
	maxDuration  = 315576000000 // seconds, about 10,000 years
	maxNanos     = 999999999
)

// timestamp writes a google.protobuf.Timestamp as RFC 3339 says, in UTC.
func (t *transcoder) timestamp(start, end int) bool {
	seconds, nanos, ok := secondsAndNanos(t.wire[start:end])
	if !ok || seconds < minTimestamp || seconds > maxTimestamp || nanos < 0 || nanos > maxNanos {
		return false
	}
	t.out = time.Unix(seconds, 0).UTC().AppendFormat(append(t.out, '"'), time.RFC3339)
	t.out = t.out[:len(t.out)-len("Z")]
	t.fraction(nanos)
	t.out = append(t.out, 'Z', '"')
	return true
}

// duration writes a google.protobuf.Duration as seconds.
func (t *transcoder) duration(start, end int) bool {
	seconds, nanos, ok := secondsAndNanos(t.wire[start:end])
	if !ok || seconds < -maxDuration || seconds > maxDuration || nanos < -maxNanos || nanos > maxNanos ||
		seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0 {
		return false
	}
	t.out = append(t.out, '"')
	if seconds < 0 || nanos < 0 {
		t.out = append(t.out, '-')
		seconds, nanos = -seconds, -nanos
	}
	t.out = strconv.AppendInt(t.out, seconds, 10)
	t.fraction(nanos)
	t.out = append(t.out, 's', '"')
	return true
}

// secondsAndNanos reads the fields that timestamps and durations have alike.
func secondsAndNanos(data []byte) (seconds, nanos int64, ok bool) {
	const secondsTag, nanosTag = 1<<3 | byte(protowire.VarintType), 2<<3 | byte(protowire.VarintType)
	var fields [2]uint64
	for i, tag := range [...]byte{secondsTag, nanosTag} {
		if len(data) == 0 || data[0] != tag {
			continue
		}
		number, size := consumeVarint(data[1:])
		if size < 0 {
			return 0, 0, false
		}
		fields[i], data = number, data[1+size:]
	}
	// Any other field, order or repetition is rare.
	return int64(fields[0]), int64(int32(fields[1])), len(data) == 0 //nolint:gosec // the sign stays, the rest is cut off
}

// fraction writes no digits of a second, three, six or nine.
func (t *transcoder) fraction(nanos int64) {
	if nanos == 0 {
		return
	}
	digits, unit := 9, int64(1)
	for digits > 3 && nanos%(unit*1000) == 0 {
		digits, unit = digits-3, unit*1000
	}
	t.out = append(t.out, '.')
	for place := int64(1e8); digits > 0; digits, place = digits-1, place/10 {
		t.out = append(t.out, '0'+byte(nanos/place%10)) //nolint:gosec // a digit
	}
}

// wrapped writes the value in a wrapper such as google.protobuf.Int64Value, whose fields have been noted: the zero
// value where there is none.
func (t *transcoder) wrapped(f *form, first, last int) bool {
	if last-first > 1 {
		return false
	}
	var value occurrence
	if last > first {
		value = t.seen[first]
	}
	return t.value(&f.fields[0], value, 0)
}

// anything writes the value in a google.protobuf.Value, whose fields have been noted. There must be one, and JSON has
// no numbers for NaN and infinity.
func (t *transcoder) anything(f *form, first, last, depth int) bool {
	if last-first != 1 {
		return false
	}
	value := t.seen[first]
	field := &f.fields[value.field]
	if number := math.Float64frombits(value.number); field.kind == protoreflect.DoubleKind &&
		(math.IsNaN(number) || math.IsInf(number, 0)) {
		return false
	}
	return t.value(field, value, depth)
}
