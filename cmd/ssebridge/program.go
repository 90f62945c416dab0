package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/ssebridge/ssebridge/auth/token"
	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/jetstream"
	"github.com/ssebridge/ssebridge/bridge/publish"
	"github.com/ssebridge/ssebridge/bridge/schema"
	"github.com/ssebridge/ssebridge/bridge/sse"
	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
)

const schemaPoll = 2 * time.Second

// options are what a bridge is started with.
type options struct {
	config config.Config
	dev    bool                              // open rules, on the loopback interface only
	page   func(publish string) http.Handler // at / of the public listener, with open rules; publish is the internal URL
}

// program is a running bridge.
type program struct {
	publicURL, internalURL, opsURL string

	logger   *slog.Logger
	grace    time.Duration // after which connections are cut
	observer *observer
	access   *access
	embedded *jetstream.Embedded
	log      *jetstream.Log
	hub      *bridge.Hub
	service  *publish.Service
	streams  *sse.Handler
	types    *schema.Registry

	certificates          certificates
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
	p := &program{logger: logger, grace: options.config.Drain.Grace, stop: stop, failed: make(chan error, 8), done: make(chan struct{})}
	defer func() {
		if err != nil {
			close(p.done)
			p.close()
		}
	}()
	if err := p.listen(ctx, options); err != nil {
		return nil, err
	}
	if p.access, err = newAccess(&options.config, options.dev, logger); err != nil {
		return nil, err
	}
	if p.observer, err = observe(ctx, p.access.rules.Declared); err != nil {
		return nil, err
	}
	p.certificates.observe(p.observer.telemetry)
	if p.types, err = schema.Open(options.config.Schemas, logger); err != nil {
		return nil, options.config.At("schemas", err)
	}
	p.types.EmitDefaults = options.config.Events.EmitDefaults
	if err := p.openLog(ctx, options); err != nil {
		return nil, err
	}
	p.hub = bridge.NewHub(p.log, bridge.Settings{
		WindowEvents: options.config.Window.Events, WindowBytes: int(options.config.Window.Bytes),
		HistoryBytes: int(options.config.History.Bytes), HistoryReads: options.config.History.Reads,
		State:     p.access.rules.State,
		Telemetry: p.observer.telemetry,
	})
	p.serve(options)
	go p.run(background)
	return p, nil
}

// restrict keeps open rules off the network.
func (o *options) restrict() (err error) {
	if !o.dev {
		return nil
	}
	for key, addr := range map[string]*string{
		"public.addr": &o.config.Public.Addr, "internal.addr": &o.config.Internal.Addr, "ops.addr": &o.config.Ops.Addr,
	} {
		if *addr, err = loopback(*addr); err != nil {
			return o.config.At(key, err)
		}
	}
	return nil
}

// listen opens the listeners, so that an address in use is found out before anything else happens.
func (p *program) listen(ctx context.Context, options options) (err error) {
	c := options.config
	if p.certificates, err = openCertificates(&c, p.logger); err != nil {
		return err
	}
	if p.ops, p.opsURL, err = listen(ctx, c.Ops.Addr, p.certificates["ops"]); err != nil {
		return c.At("ops.addr", err)
	}
	if p.internal, p.internalURL, err = listen(ctx, c.Internal.Addr, p.certificates["internal"]); err != nil {
		return c.At("internal.addr", err)
	}
	p.internal.buffer()
	p.public, p.publicURL, err = listen(ctx, c.Public.Addr, p.certificates["public"])
	return c.At("public.addr", err)
}

func (p *program) openLog(ctx context.Context, options options) (err error) {
	from := options.config.Log
	to := jetstream.Config{
		Stream: from.Stream, Prefix: from.SubjectPrefix, Replicas: from.Replicas,
		MaxAge: from.MaxAge, MaxBytes: int64(from.MaxBytes), DuplicateWindow: from.DuplicateWindow, Logger: p.logger,
	}
	key := "log"
	if from.URL != "" {
		key = "log.url"
		external := jetstream.External{URL: from.URL, CredentialsFile: from.CredentialsFile, CAFile: from.CAFile, Logger: p.logger}
		to.Connect = external.Connect
	} else {
		p.embedded, err = jetstream.StartEmbedded(jetstream.EmbeddedConfig{
			DataDir: from.DataDir, SyncInterval: from.SyncInterval, SyncAlways: from.SyncAlways, Logger: p.logger,
		})
		if err != nil {
			return options.config.At("log.data_dir", err)
		}
		to.Connect, to.SoleWriter = p.embedded.Connect, true
	}
	p.log, err = jetstream.Open(ctx, to)
	return options.config.At(key, err)
}

