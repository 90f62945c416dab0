package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/ssebridge/ssebridge/bridge"
)

func TestRules(t *testing.T) {
	type violations = []bridge.Violation
	for _, test := range []struct {
		name, kind, text string
		want             violations
	}{
		{"kept", "Ruled", `{"name":"tea","tags":["ab"],"low":1,"high":1}`, nil},
		{"field", "Ruled", `{"name":"a"}`, violations{
			{Field: "data.name", Rule: "string.min_len", Message: "must be at least 3 characters"},
		}},
		{"message and items", "Ruled", `{"name":"tea","low":2,"high":1,"tags":["ab","c"]}`, violations{
			{Field: "data", Rule: "ruled.order", Message: "low must not be above high"},
			{Field: "data.tags[1]", Rule: "string.min_len", Message: "must be at least 2 characters"},
		}},
		{"inside", "Around", `{"all":[{"name":"tea"},{"name":"x"}]}`, violations{
			{Field: "data.all[1].name", Rule: "string.min_len", Message: "must be at least 3 characters"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := encoder(t, shop())
			_, data, err := e.Encode("shop.v1."+test.kind, wire(t, test.text, "shop.v1."+test.kind, shop()))
			_, _, fromJSON := e.EncodeJSON([]byte(`{"@type":"/shop.v1.` + test.kind + `",` + test.text[1:]))
			if test.want == nil {
				require.NoError(t, err)
				require.NoError(t, fromJSON)
				assert.NotEmpty(t, data)
				return
			}
			refusal := refused(t, err, bridge.CodeInvalidArgument)
			assert.Equal(t, test.want, refusal.Violations)
			assert.Contains(t, refusal.Message, test.want[0].Field+": "+test.want[0].Message)
			assert.Equal(t, err, fromJSON)
		})
	}
}

func TestRulesThatCannotBeChecked(t *testing.T) {
	e := encoder(t, shop())
	for kind, says := range map[string]string{"Broken": "compilation error", "Failing": "runtime error"} {
		for range 2 { // what did not compile is kept too
			_, _, err := e.Encode("shop.v1."+kind, wire(t, `{"name":"x"}`, "shop.v1."+kind, shop()))
			refusal := refused(t, err, bridge.CodeInvalidArgument)
			assert.Equal(t, "validation", refusal.Violations[0].Rule)
			assert.Contains(t, refusal.Message, "the validation rules of shop.v1."+kind+" cannot be checked")
			assert.Contains(t, refusal.Message, says)
		}
	}
}

func TestRulesOfManyItems(t *testing.T) {
	text := `{"name":"tea","tags":[` + strings.Repeat(`"x",`, 999) + `"x"]}`
	_, _, err := encoder(t, shop()).Encode("shop.v1.Ruled", wire(t, text, "shop.v1.Ruled", shop()))
	refusal := refused(t, err, bridge.CodeInvalidArgument)
	assert.Len(t, refusal.Violations, 100)
	assert.Contains(t, refusal.Message, "; and 997 more")
}

// The set may hold validate.proto, hold it under another name, or leave it out.
func TestRulesWhateverTheSetHolds(t *testing.T) {
	own := protodesc.ToFileDescriptorProto(validate.File_buf_validate_validate_proto)
	old := proto.CloneOf(own)
	old.MessageType = old.MessageType[:0]
	old.Extension, old.EnumType = nil, nil
	vendored := proto.CloneOf(own)
	vendored.Name = proto.String("third_party/buf/validate/validate.proto")
	vendoring := shop()
	vendoring.Dependency[len(vendoring.Dependency)-1] = vendored.GetName()
	for name, files := range map[string][]*fileProto{
		"left out": {shop()},
		"held":     {own, shop()},
		"another":  {old, shop()},
		"vendored": {vendored, vendoring},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := encoder(t, files...).Encode("shop.v1.Ruled", wire(t, `{"low":1}`, "shop.v1.Ruled", shop()))
			assert.Len(t, refused(t, err, bridge.CodeInvalidArgument).Violations, 2)
			_, _, err = must(open(t, write(t, "a.binpb", set(files...))).Encoder(nil)).
				Encode("shop.v1.Ruled", wire(t, `{"low":1}`, "shop.v1.Ruled", shop()))
			assert.Len(t, refused(t, err, bridge.CodeInvalidArgument).Violations, 2)
		})
	}
}

