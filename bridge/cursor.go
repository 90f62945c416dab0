package bridge

import (
	"errors"
	"strconv"
	"strings"
)

// Cursor is a place in the log: just behind the event with sequence Seq that was stored at Time. Sequences alone
// lie (a lost tail, a restored backup or a recreated log use them again), so the store time goes with it. Clients
// see it as an opaque string, the SSE id. The zero value is no place.
type Cursor struct {
	Seq  uint64 // sequence in the log; 0 is the place before the first event
	Time int64  // store time, nanoseconds since 1970
}

var errCursor = errors.New("not a cursor: use the id of an event that this bridge has sent, as it was")

// ParseCursor reads a cursor as [Cursor.String] writes it, and nothing else.
func ParseCursor(text string) (Cursor, error) {
	seqText, timeText, found := strings.Cut(text, "-")
	if !found || len(text) > 40 {
		return Cursor{}, errCursor
	}
	seq, err := strconv.ParseUint(seqText, 10, 64)
	if err != nil {
		return Cursor{}, errCursor
	}
	storeTime, err := strconv.ParseInt(timeText, 36, 64)
	if err != nil {
		return Cursor{}, errCursor
	}
	c := Cursor{Seq: seq, Time: storeTime}
	if storeTime <= 0 || c.String() != text { // one spelling only
		return Cursor{}, errCursor
	}
	return c, nil
}

// String writes the sequence in decimal and the store time in base 36: "<sequence>-<store time>".
func (c Cursor) String() string { return string(c.Append(make([]byte, 0, 40))) }

// Append appends the cursor's text to dst.
func (c Cursor) Append(dst []byte) []byte {
	dst = strconv.AppendUint(dst, c.Seq, 10)
	dst = append(dst, '-')
	return strconv.AppendInt(dst, c.Time, 36)
}

// IsZero reports whether the cursor is no place at all.
func (c Cursor) IsZero() bool { return c == Cursor{} }

// Before returns the place just before the event at c, which is where a reader stands who shall receive that event
// next. No event has this store time.
func (c Cursor) Before() Cursor { return Cursor{Seq: c.Seq - 1, Time: c.Time - 1} }
