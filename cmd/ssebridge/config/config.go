package config

import (
	"time"

	"github.com/ssebridge/ssebridge/auth/token"
)

// Config is what an operator sets. The name of a key is in the tag of its field. A path in it is relative to the
// working directory of the process.
type Config struct {
	Public   Public   `yaml:"public"`
	Internal Listener `yaml:"internal"` // where services publish
	Ops      Listener `yaml:"ops"`      // where probes and metrics are
	Limits   Limits   `yaml:"limits"`
	Log      Log      `yaml:"log"`
	Window   Window   `yaml:"window"`
	History  History  `yaml:"history"`
	Publish  Publish  `yaml:"publish"`
	Events   Events   `yaml:"events"`
	// Schemas are descriptor-set files with event types, paths or globs as in path/filepath.Match.
	Schemas []string       `yaml:"schemas"`
	Logging Logging        `yaml:"logging"`
	Drain   Drain          `yaml:"drain"`
	Issuers []token.Issuer `yaml:"issuers"`
	Topics  []Topic        `yaml:"topics"` // the first whose pattern matches a topic governs it

	origins map[string]Position // where each key was given
	source  *source             // nil without a file
}

// Listener is one address on which requests are answered.
type Listener struct {
	Addr string `yaml:"addr"` // host:port or :port
	TLS  TLS    `yaml:"tls"`
}

// TLS names the files of a listener's certificate. Without both the listener is in cleartext.
type TLS struct {
	Cert string `yaml:"cert"` // PEM, the chain included
	Key  string `yaml:"key"`  // PEM
}

// Public is where browsers subscribe.
type Public struct {
	Addr      string        `yaml:"addr"`      // host:port or :port
	TLS       TLS           `yaml:"tls"`       // cleartext without
	Origins   []string      `yaml:"origins"`   // whose pages may read across origins, as browsers send them
	Cookie    string        `yaml:"cookie"`    // name of the cookie that carries a token; none if empty
	Heartbeat time.Duration `yaml:"heartbeat"` // mean time between heartbeats of a silent stream
	Stall     time.Duration `yaml:"stall"`     // a reader that takes no byte for so long is closed
	MaxAge    time.Duration `yaml:"max_age"`   // mean age at which a reader is asked to come back
	// TrustedProxies are the networks, such as 10.0.0.0/8, of proxies whose X-Forwarded-For is believed.
	TrustedProxies []string `yaml:"trusted_proxies"`
}

// Limits bound the streams that are open at once on the public listener.
type Limits struct {
	Streams             int `yaml:"streams"`               // in all
	StreamsPerPrincipal int `yaml:"streams_per_principal"` // of one identity; 0: no limit
	StreamsPerAddress   int `yaml:"streams_per_address"`   // from one IPv4 address or IPv6 /64; 0: no limit
}

// Log says where events are kept, and how long.
type Log struct {
	URL             string `yaml:"url"`              // NATS servers, split by commas; if empty, the log runs in this process
	CredentialsFile string `yaml:"credentials_file"` // NATS credentials for URL
	CAFile          string `yaml:"ca_file"`          // PEM roots for URL, in place of the system's

	DataDir      string        `yaml:"data_dir"`      // directory of the embedded log
	SyncInterval time.Duration `yaml:"sync_interval"` // how often the embedded log forces events to the disk
	SyncAlways   bool          `yaml:"sync_always"`   // force each event to the disk before it is acknowledged

	Stream          string        `yaml:"stream"`         // name of the JetStream stream
	SubjectPrefix   string        `yaml:"subject_prefix"` // first tokens of its subjects
	MaxAge          time.Duration `yaml:"max_age"`        // how long an event is kept
	MaxBytes        Size          `yaml:"max_bytes"`      // how much is kept
	DuplicateWindow time.Duration `yaml:"duplicate_window"`
	Replicas        int           `yaml:"replicas"` // servers that store the stream; 0 is what it has, 1 for a new one
}

// Window bounds the newest events, which are held in memory.
type Window struct {
	Events int  `yaml:"events"`
	Bytes  Size `yaml:"bytes"`
}

// History bounds what serves readers that are behind the window.
type History struct {
	Bytes Size `yaml:"bytes"` // pages of older events held in memory
	Reads int  `yaml:"reads"` // reads of the log at once
}

// Publish bounds what publishers send.
type Publish struct {
	MaxEventBytes Size          `yaml:"max_event_bytes"` // JSON of one event
	InFlight      int           `yaml:"in_flight"`       // events of one stream that have no result yet
	MaxAge        time.Duration `yaml:"max_age"`         // mean age at which a stream ends with last
}

// Events says what browsers receive.
type Events struct {
	Source       string `yaml:"source"`        // CloudEvents source where a topic has none
	TraceParent  bool   `yaml:"traceparent"`   // add the W3C trace context to CloudEvents
	EmitDefaults bool   `yaml:"emit_defaults"` // write fields that have their default value
}

// Logging says what the process writes to standard error.
type Logging struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // text or json
}

// Drain says how the process ends.
type Drain struct {
	Grace time.Duration `yaml:"grace"` // after which open connections are cut
}

// Topic declares topics: which exist, what may be published there, and who may do what.
type Topic struct {
	Pattern   string   `yaml:"pattern"`   // such as shops/{shop}/orders/{order}
	Types     []string `yaml:"types"`     // shop.v1.OrderShipped or shop.v1.*; any if empty
	Source    string   `yaml:"source"`    // CloudEvents source; that of Events if empty
	Publish   string   `yaml:"publish"`   // CEL rule; nobody if empty
	Subscribe string   `yaml:"subscribe"` // CEL rule; nobody if empty
	State     bool     `yaml:"state"`     // a reader that is behind needs only the newest event of each topic
}

// Default returns what holds where nothing is configured.
func Default() Config {
	return Config{
		Public:   Public{Addr: ":8080", Heartbeat: 15 * time.Second, Stall: 60 * time.Second, MaxAge: time.Hour},
		Internal: Listener{Addr: ":8081"},
		Ops:      Listener{Addr: ":9090"},
		Limits:   Limits{Streams: 100_000, StreamsPerPrincipal: 64},
		Log: Log{
			DataDir: "ssebridge-data", SyncInterval: 2 * time.Minute, Stream: "SSEBRIDGE", SubjectPrefix: "ssebridge",
			MaxAge: 24 * time.Hour, MaxBytes: 1 << 30, DuplicateWindow: 2 * time.Minute,
		},
		Window:  Window{Events: 65_536, Bytes: 64 << 20},
		History: History{Bytes: 16 << 20, Reads: 2},
		Publish: Publish{MaxEventBytes: 256 << 10, InFlight: 1024, MaxAge: time.Hour},
		Events:  Events{Source: "/ssebridge"},
		Logging: Logging{Level: "info", Format: "text"},
		Drain:   Drain{Grace: 20 * time.Second},
	}
}
