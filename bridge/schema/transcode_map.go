package schema

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// entry is an entry of a map on the wire, once.
type entry struct{ key, value occurrence }

// entriesOf writes a map, sorted by its keys as protojson does: numbers by size, texts by their bytes.
func (t *transcoder) entriesOf(kind *mapEntry, first, last, depth int) bool {
	begin := len(t.entries)
	for at := first; at < last; at++ {
		next, ok := t.entry(kind, int(t.seen[at].start), int(t.seen[at].end))
		if !ok {
			return false
		}
		t.entries = append(t.entries, next)
	}
	compare := func(a, b entry) int { return t.compare(kind.key.kind, a, b) }
	slices.SortFunc(t.entries[begin:], compare)
	t.out = append(t.out, '{')
	for at := begin; at < begin+last-first; at++ {
		next := t.entries[at]
		if at > begin {
			if compare(t.entries[at-1], next) == 0 {
				return false // of several with a key the last one counts
			}
			t.out = append(t.out, ',')
		}
		if !t.key(&kind.key, next.key) || !t.value(&kind.value, next.value, depth) {
			return false
		}
	}
	t.out = append(t.out, '}')
	t.entries = t.entries[:begin]
	return true
}

// entry reads a map entry, a message with a key and a value. Either of them may be absent, and is then zero: in a map,
// fields cannot have another default, and enums begin with zero.
func (t *transcoder) entry(kind *mapEntry, at, end int) (entry, bool) {
	var found entry
	var hasKey, hasValue bool
	for at < end {
		number, wire, size := consumeTag(t.wire[at:end])
		if size < 0 || number > protowire.MaxValidNumber {
			return entry{}, false
		}
		at += size
		field, to, present := &kind.key, &found.key, &hasKey
		if number == kind.value.number {
			field, to, present = &kind.value, &found.value, &hasValue
		}
		if number != field.number || wire != field.wire {
			if number == kind.key.number {
				return entry{}, false // the protobuf runtime panics where a proper key came before
			}
			if size = protowire.ConsumeFieldValue(number, wire, t.wire[at:end]); size < 0 {
				return entry{}, false
			}
			at += size
			continue
		}
		content, skip, size := field.consume(t.wire[at:end], wire)
		if size < 0 || *present {
			return entry{}, false
		}
		*to, *present = occurrence{number: content, start: int32(at + skip), end: int32(at + size)}, true //nolint:gosec // light
		at += size
	}
	return found, true
}

// key writes the key of a map entry, which is a string whatever its kind.
func (t *transcoder) key(field *formField, key occurrence) bool {
	switch field.kind {
	case protoreflect.StringKind:
		var valid bool
		t.out, valid = appendString(t.out, t.wire[key.start:key.end])
		t.out = append(t.out, ':')
		return valid
	case protoreflect.BoolKind:
		t.out = strconv.AppendBool(append(t.out, '"'), key.number != 0)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		t.out = strconv.AppendUint(append(t.out, '"'), key.number, 10)
	default:
		t.out = strconv.AppendInt(append(t.out, '"'), int64(key.number), 10) //nolint:gosec // signed
	}
	t.out = append(t.out, '"', ':')
	return true
}

// compare compares the keys of two entries of a map with keys of a kind.
func (t *transcoder) compare(kind protoreflect.Kind, a, b entry) int {
	switch kind {
	case protoreflect.StringKind:
		return bytes.Compare(t.wire[a.key.start:a.key.end], t.wire[b.key.start:b.key.end])
	case protoreflect.BoolKind, protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind,
		protoreflect.Fixed64Kind:
		return cmp.Compare(a.key.number, b.key.number)
	default:
		return cmp.Compare(int64(a.key.number), int64(b.key.number)) //nolint:gosec // signed
	}
}
