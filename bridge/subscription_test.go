package bridge

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTypeFilters(t *testing.T) {
	t.Parallel()
	for text, passes := range map[string][]string{
		"A":                  {"A"},
		"shop.v1.Order":      {"shop.v1.Order"},
		"shop.v1.*":          {"shop.v1.Order", "shop.v1.Order.Item", "shop.v1.eu.Order"},
		"shop.*":             {"shop.v1.Order", "shop.v1.Order.Item", "shop.v1.eu.Order", "shop.v1beta.Order", "shop.A"},
		"_a1.b_2.C_":         {"_a1.b_2.C_"},
		"shop.v1.Order.Item": {"shop.v1.Order.Item"},
	} {
		filter, err := ParseTypeFilter(text)
		require.NoError(t, err, text)
		var passed []string
		for _, name := range []string{
			"A", "_a1.b_2.C_", "shop.v1.Order", "shop.v1.Order.Item", "shop.v1.eu.Order", "shop.v1beta.Order", "shop.A", "shop", "shops.A",
		} {
			if filter.Matches(name) {
				passed = append(passed, name)
			}
		}
		assert.ElementsMatch(t, passes, passed, text)
	}
	for _, text := range []string{"", "*", ".*", ".A", "A.", "a..B", "1A", "a.1B", "a.B*", "a.*.B", "a.**", "a/B", "ä.B", "a.B\n", " a.B"} {
		_, err := ParseTypeFilter(text)
		assert.ErrorContains(t, err, "such as shop.v1.OrderShipped", "%q", text)
	}
}
