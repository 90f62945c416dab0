package bench

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	benchv1 "github.com/ssebridge/ssebridge/gen/bench/v1"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// fullSize is from how many bytes of JSON on a sample has every field.
const fullSize = 200

// fields is what a full sample has between mark and padding, as it is in JSON.
const fields = `,"number":"1234567890123","status":"SAMPLE_STATUS_ACTIVE","at":"2026-01-02T03:04:05.060Z","item":{"name":"green tea","weight":0.25}`

// newSample makes a sample of so many bytes of JSON.
func newSample(mark string, size int) *benchv1.Sample {
	sample := &benchv1.Sample{Mark: mark}
	if size >= fullSize {
		size -= len(fields)
		sample.Number = 1234567890123
		sample.Status = benchv1.SampleStatus_SAMPLE_STATUS_ACTIVE
		sample.At = timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 60_000_000, time.UTC))
		sample.Item = &benchv1.SampleItem{Name: "green tea", Weight: 0.25}
	}
	sample.Pad = strings.Repeat("x", 1+size-minSize)
	return sample
}

// sampleJSON is the sample as the bridge sends it.
func sampleJSON(mark string, size int) string {
	between := ""
	if size >= fullSize {
		between = fields
	}
	pad := strings.Repeat("x", 1+size-minSize-len(between))
	return fmt.Sprintf(`{"mark":%q%s,"pad":%q}`, mark, between, pad)
}

// newSchemaRequest returns an encoded PublishRequest that describes samples, so that a bridge need not know them.
func newSchemaRequest() ([]byte, error) {
	schema, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(timestamppb.File_google_protobuf_timestamp_proto),
		protodesc.ToFileDescriptorProto(benchv1.File_bench_v1_sample_proto),
	}})
	if err != nil {
		return nil, err
	}
	return proto.Marshal(&ssebridgev1.PublishRequest{Schema: schema})
}
