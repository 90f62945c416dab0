package schema_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/ssebridge/ssebridge/bridge/schema"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

func benchmarkEncode(b *testing.B, kind, text string) {
	e := encoder(b, shop())
	value := wire(b, text, kind, shop())
	_, data, err := e.Encode("/"+kind, value)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := e.Encode("/"+kind, value); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(value)), "wire-bytes")
	b.ReportMetric(float64(len(data)), "JSON-bytes")
}

const parcel = `{"parcelId":"00340434161094042557","totalCents":"129900","shippedAt":"2026-01-02T03:04:05.060Z","items":[
	{"name":"green tea","quantity":2},{"name":"black tea","quantity":1},{"name":"white tea","quantity":12}]}`

func BenchmarkEncode(b *testing.B) {
	benchmarkEncode(b, "shop.v1.Parcel", parcel)
}

// The same with fields that could hold an Any, whose depth must be checked.
func BenchmarkEncodeWithAny(b *testing.B) {
	benchmarkEncode(b, "shop.v1.OrderShipped", strings.Replace(parcel, "parcelId", "orderId", 1))
}

func BenchmarkEncodeRuled(b *testing.B) {
	benchmarkEncode(b, "shop.v1.Ruled", `{"name":"green tea","tags":["ab","cd"],"low":1,"high":2}`)
}

func BenchmarkEncodeStruct(b *testing.B) {
	benchmarkEncode(b, "google.protobuf.Struct", parcel)
}

func BenchmarkEncodeJSON(b *testing.B) {
	e := encoder(b, shop())
	text := []byte(`{"@type":"/shop.v1.Parcel",` + parcel[1:])
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := e.EncodeJSON(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncoder(b *testing.B) {
	registry, data := open(b), set(shop())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Encoder(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode measures how the codecs read a message of 64 events. An operation is an event.
func BenchmarkDecode(b *testing.B) {
	const events = 64
	request := &ssebridgev1.PublishRequest{}
	for i := range events {
		request.Events = append(request.Events, &ssebridgev1.Event{
			Topic: "shops/7/orders/" + strconv.Itoa(i), Id: strconv.Itoa(i),
			Data: &anypb.Any{TypeUrl: "/shop.v1.Parcel", Value: wire(b, parcel, "shop.v1.Parcel", shop())},
		})
	}
	binary, err := proto.Marshal(request)
	require.NoError(b, err)
	event := fmt.Sprintf(`{"topic":"shops/7/orders/42","id":"42","data":{"@type":"/shop.v1.Parcel",%s}`, parcel[1:])
	for _, bench := range []struct {
		name  string
		codec interface {
			Unmarshal(data []byte, message any) error
		}
		data []byte
	}{{"proto", schema.BinaryCodec{}, binary}, {"json", schema.NewJSONCodec("json"), jsonEvents(event, events)}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%events > 0 {
					continue
				}
				var request ssebridgev1.PublishRequest
				if err := bench.codec.Unmarshal(bench.data, &request); err != nil || len(request.GetEvents()) != events {
					b.Fatal(len(request.GetEvents()), err)
				}
			}
		})
	}
}
