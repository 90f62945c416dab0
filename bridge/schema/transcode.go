package schema

import (
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// transcoder writes the JSON of one message at a time from its wire format, without decoding it into a message. It
// does what is common, and leaves all else to the protobuf runtime, errors included: where a method reports false, the
// message is not the transcoder's, which says nothing about whether it is valid. What it writes is, byte for byte,
// what the protobuf runtime would.
//
// Places in the wire format are offsets, so that what is kept for the next message holds no bytes of this one.
type transcoder struct {
	wire    []byte
	out     []byte
	seen    []occurrence // of the fields of the message at hand, after those of the messages around it
	entries []entry      // of the map at hand, likewise
}

// occurrence is a field on the wire, once.
type occurrence struct {
	number     uint64 // the value, if it is a number
	start, end int32  // where the value is, if it is none
	field      int32  // index in the form
	packed     bool   // it is a list of numbers
}

var transcoders = sync.Pool{New: func() any { return new(transcoder) }}

// transcode returns a light message in the protobuf JSON mapping, or nil if it is not the transcoder's.
func (m *message) transcode(value []byte) []byte {
	if m.form().shape == foreign || len(value) > lightBytes {
		return nil
	}
	t := transcoders.Get().(*transcoder) //nolint:forcetypeassert // the pool holds nothing else
	t.wire, t.out, t.seen, t.entries = value, t.out[:0], t.seen[:0], t.entries[:0]
	var data []byte
	// Maps may count twice in the protobuf runtime.
	if t.message(m, 0, len(value), maxDepth/2) {
		data = slices.Clone(t.out) // of the right size: it is kept as long as the event
	}
	t.wire = nil
	if cap(t.out) <= maxPooledBytes {
		transcoders.Put(t)
	}
	return data
}

// message writes a message of at most that many layers.
func (t *transcoder) message(m *message, start, end, depth int) bool {
	f := m.form()
	switch {
	case f.shape == timestamp:
		return t.timestamp(start, end)
	case f.shape == duration:
		return t.duration(start, end)
	case f.shape == foreign || depth == 0:
		return false
	}
	first := len(t.seen)
	if !t.scan(f, start, end) {
		return false
	}
	last, written := len(t.seen), false
	switch f.shape {
	case object:
		written = t.object(f, first, last, depth)
	case wrapper:
		written = t.wrapped(f, first, last)
	case structure:
		written = t.entriesOf(f.fields[0].entry, first, last, depth)
	case listing:
		written = t.items(&f.fields[0], first, last, depth)
	case anything:
		written = t.anything(f, first, last, depth)
	}
	t.seen = t.seen[:first]
	return written
}

// scan notes the fields of a message in the order in which JSON has them. It decodes numbers, as it must know how long
// they are.
func (t *transcoder) scan(f *form, at, end int) bool {
	first, expected, sorted := len(t.seen), 0, true
	for at < end {
		number, wire, size := consumeTag(t.wire[at:end])
		if size < 0 || number > protowire.MaxValidNumber {
			return false
		}
		at += size
		place := f.find(number, expected)
		if place < 0 || !f.fields[place].takes(wire) {
			// Not known: neither a value of another wire type is.
			if size = protowire.ConsumeFieldValue(number, wire, t.wire[at:end]); size < 0 {
				return false
			}
			at += size
			continue
		}
		field := &f.fields[place]
		if field.foreign {
			return false
		}
		value, skip, size := field.consume(t.wire[at:end], wire)
		if size < 0 {
			return false
		}
		packed := wire != field.wire
		if packed && skip == size {
			at += size
			continue // adds nothing to the list
		}
		t.seen = append(t.seen, occurrence{value, int32(at + skip), int32(at + size), int32(place), packed}) //nolint:gosec // light
		at += size
		sorted = sorted && place >= expected-1
		expected = place + 1
	}
	if !sorted {
		slices.SortStableFunc(t.seen[first:], func(a, b occurrence) int { return int(a.field - b.field) })
	}
	return true
}

// takes reports whether a field can have that wire type. Parsers take lists of numbers packed or not, whatever the
// field declares: "Packed Repeated Fields" in https://protobuf.dev/programming-guides/encoding/.
func (f *formField) takes(wire protowire.Type) bool {
	return wire == f.wire || f.list && wire == protowire.BytesType && f.wire != protowire.StartGroupType
}

// consume reads one value of a field, or a packed list, from the beginning of data: a number, or bytes from skip to
// size. The size is negative where there is none.
func (f *formField) consume(data []byte, wire protowire.Type) (number uint64, skip, size int) {
	if wire != protowire.BytesType {
		number, size = f.consumeNumber(data)
		return number, size, size
	}
	length, skip := consumeVarint(data)
	if skip < 0 || length > uint64(len(data)-skip) { //nolint:gosec // not negative
		return 0, 0, -1
	}
	return 0, skip, skip + int(length) //nolint:gosec // not longer than data
}

// object writes a message whose fields have been noted.
func (t *transcoder) object(f *form, first, last, depth int) bool {
	t.out = append(t.out, '{')
	oneof := 0 // of the field before; fields of a oneof are declared side by side
	for at := first; at < last; {
		place := t.seen[at].field
		field, begin := &f.fields[place], at
		for at++; at < last && t.seen[at].field == place; at++ {
			continue
		}
		if field.list || field.entry != nil {
			if !t.repeated(field, begin, at, depth) {
				return false
			}
			continue
		}
		// Of several the last one counts, messages are merged, and a member of a oneof removes the others.
		if at-begin > 1 || field.oneof != 0 && field.oneof == oneof {
			return false
		}
		oneof = field.oneof
		value := t.seen[begin]
		if field.implicit && value.number == 0 && value.start == value.end {
			continue
		}
		t.name(field)
		if !t.value(field, value, depth) {
			return false
		}
	}
	t.out = append(t.out, '}')
	return true
}

func (t *transcoder) name(field *formField) {
	if t.out[len(t.out)-1] != '{' {
		t.out = append(t.out, ',')
	}
	t.out = append(t.out, field.name...)
}

// repeated writes a list or map.
func (t *transcoder) repeated(field *formField, first, last, depth int) bool {
	t.name(field)
	if field.entry != nil {
		return t.entriesOf(field.entry, first, last, depth)
	}
	return t.items(field, first, last, depth)
}

// items writes a list.
func (t *transcoder) items(field *formField, first, last, depth int) bool {
	t.out = append(t.out, '[')
	for at := first; at < last; at++ {
		if at > first {
			t.out = append(t.out, ',')
		}
		item := t.seen[at]
		if item.packed && !t.packed(field, item) || !item.packed && !t.value(field, item, depth) {
			return false
		}
	}
	t.out = append(t.out, ']')
	return true
}

// packed writes a list of numbers, of which there is at least one.
func (t *transcoder) packed(field *formField, list occurrence) bool {
	data := t.wire[list.start:list.end]
	for {
		number, size := field.consumeNumber(data)
		if size < 0 || !t.number(field, number) {
			return false
		}
		if data = data[size:]; len(data) == 0 {
			return true
		}
		t.out = append(t.out, ',')
	}
}

// value writes one value.
func (t *transcoder) value(field *formField, value occurrence, depth int) bool {
	switch field.kind {
	case protoreflect.MessageKind:
		return t.message(field.message, int(value.start), int(value.end), depth-1)
	case protoreflect.StringKind:
		var valid bool
		t.out, valid = appendString(t.out, t.wire[value.start:value.end])
		return valid
	case protoreflect.BytesKind:
		t.bytes(t.wire[value.start:value.end])
		return true
	default:
		return t.number(field, value.number)
	}
}
