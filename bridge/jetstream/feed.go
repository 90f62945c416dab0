package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// heartbeat is the interval in which the server speaks when it has nothing to deliver.
	heartbeat = time.Second
	// silence is how long a living consumer never says nothing.
	silence = 2500 * time.Millisecond
)

// Headers of what the server says about a consumer.
const (
	headerLastDelivered = "Nats-Last-Consumer"    // number of the last message that was sent
	headerStalled       = "Nats-Consumer-Stalled" // subject of an answer that flow control waits for
)

var errSilentFeed = errors.New("the consumer is silent")

// feed is one consumer of the stream and what it has delivered. The consumer needs no acknowledgements, lives in the
// server's memory, and is gone soon after the feed. It is never repaired: on any doubt the tail closes it and opens
// another. The client library's ordered consumer, which repairs itself, does so between two messages without a word,
// so that nobody could look at the stream before the next message is taken for the following one.
//
// The server pushes. It stops when the client has not answered for some MiB, and heartbeats tell how far it is.
type feed struct {
	conn         *nats.Conn
	subscription *nats.Subscription
	ended        chan struct{} // closed when no more messages are put
	taken        uint64        // number of the last message decoded; the server counts them without a gap

	ready chan struct{} // has one element when there is something to take

	mu       sync.Mutex
	messages []*nats.Msg
}

// delivered is a message of the stream as a consumer delivers it.
type delivered struct {
	stored

	waiting uint64 // messages that are to be delivered behind this one
}

// openFeed makes a consumer that begins with a sequence.
func (l *Log) openFeed(ctx context.Context, js jetstream.JetStream, seq uint64) (*feed, error) {
	f := &feed{conn: js.Conn(), ended: make(chan struct{}), ready: make(chan struct{}, 1)}
	inbox := f.conn.NewInbox()
	var err error
	if f.subscription, err = f.conn.Subscribe(inbox, f.put); err != nil {
		return nil, fmt.Errorf("subscribe to the consumer: %w", err)
	}
	f.subscription.SetClosedHandler(func(string) { close(f.ended) })
	if err := f.subscription.SetPendingLimits(-1, -1); err != nil { // flow control bounds it
		f.close()
		return nil, fmt.Errorf("subscribe to the consumer: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, l.config.AckTimeout)
	defer cancel()
	_, err = js.CreatePushConsumer(ctx, l.config.Stream, jetstream.ConsumerConfig{
		DeliverSubject: inbox,
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    seq,
		AckPolicy:      jetstream.AckNonePolicy,
		FlowControl:    true,
		IdleHeartbeat:  heartbeat,
		MemoryStorage:  true,
		Replicas:       1,
	})
	if err != nil {
		f.close()
		return nil, fmt.Errorf("create the consumer: %w", err)
	}
	return f, nil
}

// close ends the feed and waits for its goroutine. The server removes the consumer when nobody listens.
func (f *feed) close() {
	if f.subscription.Unsubscribe() == nil {
		<-f.ended
	}
}

// put runs in the subscription's goroutine. It never waits.
func (f *feed) put(message *nats.Msg) {
	f.mu.Lock()
	f.messages = append(f.messages, message)
	f.mu.Unlock()
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// take returns what has arrived.
func (f *feed) take() []*nats.Msg {
	f.mu.Lock()
	defer f.mu.Unlock()
	messages := f.messages
	f.messages = nil
	return messages
}

// empty reports whether nothing is there to take.
func (f *feed) empty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.messages) == 0
}

// decode returns the message of the stream, or nil for one of the consumer about itself. An error says that
// something was lost on the way, or cannot be understood.
func (f *feed) decode(message *nats.Msg) (*delivered, error) {
	if !strings.HasPrefix(message.Reply, "$JS.ACK.") {
		return nil, f.status(message)
	}
	metadata, err := message.Metadata()
	if err != nil {
		return nil, fmt.Errorf("read the consumer's message: %w", err)
	}
	if metadata.Sequence.Consumer != f.taken+1 {
		return nil, fmt.Errorf("the consumer's message %d came after %d", metadata.Sequence.Consumer, f.taken)
	}
	f.taken = metadata.Sequence.Consumer
	return &delivered{
		waiting: metadata.NumPending,
		stored: stored{
			seq:     metadata.Sequence.Stream,
			time:    metadata.Timestamp,
			subject: message.Subject,
			header:  message.Header,
			data:    message.Data,
		},
	}, nil
}

// status takes what the server says about the consumer: a heartbeat, which shows whether the last messages were lost
// on the way, or a question of flow control, which is answered when everything before it has been handed over.
func (f *feed) status(message *nats.Msg) error {
	if code := headerValue(message.Header, "Status"); code != "100" {
		return fmt.Errorf("the consumer ends: %s %s", code, headerValue(message.Header, "Description"))
	}
	answer := message.Reply
	if answer == "" {
		answer = headerValue(message.Header, headerStalled)
	}
	if answer != "" {
		if err := f.conn.Publish(answer, nil); err != nil {
			return fmt.Errorf("answer the consumer: %w", err)
		}
	}
	last := headerValue(message.Header, headerLastDelivered)
	if last != "" && last != strconv.FormatUint(f.taken, 10) {
		return fmt.Errorf("the consumer has sent message %s, but %d came last", last, f.taken)
	}
	return nil
}
