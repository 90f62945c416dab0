package sse

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCallerAddress(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("198.51.100.7/32"),
	}
	for _, test := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"no proxy", "192.0.2.1:1234", nil, "192.0.2.1"},
		{"not trusted, so that what it says is not read", "192.0.2.1:1234", []string{"203.0.113.5"}, "192.0.2.1"},
		{"IPv4 as IPv6", "[::ffff:192.0.2.1]:1234", nil, "192.0.2.1"},
		{"a site", "[2001:db8:1:2:3:4:5:6]:1234", nil, "2001:db8:1:2::"},
		{"a zone", "[fe80::1%eth0]:1234", nil, "fe80::"},
		{"a proxy", "10.1.2.3:1234", []string{"203.0.113.5"}, "203.0.113.5"},
		{"a proxy over IPv6", "[fd00::1]:1234", []string{"203.0.113.5"}, "203.0.113.5"},
		{"a proxy, IPv4 as IPv6", "[::ffff:10.1.2.3]:1234", []string{"203.0.113.5"}, "203.0.113.5"},
		{"what the caller has made up stands in front", "10.1.2.3:1234", []string{"1.1.1.1, 8.8.8.8, 203.0.113.5"}, "203.0.113.5"},
		{"it pretends to be a proxy", "10.1.2.3:1234", []string{"1.1.1.1, 10.9.9.9, 203.0.113.5"}, "203.0.113.5"},
		{"two proxies", "10.1.2.3:1234", []string{"1.1.1.1, 203.0.113.5, 198.51.100.7"}, "203.0.113.5"},
		{"two fields are one list", "10.1.2.3:1234", []string{"1.1.1.1", "203.0.113.5", "198.51.100.7 ,10.0.0.1"}, "203.0.113.5"},
		{"IPv6", "10.1.2.3:1234", []string{"2001:db8:1:2:3::"}, "2001:db8:1:2::"},
		{"IPv6 in brackets", "10.1.2.3:1234", []string{"[2001:db8:1:2:3::]"}, "2001:db8:1:2::"},
		{"IPv6 with a port", "10.1.2.3:1234", []string{"[2001:db8:1:2:3::]:99"}, "2001:db8:1:2::"},
		{"IPv4 with a port", "10.1.2.3:1234", []string{"203.0.113.5:99"}, "203.0.113.5"},
		{"IPv4 as IPv6, forwarded", "10.1.2.3:1234", []string{"::ffff:203.0.113.5"}, "203.0.113.5"},
		{"tabs", "10.1.2.3:1234", []string{"1.1.1.1,\t203.0.113.5\t "}, "203.0.113.5"},
		{"all trusted", "10.1.2.3:1234", []string{"10.7.7.7, 10.8.8.8"}, "10.7.7.7"},
		{"proxy without the field", "10.1.2.3:1234", nil, "10.1.2.3"},
		{"empty field", "10.1.2.3:1234", []string{""}, "10.1.2.3"},
		{"empty entry", "10.1.2.3:1234", []string{"203.0.113.5,"}, "10.1.2.3"},
		{"unknown", "10.1.2.3:1234", []string{"203.0.113.5, unknown"}, "10.1.2.3"},
		{"unknown to the second proxy", "10.1.2.3:1234", []string{"unknown, 10.8.8.8"}, "10.8.8.8"},
		{"a name", "10.1.2.3:1234", []string{"localhost"}, "10.1.2.3"},
		{"IPv4 in brackets", "10.1.2.3:1234", []string{"[203.0.113.5]"}, "10.1.2.3"},
		{"half a bracket", "10.1.2.3:1234", []string{"[2001:db8::1"}, "10.1.2.3"},
		{"leading zeros, which some read as octal", "10.1.2.3:1234", []string{"0203.0.113.5"}, "10.1.2.3"},
		{"a port that is none", "10.1.2.3:1234", []string{"203.0.113.5:99999"}, "10.1.2.3"},
		{"no address at all", "@", []string{"203.0.113.5"}, "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: test.peer, Header: http.Header{}}
		if test.forwarded != nil {
			r.Header["X-Forwarded-For"] = test.forwarded
		}
		assert.Equal(t, test.want, callerAddress(r, trusted).String(), test.name)
	}
}

// FuzzCallerAddress: whatever a caller puts in front of what a proxy appends, it counts as the address that the proxy
// has seen; and every address is in the form that is counted.
func FuzzCallerAddress(f *testing.F) {
	for _, seed := range []string{
		"", "1.1.1.1", "10.0.0.1, 10.0.0.2", "[::1]:80", "[::1]", "fe80::1%eth0", "::ffff:10.0.0.1", "unknown, _hidden", ",,", "1.1.1.1\x00", "[", "]", "[]:1",
	} {
		f.Add(seed)
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/1")}
	f.Fuzz(func(t *testing.T, text string) {
		forwarded := func(fields ...string) netip.Addr {
			return callerAddress(&http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"X-Forwarded-For": fields}}, trusted)
		}
		caller := netip.MustParseAddr("192.0.2.1")
		assert.Equal(t, caller, forwarded(text+", 192.0.2.1"))
		assert.Equal(t, caller, forwarded(text, "192.0.2.1"))
		assert.Equal(t, caller, forwarded(text, "192.0.2.1, 10.0.0.9"))

		address := forwarded(text)
		assert.True(t, address.IsValid(), "the proxy's, at least")
		assert.Empty(t, address.Zone())
		assert.False(t, address.Is4In6())
		if address.Is6() {
			assert.True(t, strings.HasSuffix(address.StringExpanded(), ":0000:0000:0000:0000"), address)
		}
		if parsed := parseAddress(text); parsed.IsValid() {
			assert.Equal(t, parsed, parseAddress(parsed.String()))
		}
	})
}
