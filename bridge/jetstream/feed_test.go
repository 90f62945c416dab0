package jetstream

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// What a consumer says shows whether something was lost on the way.
func TestFeedDoubts(t *testing.T) {
	message := func(reply string) *nats.Msg { return &nats.Msg{Sub: &nats.Subscription{}, Reply: reply} }
	status := func(code, last string) *nats.Msg {
		header := nats.Header{"Status": {code}}
		if last != "" {
			header[headerLastDelivered] = []string{last}
		}
		return &nats.Msg{Header: header}
	}
	for name, test := range map[string]struct {
		message *nats.Msg
		doubt   string
	}{
		"next":                 {message("$JS.ACK.S.C.1.20.6.1700000000000000000.3"), ""},
		"gap":                  {message("$JS.ACK.S.C.1.21.7.1700000000000000000.3"), "message 7 came after 5"},
		"repeated":             {message("$JS.ACK.S.C.1.19.5.1700000000000000000.3"), "message 5 came after 5"},
		"torn":                 {message("$JS.ACK.S"), "read the consumer's message"},
		"heartbeat":            {status("100", "5"), ""},
		"heartbeat after loss": {status("100", "6"), "has sent message 6, but 5 came last"},
		"end":                  {status("409", ""), "the consumer ends: 409"},
	} {
		t.Run(name, func(t *testing.T) {
			feed := &feed{taken: 5}
			got, err := feed.decode(test.message)
			if test.doubt != "" {
				require.ErrorContains(t, err, test.doubt)
				return
			}
			require.NoError(t, err)
			if test.message.Reply != "" {
				require.Equal(t, uint64(20), got.seq)
				require.Equal(t, uint64(3), got.waiting)
			} else {
				require.Nil(t, got)
			}
		})
	}
}

func TestIdleCheck(t *testing.T) {
	log := openNew(t, func(config *Config) { config.CheckInterval = time.Minute })
	storeMany(t, log, 1, 10)
	info := stream(t, log).CachedInfo()
	check := func(tail *tail, heard time.Time) error {
		tail.log, tail.js, tail.heard = log, log.read, heard
		return tail.checkIdle(t.Context())
	}
	same := &tail{created: info.Created, seen: 10}
	require.NoError(t, check(same, time.Time{}))
	require.NoError(t, check(same, time.Time{}))

	behind := &tail{created: info.Created, seen: 9}
	require.NoError(t, check(behind, time.Time{}), "the message may be on its way")
	require.NoError(t, check(behind, time.Now()), "not idle")
	require.ErrorContains(t, check(behind, time.Time{}), "sequence 10 did not come")

	require.ErrorIs(t, check(&tail{created: info.Created, seen: 11}, time.Time{}), errReplaced)
	require.ErrorIs(t, check(&tail{created: info.Created.Add(1), seen: 10}, time.Time{}), errReplaced)
	require.NoError(t, log.read.DeleteStream(t.Context(), "SSEBRIDGE"))
	require.Error(t, check(same, time.Time{}))
}
