package schema_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/ssebridge/ssebridge/bridge/schema"
)

func TestOpenRefused(t *testing.T) {
	folder := t.TempDir()
	put := func(name string, data []byte) string {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	m := func(kind string) *messageProto { return message("M", field(kind, "x")) }
	one := put("one.binpb", set(file("m.proto", "m", nil, m("string"), message("Same"))))
	two := put("two.binpb", set(file("other.proto", "m", nil, m("int32"), message("Same"))))
	text := put("text.binpb", []byte("hello"))
	cut := put("cut.binpb", set(file("a.proto", "a", []string{"shop/money.proto"})))
	proto2 := file("m.proto", "m", nil, m("string"))
	proto2.Syntax = proto.String("proto2")
	syntax := put("syntax.binpb", set(proto2))
	for _, test := range []struct {
		globs []string
		says  []string
	}{
		{[]string{filepath.Join(folder, "no.binpb")}, []string{"no.binpb matches no file", "buf build -o"}},
		{[]string{one, filepath.Join(folder, "*.pb")}, []string{"*.pb matches no file"}},
		{[]string{"[a"}, []string{"[a: syntax error in pattern"}},
		{[]string{folder}, []string{folder, "is a directory"}},
		{[]string{text}, []string{text, "is not a serialized google.protobuf.FileDescriptorSet", "buf build -o"}},
		{[]string{cut}, []string{cut, "a.proto imports shop/money.proto, which the set does not hold", "--include_imports"}},
		{[]string{one, two}, []string{"m.M is not the same in", one, two, "m.proto", "other.proto", "one version"}},
		{[]string{one, syntax}, []string{"m.M is not the same in", one, syntax}},
	} {
		registry, err := schema.Open(test.globs, nil)
		require.Error(t, err)
		assert.Nil(t, registry)
		for _, says := range test.says {
			assert.Contains(t, err.Error(), says)
		}
	}
}

func TestOpenExtensionConflict(t *testing.T) {
	base := file("base.proto", "base", nil, message("Base"))
	base.Syntax = proto.String("proto2")
	base.MessageType[0].ExtensionRange = append(base.MessageType[0].ExtensionRange, extensionRange(100, 200))
	extend := func(pkg string) []byte {
		f := file(pkg+".proto", pkg, []string{"base.proto"})
		f.Syntax = proto.String("proto2")
		x := field("string", "x")
		x.Number, x.Extendee = proto.Int32(100), proto.String(".base.Base")
		f.Extension = []*fieldProto{x}
		return set(base, f)
	}
	a, b := write(t, "a.binpb", extend("a")), write(t, "b.binpb", extend("b"))
	open(t, a, a)
	_, err := schema.Open([]string{a, b}, nil)
	require.ErrorContains(t, err, "the extension b.x has the number 100 of base.Base, and so has a.x")
}

func TestOpenSharesWhatIsTheSame(t *testing.T) {
	common := file("common.proto", "common", nil, message("Money", field("int64", "cents")))
	user := func(pkg string) []byte {
		// Both sets name their file alike, which is usual and no conflict.
		return set(common, file("events.proto", pkg, []string{"common.proto"}, message("E", field(".common.Money", "price"))))
	}
	folder := t.TempDir()
	for name, data := range map[string][]byte{"a.binpb": user("a"), "b.binpb": user("b"), "c.binpb": user("a")} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), data, 0o600))
	}
	registry := open(t, filepath.Join(folder, "*.binpb"), filepath.Join(folder, "a.*"))
	e := must(registry.Encoder(nil))
	for _, name := range []string{"a.E", "b.E"} {
		_, data, err := e.EncodeJSON([]byte(`{"@type":"/` + name + `","price":{"cents":"5"}}`))
		require.NoError(t, err)
		assert.Equal(t, `{"price":{"cents":"5"}}`, string(data))
	}
}
