package sse

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/ssebridge/ssebridge/bridge"
)

// Limits bound the streams that are open at once. Beyond them new ones are put off; none that is open ends. A limit of 0
// is none.
type Limits struct {
	Total        int
	PerPrincipal int // an anonymous caller has none
	PerAddress   int // an IPv4 address, or the 64 leading bits of an IPv6 one, which one site has
	// TrustedProxies are the networks of proxies whose X-Forwarded-For is believed. Every other peer is the caller.
	TrustedProxies []netip.Prefix
}

// limitDetails say what a limit is to a caller who reads problem documents.
var limitDetails = map[bridge.EndReason]string{
	bridge.EndOverload:       "this bridge has as many streams as it may have: try again later, or another replica",
	bridge.EndPrincipalLimit: "you have as many open streams as you may have: close one, or subscribe to several topics with one stream",
	bridge.EndAddressLimit:   "there are as many open streams from your address as there may be: close one, or try again later",
}

// admissions counts the streams that are open. It may be used concurrently.
type admissions struct {
	limits Limits
	seed   maphash.Seed

	mu         sync.Mutex
	total      int
	principals counts
	addresses  counts
	warned     time.Time // of the last warning that the limit in all is reached
}

// counts are streams by a hash of what they are counted for. Two of a million principals share a count with a
// probability of 1 to 37 million, and nobody can choose to, as the hash is seeded; in return a stream holds 8 bytes
// instead of a name.
type counts map[uint64]int32

func (c counts) remove(key uint64) {
	if c[key] > 1 {
		c[key]--
	} else {
		delete(c, key)
	}
}

// admission is the place of one stream. It is given back once.
type admission struct {
	principal, address uint64 // 0: not counted
}

func newAdmissions(limits Limits) *admissions {
	return &admissions{limits: limits, seed: maphash.MakeSeed(), principals: counts{}, addresses: counts{}}
}

// full says which limit a caller from an address would meet whoever it is, if any. It costs next to nothing, so it comes
// before everything that costs more.
func (a *admissions) full(from netip.Addr) bridge.EndReason {
	address := a.addressKey(from)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.met(admission{address: address})
}

// admit counts a stream, or says which limit forbids it.
func (a *admissions) admit(principal string, from netip.Addr) (admission, bridge.EndReason) {
	place := admission{address: a.addressKey(from)}
	if a.limits.PerPrincipal > 0 && principal != "" {
		place.principal = maphash.String(a.seed, principal)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if reason := a.met(place); reason != "" {
		return admission{}, reason
	}
	a.total++
	if place.principal != 0 {
		a.principals[place.principal]++
	}
	if place.address != 0 {
		a.addresses[place.address]++
	}
	return place, ""
}

// release gives the place of a stream back that has ended.
func (a *admissions) release(place admission) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total--
	if place.principal != 0 {
		a.principals.remove(place.principal)
	}
	if place.address != 0 {
		a.addresses.remove(place.address)
	}
}

// met returns the limit that one more stream would exceed.
func (a *admissions) met(place admission) bridge.EndReason {
	switch {
	case a.limits.Total > 0 && a.total >= a.limits.Total:
		return bridge.EndOverload
	case place.address != 0 && int(a.addresses[place.address]) >= a.limits.PerAddress:
		return bridge.EndAddressLimit
	case place.principal != 0 && int(a.principals[place.principal]) >= a.limits.PerPrincipal:
		return bridge.EndPrincipalLimit
	}
	return ""
}

func (a *admissions) addressKey(from netip.Addr) uint64 {
	if a.limits.PerAddress == 0 {
		return 0
	}
	return maphash.Comparable(a.seed, from)
}

// warn reports whether it is time to tell an operator that the limit in all is reached: once a minute.
func (a *admissions) warn(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.warned) < time.Minute {
		return false
	}
	a.warned = now
	return true
}
