package schema

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// requestEvents is the number of the field events, in PublishRequest and in PublishBatchRequest.
const requestEvents protowire.Number = 1

// BinaryCodec is a codec for connect.WithCodec, which reads and writes the protobuf binary format as connect's own does
// but counts the events of a request before it makes them: an empty one takes 2 bytes on the wire and more than 100 in
// memory. It may be used concurrently.
type BinaryCodec struct{}

// Name returns the codec's name.
func (BinaryCodec) Name() string { return "proto" }

// IsBinary reports that the codec does not write text.
func (BinaryCodec) IsBinary() bool { return true }

// Marshal writes a proto.Message.
func (c BinaryCodec) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend appends a proto.Message to dst.
func (BinaryCodec) MarshalAppend(dst []byte, message any) ([]byte, error) {
	m, err := protoMessage(message)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, m)
}

// MarshalStable writes a proto.Message, the same for equal messages.
func (BinaryCodec) MarshalStable(message any) ([]byte, error) {
	m, err := protoMessage(message)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// Unmarshal reads a proto.Message.
func (BinaryCodec) Unmarshal(data []byte, message any) error {
	m, err := protoMessage(message)
	if err != nil {
		return err
	}
	switch m.(type) {
	case *ssebridgev1.PublishRequest, *ssebridgev1.PublishBatchRequest:
		if err := countEvents(data); err != nil {
			return err
		}
	}
	return proto.Unmarshal(data, m)
}

// countEvents refuses a request with too many events. What is no request is left to the decoder, which stops at the
// same place.
func countEvents(data []byte) error {
	events := 0
	for len(data) > 0 {
		number, kind, size := protowire.ConsumeField(data)
		if size < 0 {
			return nil
		}
		if number == requestEvents && kind == protowire.BytesType {
			events++
		}
		if events > maxRequestEvents {
			return errTooManyEvents
		}
		data = data[size:]
	}
	return nil
}
