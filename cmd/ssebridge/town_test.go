package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// town is a configuration as one may find it.
const town = `
events: {source: /town}
topics:
  - pattern: public/staff/**
    publish: auth.issuer == "services"
    subscribe: '"staff" in auth.claims.roles'
  - pattern: public/**
    types: [google.protobuf.*]
    source: /town/hall
    publish: auth.issuer == "services"
    subscribe: "true"
  - pattern: shops/{shop}/orders/{order}
    types: [shop.v1.*, google.protobuf.Struct]
    source: /shop/orders
    publish: auth.sub == "system:serviceaccount:shop:orders" && auth.issuer == "services"
    subscribe: topic.shop in auth.claims.shops
  - pattern: shops/{shop}/till
    publish: auth.claims.shop == topic.shop && type == "google.protobuf.Struct"
    subscribe: topic.shop in auth.claims.shops && "staff" in auth.claims.roles
  - pattern: users/{user}/**
    publish: auth.issuer == "services"
    subscribe: topic.user == auth.sub && auth.issuer == "users"
  - pattern: devices/{device}/{path=**}
    publish: auth.sub == "device:" + topic.device && !topic.path.startsWith("commands")
    subscribe: granted(auth.claims.topics)
  - pattern: grants/{rest=**}
    subscribe: granted(auth.claims.topics)
  - pattern: adults
    subscribe: auth.claims.age >= 18
  - pattern: guests
    subscribe: auth.kind == "anonymous"
  - pattern: closed/**
`

// townsfolk are those who read there, and the claims of their tokens.
func townsfolk(r *realm) map[string]string {
	return map[string]string{
		"anonymous": "",
		"alice":     r.user("alice", "shops", []string{"7", "8"}, "age", 17.5, "topics", []string{"devices/d1/**", "grants/a/*", "grants/b"}),
		"bob":       r.user("bob", "shops", []string{"9"}, "roles", []string{"staff"}, "age", 18),
		"carol":     r.user("carol", "topics", []string{"**"}, "shops", []string{"*"}, "roles", []string{"STAFF"}),
		"mallory":   r.user("*", "shops", "7", "topics", "**", "roles", map[string]any{"staff": true}, "age", "18"),
	}
}

