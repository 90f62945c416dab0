package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/schema"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

const maxLineBytes = 3 << 20 // less than a message may hold

// eventLine is one event in JSON, as the bridge takes it.
type eventLine struct {
	text    []byte
	refused *bridge.Refusal // why it is not sent
}

// readLines sends each line that is not blank to lines.
func readLines(ctx context.Context, events io.Reader, lines chan<- eventLine) error {
	reader := bufio.NewReaderSize(events, 64<<10)
	for number := 1; ; number++ {
		text, err := readLine(reader)
		if text = bytes.TrimSpace(text); len(text) > 0 {
			line := eventLine{text: text, refused: checkEvent(text)}
			if line.refused != nil {
				line.text = nil
				line.refused.Message = fmt.Sprintf("line %d: %s", number, line.refused.Message)
			}
			select {
			case lines <- line:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read line %d: %w", number, err)
		}
	}
}

// readLine reads to the end of a line. Of a line that is too long it returns a part that is too long too.
func readLine(reader *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := reader.ReadSlice('\n')
		if len(line) <= maxLineBytes {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// argumentLine is the event of a command line.
func argumentLine(topic, data string) eventLine {
	if !json.Valid([]byte(data)) {
		return eventLine{refused: refuseEvent("data", fmt.Sprintf("not JSON: %.80q", data))}
	}
	text, err := json.Marshal(map[string]any{"topic": topic, "data": json.RawMessage(data)})
	if err != nil {
		return eventLine{refused: refuseEvent("data", err.Error())}
	}
	return eventLine{text: text, refused: checkEvent(text)}
}

// eventCodec reads events as the bridge does.
var eventCodec = schema.NewJSONCodec("json")

// checkEvent finds what the bridge would end the whole stream for, and data whose type nobody can know.
func checkEvent(text []byte) *bridge.Refusal {
	switch {
	case len(text) > maxLineBytes:
		return bridge.Refuse(bridge.CodeResourceExhausted, "event", "size",
			fmt.Sprintf("has more than %d bytes: publish a reference to what is large", maxLineBytes))
	case !utf8.Valid(text):
		return refuseEvent("event", "not UTF-8")
	case text[0] != '{' || !json.Valid(text):
		return refuseEvent("event", fmt.Sprintf("not a JSON object: %.80q", text))
	}
	var request ssebridgev1.PublishBatchRequest
	message := slices.Concat([]byte(`{"events":[`), text, []byte(`]}`))
	if err := eventCodec.Unmarshal(message, &request); err != nil {
		path, wrong, _ := strings.Cut(err.Error(), ": ")
		if field, ok := strings.CutPrefix(path, "events[0]."); ok {
			return refuseEvent(field, wrong)
		}
		return refuseEvent("event", wrong)
	}
	data, ok := schema.TakeJSONData(request.GetEvents()[0])
	if !ok {
		return refuseEvent("data", "missing: give the event's message, with its \"@type\"")
	}
	var fields map[string]json.RawMessage
	var name string
	if json.Unmarshal(data, &fields) != nil || json.Unmarshal(fields["@type"], &name) != nil || name == "" {
		return refuseEvent("data", `not an object with an "@type" such as "type.googleapis.com/shop.v1.OrderShipped"`)
	}
	return nil
}

func refuseEvent(field, message string) *bridge.Refusal {
	return bridge.Refuse(bridge.CodeInvalidArgument, field, "json", message)
}
