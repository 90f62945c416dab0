package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tmaxmax/go-sse"

	"github.com/ssebridge/ssebridge/bridge"
)

const (
	maxFrameBytes = 4 << 20          // more than the largest frame that the bridge sends
	maxSilence    = 45 * time.Second // a heartbeat comes every 15 s ± 20 %, so two may be lost
	maxRetry      = 5 * time.Minute
)

// subscribeFlags are the flags of the command.
type subscribeFlags struct {
	addr, ca, token, since string
	topics                 []string
	count                  int
}

func newSubscribeCommand() *cobra.Command {
	var flags subscribeFlags
	cmd := &cobra.Command{
		Use:   "subscribe --topic PATTERN...",
		Short: "Print events as they come",
		Long: `Print each event as one line of CloudEvents JSON. Reconnects when the connection ends, or says nothing for 45 s, and
goes on behind the last event. What the bridge says itself, such as a reset, goes to standard error.`,
		Example: `  ssebridge subscribe --topic 'demo/**'
  ssebridge subscribe --topic 'shops/*/orders/*' --since 5m -n 10`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := newSubscriber(flags, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return s.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&flags.addr, "addr", "http://localhost:8080", "URL of the bridge's public listener")
	cmd.Flags().StringVar(&flags.ca, "ca", "", caUsage)
	cmd.Flags().StringVar(&flags.token, "token", "", "bearer token")
	cmd.Flags().StringArrayVar(&flags.topics, "topic", nil, "topic or pattern; repeatable")
	cmd.Flags().StringVar(&flags.since, "since", "", "an event's id, earliest, latest, or a duration such as 5m (default latest)")
	cmd.Flags().IntVarP(&flags.count, "count", "n", 0, "stop after so many events; 0 never stops")
	_ = cmd.MarkFlagRequired("topic") // fails for an unknown flag only
	return cmd
}

// subscriber prints the events of one subscription over as many connections as it takes.
type subscriber struct {
	client *http.Client
	url    string
	token  string
	left   int // events to print; negative: no end
	lastID string
	retry  time.Duration // what the bridge has asked for; 0: nothing yet
	quiet  time.Duration // a connection on which nothing has come for so long is dead
	out    *bufio.Writer
	notes  io.Writer
}

var (
	errDone   = errors.New("done") // all is printed that shall be
	errSilent = errors.New("nothing has come, not even a heartbeat")
)

// outputError says that events cannot be printed.
type outputError struct{ err error }

func (e *outputError) Error() string { return "print events: " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

func newSubscriber(flags subscribeFlags, out, notes io.Writer) (*subscriber, error) {
	base, err := baseURL("addr", flags.addr)
	if err != nil {
		return nil, err
	}
	roots, err := readRoots(flags.ca, base)
	if err != nil {
		return nil, err
	}
	query := url.Values{"topic": flags.topics}
	if flags.since != "" {
		query.Set("since", flags.since)
	}
	if flags.count <= 0 {
		flags.count = -1
	}
	return &subscriber{
		client: newReadClient(roots), url: base + "/v1/events?" + query.Encode(), token: flags.token,
		left: flags.count, quiet: maxSilence, out: bufio.NewWriter(out), notes: notes,
	}, nil
}

// run returns when all is printed, when nothing can be printed, when ctx ends, or when the bridge refuses for good.
func (s *subscriber) run(ctx context.Context) error {
	for {
		err := s.connect(ctx)
		output := (*outputError)(nil)
		switch {
		case errors.Is(err, errDone) || ctx.Err() != nil:
			return nil //nolint:nilerr // that is how it ends
		case errors.Is(err, errQuiet), errors.As(err, &output): // not lost
			return err
		case err != nil:
			_, _ = fmt.Fprintln(s.notes, "ssebridge: connection lost:", err)
		}
		select {
		case <-time.After(s.wait()):
		case <-ctx.Done():
			return nil
		}
	}
}

// wait returns the time until the next connection.
func (s *subscriber) wait() time.Duration {
	if s.retry > 0 {
		return s.retry // the bridge spreads its readers
	}
	return time.Second + rand.N(time.Second) //nolint:gosec // spreads load
}

// connect prints the events of one connection.
func (s *subscriber) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(s.quiet, func() { cancel(fmt.Errorf("%w for %v", errSilent, s.quiet)) })
	defer watchdog.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", bridge.MediaType)
	bearer(request.Header, s.token)
	if s.lastID != "" {
		request.Header.Set("Last-Event-ID", s.lastID)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return orSilence(ctx, err)
	}
	defer response.Body.Close() //nolint:errcheck // read side
	if response.StatusCode != http.StatusOK {
		detail, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
		if response.StatusCode >= http.StatusInternalServerError || response.StatusCode == http.StatusTooManyRequests {
			return fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(detail)))
		}
		_, _ = fmt.Fprintf(s.notes, "ssebridge: %s: %s\n", response.Status, strings.TrimSpace(string(detail)))
		return errQuiet
	}
	body := &streamBody{
		Reader: response.Body,
		heard:  func() { watchdog.Reset(s.quiet) },
		retry:  func(wait time.Duration) { s.retry = min(wait, maxRetry) },
	}
	for event, err := range sse.Read(body, &sse.ReadConfig{MaxEventSize: maxFrameBytes}) {
		if err != nil {
			return orSilence(ctx, err)
		}
		watchdog.Stop() // printing may take its time
		if err := s.receive(event); err != nil {
			return err
		}
		watchdog.Reset(s.quiet)
	}
	return nil
}

// orSilence returns why a connection was cut, if the watchdog did it.
func orSilence(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return cause
	}
	return err
}

func (s *subscriber) receive(event sse.Event) error {
	if event.LastEventID != "" {
		s.lastID = event.LastEventID
	}
	switch {
	case event.Type == bridge.EventOpen, event.Type == bridge.EventHeartbeat:
		return nil
	case event.Type != "": // a reset, a farewell
		_, _ = fmt.Fprintf(s.notes, "ssebridge: %s %s\n", event.Type, event.Data)
		return nil
	}
	if _, err := s.out.WriteString(event.Data + "\n"); err != nil {
		return &outputError{err}
	}
	if err := s.out.Flush(); err != nil {
		return &outputError{err}
	}
	if s.left--; s.left == 0 {
		return errDone
	}
	return nil
}

// streamBody watches an event stream for what its parser does not tell: that it is alive, and its retry fields.
type streamBody struct {
	io.Reader

	heard func()
	retry func(time.Duration)
	line  []byte // what has come of the current line, as far as a retry field is long
}

func (b *streamBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if n > 0 {
		b.heard()
	}
	for _, c := range p[:n] {
		switch {
		case c == '\n' || c == '\r':
			b.endLine()
		case len(b.line) < len("retry: ")+10:
			b.line = append(b.line, c)
		}
	}
	return n, err
}

// endLine takes the reconnection time from a retry field (WHATWG HTML, section 9.2.6), in milliseconds.
func (b *streamBody) endLine() {
	if value, ok := bytes.CutPrefix(b.line, []byte("retry:")); ok {
		if ms, err := strconv.ParseUint(string(bytes.TrimPrefix(value, []byte(" "))), 10, 32); err == nil {
			b.retry(time.Duration(ms) * time.Millisecond)
		}
	}
	b.line = b.line[:0]
}
