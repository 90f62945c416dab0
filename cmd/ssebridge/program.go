package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/jetstream"
	"github.com/ssebridge/ssebridge/bridge/publish"
	"github.com/ssebridge/ssebridge/bridge/schema"
	"github.com/ssebridge/ssebridge/bridge/sse"
)

const (
	schemaPoll  = 2 * time.Second
	drainMax    = 10 * time.Second // for readers and publishers to take their leave
	shutdownMax = 5 * time.Second  // after which the connections that are left are cut
)

// options are what the command line says about the bridge.
type options struct {
	publicAddr, internalAddr, opsAddr string

	dataDir  string
	schemas  []string
	maxAge   time.Duration
	maxBytes int64
	dev      bool
	page     func(publish string) http.Handler // at / of the public listener, with open rules; publish is the internal URL

	hub     bridge.Settings
	sse     sse.Config     // its times
	publish publish.Config // its bounds
}

// program is a running bridge.
type program struct {
	publicURL, internalURL, opsURL string

	logger   *slog.Logger
	embedded *jetstream.Embedded
	log      *jetstream.Log
	hub      *bridge.Hub
	service  *publish.Service
	types    *schema.Registry

	public, internal, ops *server

	stop   context.CancelFunc // of everything that runs in the background
	failed chan error         // receives the first failure of a part
	done   chan struct{}      // closed when the background has ended
}

