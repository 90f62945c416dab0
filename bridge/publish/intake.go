package publish

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/telemetry"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// intake takes in the events of one call, in order. One goroutine uses it; another takes the outcomes.
type intake struct {
	config      *Config
	schema      []byte         // of the types that the stream has sent and that encoder does not know yet
	encoder     bridge.Encoder // nil until it is needed
	caller      Caller
	turns       turns  // with all other calls
	taken       int    // events in this turn
	traceParent string // of the call; passed on where nothing is traced here
	outcomes    chan outcome
}

var errBug = errors.New("the bridge has a bug: its log says more")

// outcome is what became of one event so far.
type outcome struct {
	pending bridge.Pending
	refusal *bridge.Refusal // set where pending is not
	send    *telemetry.Send // set with pending
}

func (o outcome) ready() bool { return o.refusal != nil || o.pending.Ready() }

// turn is how many events a call takes in before others have theirs on a busy core.
const turn = 64

// turns makes publishers and those who write to readers take turns on busy cores: if publishers always went first, readers
// would fall behind without end, and out of the window. However many the calls, one per core at a time waits for its
// next turn, until whoever else can run has run.
type turns chan struct{}

func newTurns() turns { return make(turns, runtime.GOMAXPROCS(0)) }

func (t turns) pass() {
	t <- struct{}{}
	runtime.Gosched()
	<-t
}

// take takes in one message.
func (in *intake) take(ctx context.Context, schema []byte, events []*ssebridgev1.Event) error {
	in.learn(schema)
	for _, event := range events {
		if in.taken++; in.taken > turn {
			in.taken = 1
			in.turns.pass()
		}
		if err := in.accept(ctx, event); err != nil {
			return err
		}
	}
	return nil
}

// learn notes the schema for the events that follow. An empty one changes nothing. Its types are read when the first
// event that the caller may publish needs them.
func (in *intake) learn(schema []byte) {
	if len(schema) > 0 {
		in.schema, in.encoder = schema, nil
	}
}

// types returns the encoder for the types that the stream has sent. The error is a [schemaError].
func (in *intake) types() (bridge.Encoder, error) {
	if in.encoder != nil {
		return in.encoder, nil
	}
	encoder, err := in.config.Encoders.Encoder(in.schema)
	if err != nil {
		return nil, &schemaError{err}
	}
	in.encoder, in.schema = encoder, nil
	return encoder, nil
}

// schemaError says that a schema cannot be used, which ends the call: every event of its types would be refused.
type schemaError struct{ err error }

func (e *schemaError) Error() string { return e.err.Error() }
func (e *schemaError) Unwrap() error { return e.err }

// run lets feed accept events, and emits their results in another goroutine. Once an event was not stored, or nothing can
// be emitted, the context of feed ends and stop is called: what follows must not be stored before what is sent again. It
// returns when everything in flight has its result, even if feed panics, with the first error in the order of the events.
func (in *intake) run(
	ctx context.Context, feed func(context.Context) error, emit func([]*ssebridgev1.PublishResult) error, stop func(),
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	collected := make(chan error, 1)
	go func() {
		collected <- collect(in.outcomes, emit, func() {
			cancel()
			stop()
		})
	}()
	err := in.guard(ctx, feed)
	close(in.outcomes)
	if failed := <-collected; failed != nil {
		return failed
	}
	return err
}

// guard turns a panic, a bug, into an error and a line in the log.
func (in *intake) guard(ctx context.Context, feed func(context.Context) error) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			in.config.Logger.ErrorContext(ctx, "panic", "panic", panicked, "stack", string(debug.Stack()))
			err = errBug
		}
	}()
	return feed(ctx)
}

// accept hands an event to the log, or refuses it, and queues the outcome. It blocks while too much is in flight.
// The error says that the log did not take the event; then it has no outcome.
func (in *intake) accept(ctx context.Context, event *ssebridgev1.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	received := time.Now()
	send := in.config.Telemetry.Receive(received)
	accepted, err := in.read(ctx, event, received, &send)
	if err != nil {
		_, unusable := errors.AsType[*schemaError](err) // wraps a refusal, which is of the schema and not of the event
		if refusal, ok := errors.AsType[*bridge.Refusal](err); ok && !unusable {
			send.Refused(string(refusal.Code), refusal.Rule())
			return in.queue(ctx, outcome{refusal: refusal})
		}
		send.Failed()
		return err
	}
	key := ""
	if accepted.ID != "" {
		key = in.caller.ID + "\x00" + accepted.Topic + "\x00" + accepted.ID
	}
	pending, err := in.config.Log.Append(ctx, accepted, key)
	if err != nil {
		send.Failed()
		return err
	}
	in.outcomes <- outcome{pending: pending, send: &send} // stored already, so whether the caller waits does not matter
	return nil
}

func (in *intake) queue(ctx context.Context, o outcome) error {
	select {
	case in.outcomes <- o:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read checks an event, asks whether the caller may publish it, and only then looks at its data, which may cost a lot. The
// error is a *bridge.Refusal or a *schemaError.
func (in *intake) read(
	ctx context.Context, event *ssebridgev1.Event, received time.Time, send *telemetry.Send,
) (*bridge.Event, error) {
	accepted, err := check(event, received)
	if err != nil {
		return nil, err
	}
	accepted.TraceParent = send.Begin(ctx, accepted.Topic, accepted.TraceParent)
	if accepted.TraceParent == "" {
		accepted.TraceParent = in.traceParent
	}
	json, _ := in.config.JSONData(event)
	if json == nil && event.GetData() == nil {
		return nil, bridge.Refuse(bridge.CodeInvalidArgument, "data", "data", "missing: pack the event's message into a google.protobuf.Any")
	}
	if accepted.Type, err = in.config.Encoders.TypeName(event.GetData().GetTypeUrl(), json); err != nil {
		return nil, err
	}
	if err := checkType(accepted.Type); err != nil {
		return nil, err
	}
	if accepted.Source, err = in.authorize(accepted.Topic, accepted.Type); err != nil {
		return nil, err
	}
	if err := in.encode(accepted, event.GetData().GetValue(), json); err != nil {
		return nil, err
	}
	send.Encoded(accepted.Type, len(accepted.Data))
	if len(accepted.Data) > in.config.MaxEventBytes {
		return nil, bridge.Refuse(bridge.CodeResourceExhausted, "data", "size", fmt.Sprintf(
			"has %d bytes of JSON: at most %d are allowed; publish a reference to what is large", len(accepted.Data), in.config.MaxEventBytes))
	}
	return accepted, nil
}

// encode sets the data of an event, which came as JSON where json is not nil.
func (in *intake) encode(accepted *bridge.Event, value, json []byte) error {
	encoder, err := in.types()
	if err != nil {
		return err
	}
	if json != nil {
		accepted.Data, err = encoder.EncodeJSON(accepted.Type, json)
	} else {
		accepted.Data, err = encoder.Encode(accepted.Type, value)
	}
	return err
}

// authorize returns the CloudEvents source of an event that the caller may publish. The error is a *bridge.Refusal.
func (in *intake) authorize(topic, typeName string) (source string, err error) {
	if in.caller.Authorize == nil {
		return "", bridge.Refuse(bridge.CodePermissionDenied, "topic", "publish", "nobody may publish here")
	}
	if source, err = in.caller.Authorize(topic, typeName); source == "" {
		source = in.config.Source
	}
	return source, err
}