func (p *program) serve(options options) {
	c := options.config
	public := http.NewServeMux()
	p.streams = sse.NewHandler(sse.Config{
		Hub: p.hub, Authorize: p.access.reader, Logger: p.logger, Telemetry: p.observer.telemetry,
		Heartbeat: c.Public.Heartbeat, Stall: c.Public.Stall, MaxAge: c.Public.MaxAge, TraceParent: c.Events.TraceParent, Limits: limits(&c),
	})
	if !options.dev {
		warnOfOpenFiles(c.Limits.Streams, p.logger)
	}
	public.Handle("/v1/events", p.streams)
	if options.dev {
		public.Handle("POST /dev/drop", dropHandler(p.hub))
		public.Handle("/", options.page(p.internalURL))
	}
	p.service = publish.New(publish.Config{
		Log: p.log, Encoders: p.types, JSONData: schema.TakeJSONData, Caller: p.access.caller, Logger: p.logger,
		Telemetry: p.observer.telemetry,
		Source:    c.Events.Source, MaxEventBytes: int(c.Publish.MaxEventBytes), InFlight: c.Publish.InFlight, MaxAge: c.Publish.MaxAge,
	})
	internal := http.NewServeMux()
	p.service.Mount(internal, publish.Wire{
		Codecs:      []connect.Codec{schema.NewJSONCodec("json"), schema.NewJSONCodec("json; charset=utf-8"), schema.BinaryCodec{}},
		Descriptors: p.types,
		Extensions:  p.types,
	})
	p.public.cap(publicSendBuffer, c.Public.Stall)
	p.public.writeTimeout, p.ops.writeTimeout = publicWriteTimeout, opsWriteTimeout
	guard := func(handler http.Handler) http.Handler { return handler }
	if options.dev {
		guard = refuseOtherHosts
	}
	p.public.serve(guard(secureHeaders(p.access.origins.CORS(public))), p.logger, p.failed)
	p.internal.serve(token.RefuseBrowsers(p.access.identifyPublishers(p.observer.telemetry, internal)), p.logger, p.failed)
	p.ops.serve(guard(p.opsHandler()), p.logger, p.failed)
}

// run feeds the hub and watches schema and certificate files until ctx ends.
func (p *program) run(ctx context.Context) {
	defer close(p.done)
	var watched sync.WaitGroup
	watched.Go(func() { p.types.Watch(ctx, schemaPoll) })
	watched.Go(func() { p.access.watch(ctx) })
	watched.Go(func() { p.certificates.watch(ctx) })
	if err := p.hub.Run(ctx); err != nil && ctx.Err() == nil {
		p.failed <- fmt.Errorf("read the log: %w", err)
	}
	watched.Wait()
}

// waitWarm returns once readers are served. The error says why they will not be.
func (p *program) waitWarm(ctx context.Context) error {
	select {
	case <-p.hub.Warmed():
		return nil
	case err := <-p.failed:
		return err
	case <-ctx.Done():
		return nil // wait ends it in good order
	}
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
	ctx, cancel := context.WithTimeout(context.Background(), p.grace)
	defer cancel()
	forReaders, cancelReaders := context.WithTimeout(ctx, farewellMax)
	defer cancelReaders()
	p.waitGone(forReaders, "readers", p.hub.Readers)
	p.waitGone(ctx, "publishers", p.service.Streams)
	var group sync.WaitGroup
	for listener, ctx := range map[*server]context.Context{p.public: forReaders, p.internal: ctx} {
		group.Go(func() {
			if err := listener.shutdown(ctx); err != nil {
				p.logger.Warn("connections were cut", "listener", listener.listener.Addr().String(), "error", err)
			}
		})
	}
	group.Wait()
	if err := p.streams.Shutdown(forReaders); err != nil {
		p.logger.Warn("streams were cut", "error", err)
	}
	p.close()
	p.logger.Info("shut down")
}

// farewellMax is how long a reader may take for its farewell. One that takes nothing holds nobody up for longer: it loses
// nothing, as it comes back with its place.
const farewellMax = 5 * time.Second

// waitGone returns when there is nobody left, or when ctx ends.
func (p *program) waitGone(ctx context.Context, who string, count func() int) {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for count() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			p.logger.Warn("some do not go", who, count())
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
	if p.observer != nil {
		if err := p.observer.close(); err != nil {
			p.logger.Warn("the last spans or metrics did not leave", "error", err)
		}
	}
}
