package main

import (
	"log/slog"
	"net/netip"

	"github.com/ssebridge/ssebridge/bridge/sse"
	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
)

// limits returns the limits of a configuration that was checked.
func limits(c *config.Config) sse.Limits {
	made := sse.Limits{
		Total: c.Limits.Streams, PerPrincipal: c.Limits.StreamsPerPrincipal, PerAddress: c.Limits.StreamsPerAddress,
	}
	for _, network := range c.Public.TrustedProxies {
		made.TrustedProxies = append(made.TrustedProxies, netip.MustParsePrefix(network))
	}
	return made
}

// otherFiles are descriptors for what is not a stream: publishers, the files of the log, callers that are turned away.
const otherFiles = 1000

// warnOfOpenFiles says when the process cannot have as many files open as streams need. Then connections wait unanswered
// before the limit turns them away. The runtime has raised the limit as far as the system allows it by itself.
func warnOfOpenFiles(streams int, logger *slog.Logger) {
	limit, known := openFileLimit()
	if needed := uint64(streams) + otherFiles; known && limit < needed { //nolint:gosec // a configuration that was checked has none below 0
		logger.Warn("the limit of open files is below limits.streams: raise it (LimitNOFILE of systemd, --ulimit nofile of "+
			"the container runtime, ulimit -Hn of a shell), or lower limits.streams",
			"open_files", limit, "needed", needed, "streams", streams)
	}
}