// start starts a bridge. It returns as soon as requests are answered; the window may not be warm yet.
func start(ctx context.Context, options options, logger *slog.Logger) (_ *program, err error) {
	if err := options.restrict(); err != nil {
		return nil, err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	p := &program{logger: logger, stop: stop, failed: make(chan error, 8), done: make(chan struct{})}
	defer func() {
		if err != nil {
			close(p.done)
			p.close()
		}
	}()
	if err := p.listen(ctx, options); err != nil {
		return nil, err
	}
	if p.types, err = schema.Open(options.schemas, logger); err != nil {
		return nil, err
	}
	if err := p.openLog(ctx, options); err != nil {
		return nil, err
	}
	p.hub = bridge.NewHub(p.log, options.hub)
	p.serve(options)
	go p.run(background)
	return p, nil
}

// restrict keeps open rules off the network.
func (o *options) restrict() (err error) {
	if !o.dev {
		return nil
	}
	for flag, addr := range map[string]*string{
		"public-addr": &o.publicAddr, "internal-addr": &o.internalAddr, "ops-addr": &o.opsAddr,
	} {
		if *addr, err = loopback(flag, *addr); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) allowPublish() func(context.Context, string, string) bool {
	if !o.dev {
		return nil
	}
	return func(context.Context, string, string) bool { return true }
}

func (o *options) authorizeReaders() func(*http.Request, *bridge.Subscription) (time.Time, error) {
	if !o.dev {
		return nil
	}
	return func(*http.Request, *bridge.Subscription) (time.Time, error) { return time.Time{}, nil }
}

// listen opens the listeners, so that an address in use is found out before anything else happens.
func (p *program) listen(ctx context.Context, options options) (err error) {
	if p.ops, p.opsURL, err = listen(ctx, "ops-addr", options.opsAddr); err != nil {
		return err
	}
	if p.internal, p.internalURL, err = listen(ctx, "internal-addr", options.internalAddr); err != nil {
		return err
	}
	p.public, p.publicURL, err = listen(ctx, "public-addr", options.publicAddr)
	return err
}

func (p *program) openLog(ctx context.Context, options options) (err error) {
	p.embedded, err = jetstream.StartEmbedded(jetstream.EmbeddedConfig{DataDir: options.dataDir, Logger: p.logger})
	if err != nil {
		return err
	}
	p.log, err = jetstream.Open(ctx, jetstream.Config{
		Connect: p.embedded.Connect, MaxAge: options.maxAge, MaxBytes: options.maxBytes, Logger: p.logger,
	})
	return err
}

func (p *program) serve(options options) {
	out := options.sse
	out.Hub, out.Authorize, out.Logger = p.hub, options.authorizeReaders(), p.logger
	public := http.NewServeMux()
	public.Handle("/v1/events", sse.NewHandler(out))
	if options.dev {
		public.Handle("POST /dev/drop", dropHandler(p.hub))
		public.Handle("/", options.page(p.internalURL))
	}
	in := options.publish
	in.Log, in.Encoders, in.JSONData, in.Allow, in.Logger = p.log, p.types, schema.TakeJSONData, options.allowPublish(), p.logger
	p.service = publish.New(in)
	internal := http.NewServeMux()
	p.service.Mount(internal, publish.Wire{
		Codecs:      []connect.Codec{schema.NewJSONCodec("json"), schema.NewJSONCodec("json; charset=utf-8"), schema.BinaryCodec{}},
		Descriptors: p.types,
		Extensions:  p.types,
	})
	p.public.capSendBuffers(publicSendBuffer)
	p.public.writeTimeout, p.ops.writeTimeout = publicWriteTimeout, opsWriteTimeout
	p.public.serve(public, p.logger, p.failed)
	p.internal.serve(internal, p.logger, p.failed)
	p.ops.serve(p.opsHandler(), p.logger, p.failed)
}

// run feeds the hub and watches the schema files until ctx ends.
func (p *program) run(ctx context.Context) {
	defer close(p.done)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		p.types.Watch(ctx, schemaPoll)
	}()
	if err := p.hub.Run(ctx); err != nil && ctx.Err() == nil {
		p.failed <- fmt.Errorf("read the log: %w", err)
	}
	<-watched
}

// wait runs the bridge until ctx ends or a part fails, and shuts it down.
func (p *program) wait(ctx context.Context) error {
	p.logger.Info("ssebridge is running", "public", p.publicURL, "internal", p.internalURL, "ops", p.opsURL)
	var err error
	select {
	case err = <-p.failed:
		p.logger.Error("a part of the bridge failed", "error", err)
	case <-ctx.Done():
		p.logger.Info("shutting down", "readers", p.hub.Readers())
	}
	p.shutdown()
	return err
}

// shutdown ends readers and publishers in good order: readers are asked to reconnect, publishers get every result and
// last. Meanwhile the bridge is not ready but its listeners are open, so that who still comes is told to come back.
func (p *program) shutdown() {
	p.hub.Drain()
	p.service.Drain()
	p.waitDrained()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownMax)
	defer cancel()
	var group sync.WaitGroup
	for name, server := range map[string]*server{"public": p.public, "internal": p.internal} {
		group.Go(func() {
			if err := server.shutdown(ctx); err != nil {
				p.logger.Warn("connections were cut", "listener", name, "error", err)
			}
		})
	}
	group.Wait()
	p.close()
	p.logger.Info("shut down")
}

// waitDrained returns when every reader and publisher has gone, or when they have had their time.
func (p *program) waitDrained() {
	late := time.After(drainMax)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for p.hub.Readers() > 0 || p.service.Streams() > 0 {
		select {
		case <-look.C:
		case <-late:
			p.logger.Warn("some do not go", "readers", p.hub.Readers(), "publishers", p.service.Streams())
			return
		}
	}
}

// close releases what start has opened.
func (p *program) close() {
	p.stop()
	<-p.done
	for _, server := range []*server{p.public, p.internal, p.ops} {
		if server != nil {
			server.close()
		}
	}
	var err error
	if p.log != nil {
		err = p.log.Close()
	}
	if p.embedded != nil {
		err = errors.Join(err, p.embedded.Close())
	}
	if err != nil {
		p.logger.Error("close the log", "error", err)
	}
}

// listenError tells how to mend an address that cannot be used.
func listenError(flag, addr string, err error) error {
	if addrErr := (*net.AddrError)(nil); errors.As(err, &addrErr) {
		return fmt.Errorf("--%s %q: %w: use host:port or :port", flag, addr, err)
	}
	return fmt.Errorf("--%s %q: %w: choose another address", flag, addr, err)
}
