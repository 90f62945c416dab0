package publish

import (
	"runtime"

	"github.com/ssebridge/ssebridge/bridge"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"

	"google.golang.org/protobuf/types/known/durationpb"
)

// maxGathered is how many results one response holds at most.
const maxGathered = 256

// collect turns outcomes into results, in order, until the queue is closed. It waits for the next outcome only, and
// then gathers what is ready behind it. After an event that the log did not store, or once emit fails, nothing more
// is emitted, but what is in flight is still waited for. It returns the first error.
func collect(outcomes <-chan outcome, emit func([]*ssebridgev1.PublishResult) error, failed func()) error {
	var first error
	fail := func(err error) {
		if first == nil {
			first = err
			failed()
		}
	}
	many := false
	for next, open := <-outcomes; open; {
		var gathered []*ssebridgev1.PublishResult
		next.wait()
		if many {
			runtime.Gosched() // on a busy core: what is ready meanwhile shares the response, which costs as much as an event
		}
		for again := true; again; {
			result, err := next.result()
			if err != nil {
				fail(err)
			} else if first == nil {
				gathered = append(gathered, result)
			}
			next, open, again = following(outcomes, len(gathered))
		}
		many = len(gathered) > 1
		if len(gathered) > 0 {
			if err := emit(gathered); err != nil {
				fail(err)
			}
		}
		if open && next.empty() {
			next, open = <-outcomes
		}
	}
	return first
}

// following takes the next outcome without waiting. It returns again true where its result is ready too and there is
// room for it among the gathered; an empty outcome where there is none yet.
func following(outcomes <-chan outcome, gathered int) (next outcome, open, again bool) {
	select {
	case next, open = <-outcomes:
		return next, open, open && gathered < maxGathered && next.ready()
	default:
		return outcome{}, true, false
	}
}

func (o outcome) empty() bool { return o.pending == nil && o.refusal == nil }

// wait returns when the outcome is known.
func (o outcome) wait() {
	if o.pending != nil {
		_, _ = o.pending.Wait() // result tells
	}
}

// result waits for the outcome. The error says that the log did not store the event.
func (o outcome) result() (*ssebridgev1.PublishResult, error) {
	if o.refusal != nil {
		return refused(o.refusal), nil //nolint:nilerr // a refusal is a result
	}
	receipt, err := o.pending.Wait()
	if err != nil {
		o.send.Failed()
		return nil, err
	}
	cursor := receipt.Cursor.String()
	o.send.Stored(cursor, receipt.Duplicate)
	return &ssebridgev1.PublishResult{Cursor: cursor, Duplicate: receipt.Duplicate}, nil
}

func refused(refusal *bridge.Refusal) *ssebridgev1.PublishResult {
	result := &ssebridgev1.PublishError{Code: string(refusal.Code), Message: refusal.Message}
	for _, v := range refusal.Violations {
		result.Violations = append(result.Violations, &ssebridgev1.Violation{Field: v.Field, Rule: v.Rule, Message: v.Message})
	}
	if refusal.RetryAfter > 0 {
		result.RetryAfter = durationpb.New(refusal.RetryAfter)
	}
	return &ssebridgev1.PublishResult{Error: result}
}
