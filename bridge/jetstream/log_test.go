package jetstream

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

func TestOpenSetsLimits(t *testing.T) {
	embedded := startEmbedded(t, t.TempDir())
	log := open(t, embedded)
	config := stream(t, log).CachedInfo().Config
	require.Equal(t, []string{"ssebridge.>"}, config.Subjects)
	require.Equal(t, 24*time.Hour, config.MaxAge)
	require.EqualValues(t, 1<<30, config.MaxBytes)
	require.Equal(t, 2*time.Minute, config.Duplicates)
	require.Equal(t, jetstream.FileStorage, config.Storage)
	require.Equal(t, jetstream.DiscardOld, config.Discard)
	require.True(t, config.AllowDirect)
	store(t, log, newEvent(1), "")

	config.Description = "what an operator has set stays"
	_, err := log.read.UpdateStream(t.Context(), config)
	require.NoError(t, err)
	log = open(t, embedded, func(config *Config) {
		config.MaxAge, config.MaxBytes, config.DuplicateWindow = time.Minute, 1<<40, time.Hour
	})
	info := stream(t, log).CachedInfo()
	require.Equal(t, time.Minute, info.Config.MaxAge)
	require.EqualValues(t, 1<<40, info.Config.MaxBytes, "more than the disk has is accepted")
	require.Equal(t, time.Minute, info.Config.Duplicates, "never longer than MaxAge")
	require.Equal(t, config.Description, info.Config.Description)
	require.EqualValues(t, 1, info.State.Msgs)
}

func TestOpenRefuses(t *testing.T) {
	embedded := startEmbedded(t, t.TempDir())
	log := open(t, embedded)
	_, err := log.read.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "QUEUE", Subjects: []string{"queue.>"}, Retention: jetstream.WorkQueuePolicy,
	})
	require.NoError(t, err)

	for name, config := range map[string]Config{
		"the configuration has no Connect": {},
		"is no subject":                    {Connect: embedded.Connect, Prefix: "a.*"},
		`"$JS" is no subject`:              {Connect: embedded.Connect, Prefix: "$JS"},
		"duration":                         {Connect: embedded.Connect, MaxAge: -1},
		"limit":                            {Connect: embedded.Connect, MaxBytes: -1},
		"WorkQueue retention":              {Connect: embedded.Connect, Stream: "QUEUE", Prefix: "queue"},
		"stream NAME OF":                   {Connect: embedded.Connect, Stream: "NAME OF"},
	} {
		config.Logger = quiet
		_, err := Open(t.Context(), config)
		require.ErrorContains(t, err, name)
	}
}

func TestOpenUnavailable(t *testing.T) {
	embedded := startEmbedded(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Open(ctx, Config{Connect: embedded.Connect, Logger: quiet})
	require.ErrorIs(t, err, bridge.ErrLogUnavailable)
	require.NoError(t, embedded.Close())
	_, err = Open(t.Context(), Config{Connect: embedded.Connect, Logger: quiet})
	require.ErrorContains(t, err, "connect")
}

func TestReady(t *testing.T) {
	log := openNew(t)
	require.NoError(t, log.Ready(t.Context()))
	require.NoError(t, log.read.DeleteStream(t.Context(), "SSEBRIDGE"))
	require.ErrorIs(t, log.Ready(t.Context()), bridge.ErrLogUnavailable)
}

func TestCloseEndsTails(t *testing.T) {
	log := openNew(t)
	sink := &recorder{}
	ended := make(chan error)
	go func() { ended <- log.Tail(t.Context(), 0, sink) }()
	sink.awaitTold(t, "warm")
	require.NoError(t, log.Close())
	require.ErrorIs(t, <-ended, bridge.ErrLogUnavailable)
	for _, err := range []error{
		log.Tail(t.Context(), 0, sink),
		log.Check(t.Context(), bridge.Cursor{Seq: 1, Time: 1}),
	} {
		require.ErrorIs(t, err, bridge.ErrLogUnavailable)
	}
	_, err := log.Bounds(t.Context())
	require.ErrorIs(t, err, bridge.ErrLogUnavailable)
	_, err = log.Since(t.Context(), time.Now())
	require.ErrorIs(t, err, bridge.ErrLogUnavailable)
	_, err = log.Read(t.Context(), 0, 10)
	require.ErrorIs(t, err, bridge.ErrLogUnavailable)
}
