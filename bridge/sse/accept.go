package sse

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/ssebridge/ssebridge/bridge"
)

// acceptance is what a caller can read, by its Accept header (RFC 9110, section 12.5.1).
type acceptance struct {
	stream bool // text/event-stream
	json   bool // application/json, by name: "*/*" means a stream here
}

func parseAccept(r *http.Request) acceptance {
	values := r.Header.Values("Accept")
	if strings.Join(values, "") == "" { // absent, or it says nothing
		return acceptance{stream: true}
	}
	var a acceptance
	for _, value := range values {
		for element := range strings.SplitSeq(value, ",") {
			mediaType, parameters, err := mime.ParseMediaType(element)
			if err != nil || zeroWeight(parameters["q"]) {
				continue
			}
			switch mediaType {
			case bridge.MediaType, "text/*", "*/*":
				a.stream = true
			case "application/json":
				a.json = true
			}
		}
	}
	return a
}

// zeroWeight reports whether a weight says "not acceptable".
func zeroWeight(q string) bool {
	weight, err := strconv.ParseFloat(q, 64)
	return err == nil && weight == 0
}
