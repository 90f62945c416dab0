package rule

import (
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// meter counts what the cost model of cel-go does not. That model prices a call by its overload, and where a claim is
// an argument, whose type is not known before it is there, it knows none and takes 1. What is compared it prices by
// its length, however deep it is. meter implements cost.ActualCostEstimator.
type meter struct{}

// CallCost returns what a call has cost, nil where the model is right.
func (meter) CallCost(function, overload string, args []ref.Val, _ ref.Val) *uint64 {
	units := uint64(1)
	switch {
	case function == operators.In:
		units += lookup(args[0], args[1])
	case function == operators.Equals, function == operators.NotEquals:
		units += weight(args[0]) + weight(args[1])
	case overload == "":
		for _, arg := range args {
			units += textWeight(arg)
		}
	default:
		return nil
	}
	return &units
}

// lookup is the cost of looking for a value in a list or in the keys of a map.
func lookup(value, in ref.Val) uint64 {
	switch value.(type) {
	case traits.Lister, traits.Mapper:
		return weight(in) // compared with each entry
	}
	if list, ok := in.(traits.Lister); ok {
		n, _ := list.Size().(types.Int)
		return uint64(n) //nolint:gosec // not negative
	}
	return 0
}

// weight is the cost of comparing a value: all that is in it.
func weight(value ref.Val) uint64 {
	var units uint64
	switch v := value.(type) {
	case traits.Mapper:
		for keys := v.Iterator(); keys.HasNext() == types.True; {
			key := keys.Next()
			units += 1 + textWeight(key) + weight(v.Get(key))
		}
	case traits.Lister:
		for entries := v.Iterator(); entries.HasNext() == types.True; {
			units += 1 + weight(entries.Next())
		}
	default:
		return textWeight(value)
	}
	return units
}

// textWeight is what the model of cel-go takes for reading a text, 0 for what is none.
func textWeight(value ref.Val) uint64 {
	const bytesPerUnit = 10
	switch v := value.(type) {
	case types.String:
		return uint64(len(v) / bytesPerUnit)
	case types.Bytes:
		return uint64(len(v) / bytesPerUnit)
	}
	return 0
}
