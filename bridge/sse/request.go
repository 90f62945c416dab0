package sse

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ssebridge/ssebridge/bridge"
)

// Limits of a request.
const (
	maxTopics = 64
	maxTypes  = 64
	maxSince  = 10 * 365 * 24 * time.Hour
)

const (
	paramTopic  = "topic"
	paramType   = "type"
	paramSince  = "since"
	paramFormat = "format"
)

var params = []string{paramTopic, paramSince, paramType, paramFormat}

// request is what a caller asks for.
type request struct {
	sub   bridge.Subscription
	start bridge.Start
}

// paramError is a parameter that cannot be used; its text says how to mend it.
type paramError struct {
	param string
	text  string
}

func (e *paramError) Error() string { return e.param + ": " + e.text }

func paramErrorf(param, format string, args ...any) error {
	return &paramError{param: param, text: fmt.Sprintf(format, args...)}
}

// parseRequest reads the query and the Last-Event-ID header. The error is a *paramError.
func parseRequest(r *http.Request, now time.Time) (request, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return request{}, paramErrorf("query", "%v: percent-encode the parameters", err)
	}
	for name, values := range query {
		if !slices.Contains(params, name) {
			return request{}, paramErrorf(name, "unknown parameter: there are %s", strings.Join(params, ", "))
		}
		if len(values) > 1 && (name == paramSince || name == paramFormat) {
			return request{}, paramErrorf(name, "given %d times: give it once", len(values))
		}
	}
	var req request
	if req.sub.Patterns, err = parseTopics(query[paramTopic]); err != nil {
		return request{}, err
	}
	if req.sub.Types, err = parseTypes(query[paramType]); err != nil {
		return request{}, err
	}
	if req.sub.Format, err = parseFormat(query.Get(paramFormat)); err != nil {
		return request{}, err
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		req.start = resume(last)
	} else if req.start, err = parseSince(query.Get(paramSince), now); err != nil {
		return request{}, err
	}
	return req, nil
}

func parseTopics(texts []string) ([]bridge.Pattern, error) {
	switch {
	case len(texts) == 0:
		return nil, paramErrorf(paramTopic, "missing: name at least one topic or pattern, such as ?topic=shops/7/orders/*")
	case len(texts) > maxTopics:
		return nil, paramErrorf(paramTopic, "given %d times: at most %d are allowed; use a pattern such as shops/7/**", len(texts), maxTopics)
	}
	patterns := make([]bridge.Pattern, 0, len(texts))
	for i, text := range texts {
		if slices.Contains(texts[:i], text) {
			continue
		}
		p, err := bridge.ParsePattern(text)
		if err != nil {
			return nil, paramErrorf(paramTopic, "%.80q: %v", text, err)
		}
		patterns = append(patterns, p)
	}
	return patterns, nil
}

func parseTypes(texts []string) ([]bridge.TypeFilter, error) {
	if len(texts) > maxTypes {
		return nil, paramErrorf(paramType, "given %d times: at most %d are allowed; use a package such as shop.v1.*", len(texts), maxTypes)
	}
	filters := make([]bridge.TypeFilter, 0, len(texts))
	for _, text := range texts {
		filter, err := bridge.ParseTypeFilter(text)
		if err != nil {
			return nil, paramErrorf(paramType, "%v", err)
		}
		filters = append(filters, filter)
	}
	return filters, nil
}

func parseFormat(text string) (bridge.Format, error) {
	switch text {
	case "", "cloudevents":
		return bridge.FormatCloudEvents, nil
	case "json":
		return bridge.FormatJSON, nil
	}
	return 0, paramErrorf(paramFormat, "%.80q: use cloudevents or json", text)
}

// resume reads a Last-Event-ID header. A browser cannot take back an id that it was given, by another service at the
// same address for instance, so one that nobody can read is told by a reset and not refused.
func resume(id string) bridge.Start {
	place, err := bridge.ParseCursor(id)
	if err != nil {
		return bridge.StartUnknown()
	}
	return bridge.StartAfter(place)
}

func parseSince(text string, now time.Time) (bridge.Start, error) {
	switch text {
	case "", "latest":
		return bridge.StartLatest(), nil
	case "earliest":
		return bridge.StartEarliest(), nil
	}
	if age, err := time.ParseDuration(text); err == nil {
		if age <= 0 || age > maxSince {
			return bridge.Start{}, paramErrorf(paramSince, "%.80q: use a positive duration of at most ten years, such as 5m", text)
		}
		return bridge.StartSince(now.Add(-age)), nil
	}
	place, err := bridge.ParseCursor(text)
	if err != nil {
		return bridge.Start{}, paramErrorf(paramSince, "%.80q: use earliest, latest, a duration such as 5m, or the id of an event that this bridge has sent", text)
	}
	return bridge.StartAfter(place), nil
}