// TestTownReaders: who may read what, from outside.
func TestTownReaders(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, town+r.issuers())
	folk := townsfolk(r)
	for _, test := range []struct {
		topic string
		may   string // who
	}{
		{"public/news", "anonymous alice bob carol mallory"},
		{"public", "anonymous alice bob carol mallory"},
		{"public/a/b/c", "anonymous alice bob carol mallory"},
		{"public/news/**", "anonymous alice bob carol mallory"},
		{"public/news/*", "anonymous alice bob carol mallory"},
		{"public/staff", "bob mallory"}, // in looks at the keys of a map, too
		{"public/staff/rota", "bob mallory"},
		{"public/staff/**", "bob mallory"},
		{"public/staff/*/x", "bob mallory"},
		{"public/**", "bob mallory"}, // would open public/staff
		{"public/*", "bob mallory"},
		{"public/*/rota", "bob mallory"},
		{"public/Staff", "anonymous alice bob carol mallory"}, // is another topic
		{"public/staff.", "anonymous alice bob carol mallory"},
		{"PUBLIC/news", ""},
		{"Public/news", ""},

		{"shops/7/orders/42", "alice"},
		{"shops/7/orders/*", "alice"},
		{"shops/8/orders/*", "alice"},
		{"shops/9/orders/*", "bob"},
		{"shops/*/orders/42", ""}, // a wildcard where a variable is required
		{"shops/*/orders/*", ""},
		{"shops/7/orders", ""},
		{"shops/7/orders/**", ""}, // also matches shops/7/orders, which nobody has declared
		{"shops/7/orders/42/items", ""},
		{"shops/7/**", ""},
		{"shops/7/*/42", ""},
		{"shops/07/orders/42", ""},
		{"shops/7/ORDERS/42", ""},
		{"shops/9/till", "bob"},
		{"shops/7/till", ""}, // not staff
		{"shops/9/*", ""},    // also matches topics that nobody has declared

		{"users/alice", "alice"},
		{"users/alice/inbox", "alice"},
		{"users/alice/**", "alice"},
		{"users/alice/*/x", "alice"},
		{"users/Alice", ""},
		{"users/ALICE/inbox", ""},
		{"users/alic", ""},
		{"users/alice2", ""},
		{"users/bob/**", "bob"},
		{"users/*", ""},
		{"users/*/inbox", ""},
		{"users/**", ""},
		{"users", ""},

		{"devices/d1/x", "alice carol"},
		{"devices/d1", "alice carol"},
		{"devices/d1/**", "alice carol"},
		{"devices/d2/x", "carol"},
		{"devices/*/x", "carol"},
		{"devices/*/**", "carol"},
		{"devices/**", ""}, // also matches devices, which nobody has declared
		{"devices/D1/x", "carol"},
		{"grants/a/x", "alice carol"},
		{"grants/a/*", "alice carol"},
		{"grants/a", "carol"},
		{"grants/a/**", "carol"},
		{"grants/a/x/y", "carol"},
		{"grants/b", "alice carol"},
		{"grants/**", "carol"},

		{"adults", "bob"},
		{"guests", "anonymous"},
		{"closed/a", ""},
		{"closed/**", ""},
		{"unknown", ""},
		{"*", ""},
		{"**", ""},
		{"*/news", ""},
		{"$bridge/readers", ""},
		{"$bridge/**", ""},
		{"$public/news", ""},
	} {
		for name, token := range folk {
			t.Run(test.topic+" "+name, func(t *testing.T) {
				response := ask(t, streamClient, b.publicURL, topics(test.topic), func(r *http.Request) { bearer(r.Header, token) })
				want := http.StatusForbidden
				if strings.Contains(" "+test.may+" ", " "+name+" ") {
					want = http.StatusOK
				} else if token == "" {
					want = http.StatusUnauthorized
				}
				assert.Equal(t, want, response.StatusCode)
			})
		}
	}
}

// TestAllOfSeveralTopics must be allowed, wherever the one that is not stands.
func TestAllOfSeveralTopics(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, town+r.issuers())
	alice := r.user("alice", "shops", []string{"7"})
	var many []string
	for i := range 63 {
		many = append(many, fmt.Sprintf("public/%d", i))
	}
	for _, test := range []struct {
		topics  []string
		refused string
	}{
		{[]string{"public/a", "users/alice/**", "shops/7/orders/*"}, ""},
		{[]string{"users/bob", "public/a"}, "users/bob"},
		{[]string{"public/a", "users/bob"}, "users/bob"},
		{slices.Concat([]string{"closed/x"}, many), "closed/x"},
		{slices.Concat(many, []string{"closed/x"}), "closed/x"},
		{slices.Concat(many, []string{"public/x"}), ""},
	} {
		response := ask(t, streamClient, b.publicURL, topics(test.topics...), withBearer(alice))
		if test.refused == "" {
			assert.Equal(t, http.StatusOK, response.StatusCode, test.topics)
			continue
		}
		require.Equal(t, http.StatusForbidden, response.StatusCode, test.topics)
		assert.Equal(t, "you may not read "+test.refused, readProblem(t, response).Detail)
	}
}

