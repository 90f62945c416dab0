package sse

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// siteBits is how much of an IPv6 address tells one site from another: whoever has one address has all of its /64
// (RFC 6177).
const siteBits = 64

// callerAddress returns the address for which a request counts: its peer's, or, where that is a trusted proxy, the last
// one in X-Forwarded-For that is not of a trusted proxy too. Each proxy appends who has called it, so everything in
// front of that may be forged. If all are trusted, the call began at the first. Where the list ends in something that
// is no address, the proxy that has written it counts. An IPv6 address is cut to its /64.
func callerAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
	address := parseAddress(r.RemoteAddr)
	for _, list := range slices.Backward(r.Header["X-Forwarded-For"]) { // several fields are one list (RFC 9110, section 5.3)
		for more := true; more; {
			if !isTrusted(address, trusted) {
				return site(address)
			}
			var entry string
			list, entry, more = cutLast(list)
			forwarded := parseAddress(entry)
			if !forwarded.IsValid() {
				return site(address)
			}
			address = forwarded
		}
	}
	return site(address)
}

// cutLast splits a list at its last comma.
func cutLast(list string) (before, last string, more bool) {
	if i := strings.LastIndexByte(list, ','); i >= 0 {
		return list[:i], list[i+1:], true
	}
	return "", list, false
}

// parseAddress reads an IP address, which some proxies write with a port, and IPv6 in brackets then. It returns the
// zero Addr for everything else.
func parseAddress(text string) netip.Addr {
	text = strings.Trim(text, " \t")
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return plain(withPort.Addr())
	}
	if inner, ok := strings.CutPrefix(text, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if address, err := netip.ParseAddr(inner); ok && err == nil && address.Is6() {
			return plain(address)
		}
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return plain(address)
}

// plain returns an address in the one form that is compared: IPv4 as such, and without a zone, which says something to
// one machine only.
func plain(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }

func isTrusted(address netip.Addr, trusted []netip.Prefix) bool {
	return slices.ContainsFunc(trusted, func(network netip.Prefix) bool { return network.Contains(address) })
}

func site(address netip.Addr) netip.Addr {
	if !address.Is6() {
		return address
	}
	return netip.PrefixFrom(address, siteBits).Masked().Addr()
}