// Rules that an organisation predefines are extensions of the rule messages, found in the same set.
func TestRulesPredefined(t *testing.T) {
	rules := file("rules.proto", "rules", []string{"buf/validate/validate.proto"})
	rules.Syntax = proto.String("proto2")
	short := field("bool", "short")
	short.Number, short.Extendee = proto.Int32(1200), proto.String(".buf.validate.StringRules")
	short.Options = &descriptorpb.FieldOptions{}
	proto.SetExtension(short.Options, validate.E_Predefined, validate.PredefinedRules_builder{
		Cel: []*validate.Rule{cel("string.short", "!rule || size(this) < 4", "must be short")},
	}.Build())
	rules.Extension = []*fieldProto{short}

	using := validate.StringRules_builder{}.Build()
	using.ProtoReflect().SetUnknown([]byte{0x80, 0x4b, 0x01}) // field 1200 is true
	events := file("e.proto", "e", []string{"rules.proto", "buf/validate/validate.proto"}, message("E",
		field("string", "name", validate.FieldRules_builder{String: using}.Build())))
	e := encoder(t, events, rules)
	_, _, err := e.EncodeJSON([]byte(`{"@type":"/e.E","name":"long enough"}`))
	assert.Equal(t, []bridge.Violation{{Field: "data.name", Rule: "string.short", Message: "must be short"}},
		refused(t, err, bridge.CodeInvalidArgument).Violations)
	_, _, err = e.EncodeJSON([]byte(`{"@type":"/e.E","name":"tea"}`))
	require.NoError(t, err)
}

// A file that is linked in under the same path must not stand in for the publisher's: the CEL runtime prefers it.
func TestRulesOfFileWithLinkedPath(t *testing.T) {
	const path = "ssebridge/v1/publish.proto"
	mine := file(path, "mine.v1", nil,
		celMessage(message("Tick", field(".mine.v1.Inner", "inner")), "mine", "this.inner.name != ''", "must be named"),
		message("Inner", field("string", "name")))
	e := encoder(t, mine, file("use.proto", "use", []string{path}, message("Use", field(".mine.v1.Tick", "tick"))))
	for _, text := range []string{`{"@type":"/mine.v1.Tick"}`, `{"@type":"/use.Use","tick":{}}`} {
		_, _, err := e.EncodeJSON([]byte(text))
		assert.Equal(t, "mine", refused(t, err, bridge.CodeInvalidArgument).Violations[0].Rule)
	}
	_, data, err := e.EncodeJSON([]byte(`{"@type":"/use.Use","tick":{"inner":{"name":"x"}}}`))
	require.NoError(t, err)
	assert.Equal(t, `{"tick":{"inner":{"name":"x"}}}`, string(data))
}

func TestRulesSideBySide(t *testing.T) {
	registry := open(t)
	version := func(length uint64, extra ...*fieldProto) encoderOfAny {
		fields := append([]*fieldProto{field("string", "name", minLen(length))}, extra...)
		return must(registry.Encoder(set(file("v.proto", "v", []string{"buf/validate/validate.proto"}, message("V", fields...)))))
	}
	one, two := version(1), version(2, field("string", "more"))
	for _, test := range []struct {
		encoder encoderOfAny
		text    string
		ok      bool
	}{
		{one, `"name":"x"`, true},
		{one, `"name":""`, false},
		{one, `"name":"xy","more":"z"`, false},
		{two, `"name":"xy","more":"z"`, true},
		{two, `"name":"x"`, false},
	} {
		_, data, err := test.encoder.EncodeJSON([]byte(`{"@type":"/v.V",` + test.text + `}`))
		if !test.ok {
			_ = refused(t, err, bridge.CodeInvalidArgument)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("{%s}", test.text), string(data))
	}
}
