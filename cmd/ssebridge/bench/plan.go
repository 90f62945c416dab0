package bench

import (
	"bytes"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// plan is how events are spread. A lane is the events of one publisher to one topic, numbered from 1. There are as many
// lanes as topics or as publishers, whichever is more, so that every topic has a publisher and every publisher a topic.
type plan struct {
	prefix     string // of all topics
	run        string // 8 hexadecimal digits in every event, which tell it from those of other runs
	topics     int
	publishers int
}

func (p *plan) lanes() int             { return max(p.topics, p.publishers) }
func (p *plan) topicOf(lane int) int   { return lane % p.topics }
func (p *plan) topic(index int) string { return fmt.Sprintf("%s/%0*d", p.prefix, topicDigits, index) }
func (p *plan) pattern() string        { return p.prefix + "/*" }

// lanesOf returns how many lanes a topic has. They are topic, topic+p.topics and so on.
func (p *plan) lanesOf(topic int) int { return (p.lanes() - topic + p.topics - 1) / p.topics }

// A mark is what an event carries, in hexadecimal digits: the run, the lane, the number and the time of publishing in
// nanoseconds since 1970. All marks are equally long, so that one is written over another.
const (
	topicDigits = 6
	maxTopics   = 1_000_000
	runDigits   = 8
	markDigits  = runDigits + 8 + 8 + 16
	minSize     = len(`{"mark":"","pad":"x"}`) + markDigits // without a pad it would have no field of that name
)

type mark struct {
	lane, number uint32
	time         int64
}

// template is an encoded event that is copied with another topic and mark.
type template struct {
	text     []byte
	topicsAt []int // where the digits of the topic are
	markAt   int
}

// newTemplate makes a template of a text with the topic of number 0 and the mark of newMark in it.
func (p *plan) newTemplate(text []byte) *template {
	t := &template{text: text, markAt: bytes.Index(text, []byte(p.newMark()))}
	topic := p.topic(0)
	for at := 0; ; {
		i := bytes.Index(text[at:], []byte(topic))
		if i < 0 {
			return t
		}
		at += i + len(topic)
		t.topicsAt = append(t.topicsAt, at-topicDigits)
	}
}

func (p *plan) newMark() string { return p.run + strings.Repeat("0", markDigits-runDigits) }

// newPublishTemplate makes the template of a PublishRequest with one event, whose data are so many bytes of JSON.
// Requests one after the other are one request with all of their events (Protocol Buffers, "Last One Wins": the
// elements of repeated fields are appended).
func (p *plan) newPublishTemplate(size int) (*template, error) {
	data, err := anypb.New(newSample(p.newMark(), size))
	if err != nil {
		return nil, err
	}
	event := &ssebridgev1.Event{Topic: p.topic(0), Data: data}
	text, err := proto.Marshal(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{event}})
	if err != nil {
		return nil, err
	}
	return p.newTemplate(text), nil
}

// append appends the event of a mark.
func (t *template) append(dst []byte, topic int, m mark) []byte {
	start := len(dst)
	dst = append(dst, t.text...)
	for _, at := range t.topicsAt {
		putDecimal(dst[start+at:start+at+topicDigits], topic)
	}
	at := start + t.markAt + runDigits
	putHex(dst[at:at+8], uint64(m.lane))
	putHex(dst[at+8:at+16], uint64(m.number))
	putHex(dst[at+16:at+32], uint64(m.time)) //nolint:gosec // since 1970
	return dst
}

const digits = "0123456789abcdef"

func putDecimal(dst []byte, v int) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = digits[v%10]
		v /= 10
	}
}

func putHex(dst []byte, v uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = digits[v&0xf]
		v >>= 4
	}
}

// markFinder finds the mark in the data of events.
type markFinder struct {
	before []byte // what stands before the lane: the field's name and the run
	hint   int    // how far from the end of the data it was the last time
}

func newMarkFinder(run string) markFinder { return markFinder{before: []byte(`"mark":"` + run)} }

// find returns the mark of an event; false where it has none of this run.
func (f *markFinder) find(data []byte) (mark, bool) {
	at := len(data) - f.hint
	if at < 0 || !bytes.HasPrefix(data[at:], f.before) {
		if at = bytes.Index(data, f.before); at < 0 {
			return mark{}, false
		}
		f.hint = len(data) - at
	}
	rest := data[at+len(f.before):]
	if len(rest) < markDigits-runDigits {
		return mark{}, false
	}
	lane, ok1 := parseHex(rest[:8])
	number, ok2 := parseHex(rest[8:16])
	time, ok3 := parseHex(rest[16:32])
	return mark{lane: uint32(lane), number: uint32(number), time: int64(time)}, ok1 && ok2 && ok3 //nolint:gosec // that many digits
}

var hexValues = func() (values [256]uint8) {
	for i := range values {
		values[i] = 0xff
	}
	for value, digit := range []byte(digits) {
		values[digit] = uint8(value)
	}
	return values
}()

func parseHex(text []byte) (v uint64, ok bool) {
	wrong := uint8(0)
	for _, c := range text {
		value := hexValues[c]
		wrong |= value
		v = v<<4 | uint64(value)
	}
	return v, wrong < 0x80
}
