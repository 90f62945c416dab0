package bench

import (
	"cmp"
	"reflect"
	"slices"
)

func median[T cmp.Ordered](values []T) (m T) {
	if len(values) == 0 {
		return m
	}
	values = slices.Sorted(slices.Values(values))
	return values[(len(values)-1)/2]
}

// medians returns the medians of numbers, the sums of those whose field is tagged so, and the first texts.
func medians(runs []*Measurement) *Measurement {
	m := &Measurement{}
	values := make([]reflect.Value, 0, len(runs))
	for _, r := range runs {
		values = append(values, reflect.ValueOf(r).Elem())
	}
	combine(reflect.ValueOf(m).Elem(), values, false)
	return m
}

// combine sets a value to what several of the same type come to.
func combine(into reflect.Value, values []reflect.Value, sum bool) {
	switch into.Kind() {
	case reflect.Struct:
		for i := range into.NumField() {
			var fields []reflect.Value
			for _, v := range values {
				fields = append(fields, v.Field(i))
			}
			combine(into.Field(i), fields, into.Type().Field(i).Tag.Get("runs") == "sum")
		}
	case reflect.Pointer:
		values = slices.DeleteFunc(values, reflect.Value.IsNil)
		if len(values) == 0 {
			return
		}
		into.Set(reflect.New(into.Type().Elem()))
		for i := range values {
			values[i] = values[i].Elem()
		}
		combine(into.Elem(), values, false)
	case reflect.String:
		for _, v := range values {
			into.SetString(cmp.Or(into.String(), v.String()))
		}
	case reflect.Float64:
		into.SetFloat(median(numbers(values, reflect.Value.Float)))
	default: // integers
		all := numbers(values, reflect.Value.Int)
		if !sum {
			into.SetInt(median(all))
			return
		}
		for _, n := range all {
			into.SetInt(into.Int() + n)
		}
	}
}

func numbers[T any](values []reflect.Value, of func(reflect.Value) T) (all []T) {
	for _, v := range values {
		all = append(all, of(v))
	}
	return all
}
