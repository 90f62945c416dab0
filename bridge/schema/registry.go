package schema

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ssebridge/ssebridge/bridge"
)

// Registry knows the types of events. It implements bridge.Encoders. All methods may be called concurrently.
type Registry struct {
	// EmitDefaults makes encoders write fields that have their default value, which they leave out otherwise. Set
	// it before the first event.
	EmitDefaults bool

	log     *slog.Logger
	globs   []string
	files   atomic.Pointer[catalog] // what the files hold
	schemas schemaCache             // what publishers have sent

	reloading sync.Mutex
	seen      string // fingerprint of the files of the last attempt
	warned    string // what the last warning said, until an attempt succeeds
}

var _ bridge.Encoders = (*Registry)(nil)

// Open reads descriptor-set files: each glob is a path or a pattern as in path/filepath.Match, and each file that it
// matches is a serialized google.protobuf.FileDescriptorSet with all imports. Without globs only well-known types and
// publishers' schemas are known. The error names the file and how to mend it.
func Open(globs []string, log *slog.Logger) (*Registry, error) {
	r := &Registry{log: log, globs: globs, seen: fingerprint(globs)}
	loaded, err := load(globs)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	r.files.Store(loaded)
	return r, nil
}

// Watch looks at the files every interval until ctx ends, and loads them again when one of them has changed, come or
// gone. Where they cannot be loaded the types of before stay, and one warning is logged for each change. An interval
// of 0 or less looks at nothing.
func (r *Registry) Watch(ctx context.Context, interval time.Duration) {
	if interval <= 0 {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.reload()
		}
	}
}

// reload loads the files if they have changed since the last attempt.
func (r *Registry) reload() {
	r.reloading.Lock()
	defer r.reloading.Unlock()

	// Taken first: a file that changes while it is read is loaded again next time.
	seen := fingerprint(r.globs)
	if seen == r.seen {
		return
	}
	loaded, err := load(r.globs)
	if err == nil {
		r.seen, r.warned = seen, ""
		r.files.Store(loaded)
		r.log.Info("schema files loaded again", "files", len(loaded.sets), "types", len(loaded.index.messages))
		return
	}
	if !passing(err) {
		r.seen = seen
	}
	if warning := seen + err.Error(); warning != r.warned {
		r.warned = warning
		r.log.Warn("schema files not loaded again, the types of before stay", "error", err)
	}
}

// Encoder returns an encoder for the well-known types, the types in files as they are at each event, and the types of
// schema, a serialized google.protobuf.FileDescriptorSet, which may be empty. The error is a *bridge.Refusal.
func (r *Registry) Encoder(schema []byte) (bridge.Encoder, error) {
	if len(schema) == 0 {
		return &encoder{registry: r}, nil
	}
	known, err := r.schemas.get(schema)
	if err != nil {
		return nil, bridge.Refuse(bridge.CodeInvalidArgument, "schema", "schema", clean(err))
	}
	return &encoder{registry: r, schema: known}, nil
}
