package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	demov1 "github.com/ssebridge/ssebridge/gen/demo/v1"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

// demoService is the sample service: once a second it publishes a tick, and with it the orders that take a step. It
// notes the tick before it is published, and every event has an id, so a tick that was under way when the service
// stopped is published again after the start, and stored once.
type demoService struct {
	client  ssebridgev1connect.PublishServiceClient
	schema  []byte // of its types: the bridge need not know them beforehand
	file    string // where the state is kept
	state   demoState
	begun   func() // is called once, when the first event is stored
	logger  *slog.Logger
	failing bool
}

type demoState struct {
	Tick   int64 `json:"tick"`   // the newest
	Stored bool  `json:"stored"` // the bridge has acknowledged it
}

func newDemoService(bridgeURL, file string, logger *slog.Logger) (*demoService, error) {
	schema, err := demoSchema()
	if err != nil {
		return nil, err
	}
	s := &demoService{
		client: ssebridgev1connect.NewPublishServiceClient(newPublishClient(nil), bridgeURL),
		schema: schema, file: file, logger: logger,
	}
	text, err := os.ReadFile(file) //nolint:gosec // in the data directory
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s.state)
	}
	if err != nil {
		return nil, fmt.Errorf("state of the demo: %w: remove the file to start anew", err)
	}
	return s, nil
}

// demoSchema describes the service's types, as buf build does.
func demoSchema() ([]byte, error) {
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(timestamppb.File_google_protobuf_timestamp_proto),
		protodesc.ToFileDescriptorProto(demov1.File_demo_v1_demo_proto),
	}}
	return proto.Marshal(set)
}

// run publishes until ctx ends, over one stream, and over a new one when that fails or the bridge ends it.
func (s *demoService) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.runStream(ctx)
		if err != nil && ctx.Err() == nil && !s.failing {
			s.logger.Warn("demo service: publish", "error", err)
		}
		s.failing = err != nil
		sleep(ctx, time.Second/4)
	}
}

// runStream publishes over one stream until the bridge ends it.
func (s *demoService) runStream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := s.client.Publish(ctx)
	request := &ssebridgev1.PublishRequest{Schema: s.schema}
	for ctx.Err() == nil {
		if s.state.Stored || s.state.Tick == 0 {
			s.state = demoState{Tick: s.state.Tick + 1}
			if err := s.save(); err != nil {
				return err
			}
		}
		events, err := demoEvents(s.state.Tick)
		if err != nil {
			return err
		}
		request.Events = events
		if err := stream.Send(request); err != nil {
			_, err = stream.Receive() // has the reason
			return err
		}
		if last, err := s.receive(stream, len(events)); last || err != nil {
			return err
		}
		if s.begun != nil {
			s.begun()
			s.begun = nil
		}
		s.state.Stored = true
		if err := s.save(); err != nil {
			return err
		}
		s.failing = false
		request = &ssebridgev1.PublishRequest{}
		sleep(ctx, time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
	}
	return ctx.Err()
}

// receive waits for the results of what was sent. It returns last when the bridge ends the stream before it has
// stored everything.
func (s *demoService) receive(
	stream *connect.BidiStreamForClient[ssebridgev1.PublishRequest, ssebridgev1.PublishResponse], results int,
) (last bool, err error) {
	for results > 0 {
		response, err := stream.Receive()
		if err != nil {
			return false, err
		}
		for _, result := range response.GetResults() {
			if refused := result.GetError(); refused != nil {
				s.logger.Error("demo service: event refused", "code", refused.GetCode(), "message", refused.GetMessage())
			}
		}
		results -= len(response.GetResults())
		if response.GetLast() {
			return results > 0, nil
		}
	}
	return false, nil
}

func (s *demoService) save() error {
	text, err := json.Marshal(s.state)
	if err != nil {
		return err
	}
	next := s.file + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, s.file) // whole or not at all
}

// demoEvents returns the events of a tick: the tick itself, and each order that takes a step with it.
func demoEvents(tick int64) ([]*ssebridgev1.Event, error) {
	first, err := demoEvent("demo/ticks", fmt.Sprintf("tick-%d", tick), &demov1.Tick{Number: tick, ServerTime: timestamppb.Now()})
	if err != nil {
		return nil, err
	}
	events := []*ssebridgev1.Event{first}
	for _, order := range demoOrders(tick) {
		event, err := demoEvent("demo/orders/"+order.GetOrderId(), fmt.Sprintf("order-%s-%s", order.GetOrderId(), order.GetStatus()), order)
		if err != nil {
			return nil, err
		}
		events = append(events, event)
	}
	return events, nil
}

func demoEvent(topic, id string, message proto.Message) (*ssebridgev1.Event, error) {
	data, err := anypb.New(message)
	if err != nil {
		return nil, err
	}
	return &ssebridgev1.Event{Topic: topic, Id: id, Data: data, Time: timestamppb.Now()}, nil
}

// demoSteps are the seconds after which an order takes its steps, the first when it is placed.
var demoSteps = map[int64]demov1.OrderStatus{
	0:  demov1.OrderStatus_ORDER_STATUS_PLACED,
	2:  demov1.OrderStatus_ORDER_STATUS_PAID,
	7:  demov1.OrderStatus_ORDER_STATUS_SHIPPED,
	15: demov1.OrderStatus_ORDER_STATUS_DELIVERED,
}

var demoGoods = []struct {
	name  string
	cents int64
}{{"Coffee beans, 1 kg", 1890}, {"Teapot", 3450}, {"Two cups", 1200}, {"Milk frother", 2799}, {"Cold brew jug", 2240}}

// demoOrders returns the orders that take a step with a tick. An order is placed every four ticks.
func demoOrders(tick int64) []*demov1.OrderUpdated {
	var orders []*demov1.OrderUpdated
	for age, status := range demoSteps {
		placed := tick - age
		if placed < 1 || placed%4 != 1 {
			continue
		}
		number := placed/4 + 1
		goods, quantity := demoGoods[number%int64(len(demoGoods))], number%3+1
		orders = append(orders, &demov1.OrderUpdated{
			OrderId:    strconv.FormatInt(1000+number, 10),
			Status:     status,
			Items:      []*demov1.OrderItem{{Name: goods.name, Quantity: int32(quantity)}},
			TotalCents: goods.cents * quantity,
		})
	}
	return orders
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
