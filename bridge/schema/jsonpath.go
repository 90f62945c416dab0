package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ssebridge/ssebridge/bridge"
)

// typeOf returns the "@type" of an Any in JSON.
func typeOf(text []byte) (string, *bridge.Refusal) {
	const example = `{"@type":"type.googleapis.com/shop.v1.OrderShipped","orderId":"42"}`
	decoder := json.NewDecoder(bytes.NewReader(text))
	token, err := decoder.Token()
	if err != nil {
		return "", refuse("", ruleJSON, notJSON(err))
	}
	if token != json.Delim('{') {
		return "", refuse("", ruleAny, "the data of an event is an object such as "+example)
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return "", refuse("", ruleJSON, notJSON(err))
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return "", refuse("", ruleJSON, notJSON(err))
		}
		if name != "@type" {
			continue
		}
		var url string
		if err := json.Unmarshal(value, &url); err != nil {
			return "", refuse("@type", ruleAny, "the type is a string, such as in "+example)
		}
		return url, checkURL(url)
	}
	return "", refuse("", ruleAny, `the data has no "@type": name the type, such as in `+example)
}

// notJSON says what is wrong with a text, given the error of encoding/json.
func notJSON(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "is not JSON: it ends too early"
	}
	return "is not JSON: " + clean(err)
}

// explainJSON turns an error of protojson into the place in the text and what is wrong there. Both are stable: what
// the protobuf runtime says by line and column becomes a path such as "items[3].name".
func explainJSON(text []byte, err error) (path, message string) {
	message = clean(err)
	position := jsonPosition.FindStringSubmatchIndex(message)
	if position == nil {
		return "", message
	}
	line, lineErr := strconv.Atoi(message[position[2]:position[3]])
	column, columnErr := strconv.Atoi(message[position[4]:position[5]])
	before, after := message[:position[0]], message[position[1]:]
	if before != "" && after != "" {
		before += ": "
	}
	if lineErr != nil || columnErr != nil {
		return "", before + after
	}
	return pathAt(text, offsetOf(text, line, column)), before + after
}

// offsetOf returns the offset of a line and column, both counted from 1 and the column in characters.
func offsetOf(text []byte, line, column int) int {
	offset := 0
	for ; line > 1; line-- {
		end := bytes.IndexByte(text[offset:], '\n')
		if end < 0 {
			break
		}
		offset += end + 1
	}
	for ; column > 1 && offset < len(text); column-- {
		_, size := utf8.DecodeRune(text[offset:])
		offset += size
	}
	return offset
}

// place is where a walk through JSON stands: in an object at a name, or in an array at an index.
type place struct {
	array bool
	index int
	name  string
	value bool // the name is read, its value comes next
}

// pathAt returns the path of the name or value that stands at an offset of a JSON text; of what comes last before it
// where the text ends there or breaks off.
func pathAt(text []byte, offset int) string {
	decoder := json.NewDecoder(bytes.NewReader(text))
	var places []place
	for {
		start := skipSeparators(text, int(decoder.InputOffset()))
		token, err := decoder.Token()
		if err != nil {
			return pathOf(places)
		}
		current := len(places) - 1
		if current >= 0 && !places[current].array && !places[current].value && token != json.Delim('}') {
			places[current].name, places[current].value = fmt.Sprint(token), true
			if start >= offset {
				return pathOf(places)
			}
			continue
		}
		if start >= offset {
			return pathOf(places)
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			places = append(places, place{array: token == json.Delim('[')})
			continue
		case json.Delim('}'), json.Delim(']'):
			places = places[:current]
		}
		if len(places) > 0 { // a value has ended
			last := &places[len(places)-1]
			last.index++
			last.name, last.value = "", false
		}
	}
}

func skipSeparators(text []byte, offset int) int {
	for offset < len(text) && strings.IndexByte(" \t\r\n,:", text[offset]) >= 0 {
		offset++
	}
	return offset
}

func pathOf(places []place) string {
	path := ""
	for _, p := range places {
		if p.array {
			path = under(path, "["+strconv.Itoa(p.index)+"]")
		} else {
			path = under(path, shorten(p.name, 100))
		}
	}
	return shorten(path, maxMessageBytes)
}
