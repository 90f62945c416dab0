package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ssebridge/ssebridge/bridge"
)

// ensureStream creates the stream, or gives it the limits of the configuration, and returns its state.
func (l *Log) ensureStream(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, l.config.AckTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, l.config.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		wanted := jetstream.StreamConfig{Name: l.config.Stream, Storage: jetstream.FileStorage, Replicas: 1}
		l.configure(&wanted)
		stream, err = js.CreateStream(ctx, wanted)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another bridge was faster
			stream, err = js.Stream(ctx, l.config.Stream)
		}
	}
	if err != nil {
		return nil, unavailable("stream "+l.config.Stream, err)
	}
	info := stream.CachedInfo()
	if info.Config.Retention != jetstream.LimitsPolicy || info.Config.Storage != jetstream.FileStorage {
		return nil, fmt.Errorf("stream %s has %s retention and %s storage, which cannot be changed to %s and %s: "+
			"choose another stream name, or delete the stream", l.config.Stream, info.Config.Retention,
			info.Config.Storage, jetstream.LimitsPolicy, jetstream.FileStorage)
	}
	wanted := info.Config
	if !l.configure(&wanted) {
		return info, nil
	}
	if stream, err = js.UpdateStream(ctx, wanted); err != nil {
		return nil, unavailable("update stream "+l.config.Stream, err)
	}
	l.config.Logger.Info("log: the stream has new limits", "stream", l.config.Stream,
		"max_age", wanted.MaxAge, "max_bytes", wanted.MaxBytes, "duplicate_window", wanted.Duplicates)
	return stream.CachedInfo(), nil
}

// configure sets what this package needs in a stream's configuration, leaves what else an operator has set, and
// reports whether that changes anything.
func (l *Log) configure(stream *jetstream.StreamConfig) (changed bool) {
	subjects := []string{l.config.Prefix + ".>"}
	if !slices.Equal(stream.Subjects, subjects) {
		stream.Subjects, changed = subjects, true
	}
	changed = assign(&stream.Discard, jetstream.DiscardOld) || changed
	changed = assign(&stream.MaxAge, l.config.MaxAge) || changed
	changed = assign(&stream.MaxBytes, l.config.MaxBytes) || changed
	changed = assign(&stream.Duplicates, l.config.DuplicateWindow) || changed
	changed = assign(&stream.AllowDirect, true) || changed
	if l.config.Replicas > 0 {
		changed = assign(&stream.Replicas, l.config.Replicas) || changed
	}
	return changed
}

func assign[T comparable](field *T, value T) (changed bool) {
	changed = *field != value
	*field = value
	return changed
}

// info returns the stream's state, as its leader knows it.
func (l *Log) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, done, err := l.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return l.infoFrom(ctx, l.read)
}

func (l *Log) infoFrom(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamInfo, error) {
	stream, err := js.Stream(ctx, l.config.Stream)
	if err != nil {
		return nil, unavailable("stream information", err)
	}
	return stream.CachedInfo(), nil
}

// ask waits for its turn to send a request and bounds the time that the answer may take.
func (l *Log) ask(ctx context.Context) (context.Context, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, l.config.AckTimeout)
	if err := l.requests.Acquire(ctx, 1); err != nil {
		cancel()
		return nil, nil, unavailable("request", err)
	}
	return ctx, func() {
		l.requests.Release(1)
		cancel()
	}, nil
}

// query is a request for one message: the one at Seq, or, with Next, the first kept one at or behind Seq or Time.
type query struct {
	Seq  uint64     `json:"seq,omitempty"`
	Time *time.Time `json:"start_time,omitempty"`
	Next string     `json:"next_by_subj,omitempty"`
}

const anySubject = ">"

// at returns the message with a sequence, or nil if it is not kept.
func (l *Log) at(ctx context.Context, seq uint64) (*stored, error) {
	return l.get(ctx, query{Seq: seq})
}

// next returns the first kept message at or behind a sequence, or nil if there is none.
func (l *Log) next(ctx context.Context, seq uint64) (*stored, error) {
	return l.get(ctx, query{Seq: max(seq, 1), Next: anySubject})
}

// get asks the stream's leader. A direct get would cost less, but any replica of the stream may answer it, and one
// that lags would say that a message is not there.
func (l *Log) get(ctx context.Context, query query) (*stored, error) {
	request, err := json.Marshal(query)
	if err != nil {
		return nil, fmt.Errorf("get message: %w", err)
	}
	ctx, done, err := l.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	const api = "$JS.API.STREAM.MSG.GET."
	reply, err := l.reads.RequestWithContext(ctx, api+l.config.Stream, request)
	if err != nil {
		return nil, unavailable("get message", err)
	}
	return decodeReply(reply.Data)
}

func decodeReply(data []byte) (*stored, error) {
	var reply struct {
		Error   *jetstream.APIError
		Message *struct {
			Seq     uint64
			Subject string
			Time    time.Time
			Header  []byte `json:"hdrs"`
			Data    []byte
		}
	}
	if err := json.Unmarshal(data, &reply); err != nil {
		return nil, unavailable("get message", err)
	}
	switch {
	case reply.Error != nil && reply.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, nil //nolint:nilnil // no message is an answer here, not an error
	case reply.Error != nil:
		return nil, unavailable("get message", reply.Error)
	case reply.Message == nil:
		return nil, unavailable("get message", errors.New("the answer is empty"))
	}
	message := &stored{
		seq:     reply.Message.Seq,
		time:    reply.Message.Time,
		subject: reply.Message.Subject,
		data:    reply.Message.Data,
	}
	if len(reply.Message.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(reply.Message.Header)
		if err != nil {
			return nil, fmt.Errorf("get message %d: %w", message.seq, err)
		}
		message.header = header
	}
	return message, nil
}

// cursorOf returns the place of the event with a sequence, for the receipt of a duplicate. If it is no longer kept,
// the place is one that is of no log: its reader is reset, as it would be anyway.
func (l *Log) cursorOf(ctx context.Context, seq uint64) (bridge.Cursor, error) {
	message, err := l.at(ctx, seq)
	if err != nil {
		return bridge.Cursor{}, err
	}
	if message == nil {
		return bridge.Cursor{Seq: seq, Time: 1}, nil
	}
	return message.cursor(), nil
}
