package rule

import (
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/ssebridge/ssebridge/bridge"
)

// granted is true where a pattern of the list covers what is requested, and false where none matches any of it. In
// between, where a grant matches some of the topics that are requested, the answer is not the same for all of them,
// so it is unknown. An entry that is no pattern grants nothing; as nobody knows what it was meant to be, it makes
// what would be false an error, so that "not granted" is no yes either.
func (a *activation) granted(_ string, args ...ref.Val) ref.Val {
	list, ok := args[0].(traits.Lister)
	if !ok {
		return types.NewErr("granted needs a list of patterns, not %s", args[0].Type().TypeName())
	}
	partly, wrong := false, false
	for entries := list.Iterator(); entries.HasNext() == types.True; {
		text, ok := entries.Next().(types.String)
		if !ok {
			wrong = true
			continue
		}
		parsed, err := bridge.ParsePattern(string(text))
		if err != nil {
			wrong = true
			continue
		}
		grant := newPattern(parsed)
		if grant.covers(a.requested) {
			return types.True
		}
		partly = partly || grant.intersects(a.requested)
	}
	switch {
	case wrong:
		return types.NewErr("a grant is no pattern")
	case partly:
		return unknown
	}
	return types.False
}