// TestTownPublishers: who may publish what where, and what becomes of it.
func TestTownPublishers(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, town+r.issuers())
	schema, shipped := orderShipped(t, "order_id")
	const forbidden, wrongType = "you may not publish ", "may not be published to this topic: publish one of "
	orders := r.service("system:serviceaccount:shop:orders")
	reader := r.user("reader", "shops", []string{"7"}, "roles", []string{"staff"}, "topics", []string{"**"})
	for _, test := range []struct {
		name, token, topic string
		shop               bool   // shop.v1.OrderShipped, not a google.protobuf.Struct
		refusal            string // empty: stored
		source             string
	}{
		{"any service", r.service("news"), "public/news", false, "", "/town/hall"},
		{"any service", r.service("news"), "public/staff/rota", false, "", "/town"},
		{"any service, wrong type", r.service("news"), "public/news", true, wrongType + "[google.protobuf.*]", ""},
		{"any type", r.service("news"), "public/staff/rota", true, "", "/town"},
		{"orders", orders, "shops/7/orders/42", true, "", "/shop/orders"},
		{"orders, other type", orders, "shops/7/orders/42", false, "", "/shop/orders"},
		{"orders, elsewhere", orders, "shops/7/orders", true, forbidden, ""},
		{"another service", r.service("system:serviceaccount:shop:Orders"), "shops/7/orders/42", true, forbidden, ""},
		{"another service, wrong type too", r.service("system:serviceaccount:shop:other"), "shops/7/orders/42", false, forbidden, ""},
		{"till", r.service("till", "shop", "7"), "shops/7/till", false, "", "/town"},
		{"till of another shop", r.service("till", "shop", "7"), "shops/8/till", false, forbidden, ""},
		{"till, wrong type by its rule", r.service("till", "shop", "7"), "shops/7/till", true, forbidden, ""},
		{"till without claim", r.service("till"), "shops/7/till", false, forbidden, ""},
		{"device", r.service("device:d1"), "devices/d1/temperature", false, "", "/town"},
		{"device, no path", r.service("device:d1"), "devices/d1", false, "", "/town"},
		{"device, reserved path", r.service("device:d1"), "devices/d1/commands/stop", false, forbidden, ""},
		{"another device", r.service("device:d1"), "devices/d2/temperature", false, forbidden, ""},
		{"nobody may", orders, "grants/a", false, forbidden, ""},
		{"closed", orders, "closed/a", false, forbidden, ""},
		{"unknown", orders, "unknown", false, forbidden, ""},
		{"case", orders, "PUBLIC/news", false, forbidden, ""},
		{"anonymous", "", "public/news", false, forbidden, ""},
		{"reserved", orders, "$bridge/x", false, "belong to the bridge", ""},
	} {
		t.Run(test.name+" "+test.topic, func(t *testing.T) {
			event := numbered(t, test.topic, 1)
			if test.shop {
				event.Data = shipped("42")
			}
			request := connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: []*ssebridgev1.Event{event}, Schema: schema})
			bearer(request.Header(), test.token)
			response, err := publisher(b.internalURL).PublishBatch(t.Context(), request)
			require.NoError(t, err)
			result := response.Msg.GetResults()[0]
			if test.refusal != "" {
				assert.Empty(t, result.GetCursor())
				assert.Equal(t, "permission_denied", result.GetError().GetCode())
				assert.Contains(t, result.GetError().GetMessage(), test.refusal)
				require.Len(t, result.GetError().GetViolations(), 1)
				want := map[bool]string{true: "data", false: "topic"}[strings.HasPrefix(test.refusal, wrongType)]
				assert.Equal(t, want, result.GetError().GetViolations()[0].GetField())
				return
			}
			require.Nil(t, result.GetError(), "%v", result.GetError())
			stored := find(t, b.publicURL, test.topic, reader, result.GetCursor())
			assert.Equal(t, test.source, stored.Source)
			assert.Equal(t, test.topic, stored.Subject)
		})
	}
}

// storedEvent is what readers receive.
type storedEvent struct{ ID, Source, Type, Subject string }

// find returns a stored event as a reader receives it.
func find(t testing.TB, base, topic, token, cursor string) storedEvent {
	t.Helper()
	response := ask(t, streamClient, base, topics(topic)+"&since=earliest", withBearer(token))
	require.Equal(t, http.StatusOK, response.StatusCode)
	stream := newEventStream(response.Body)
	for {
		f, err := stream.next()
		require.NoError(t, err)
		if f.id == cursor && f.event == "" {
			var event storedEvent
			require.NoError(t, json.Unmarshal([]byte(f.data), &event))
			return event
		}
	}
}
