package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tmaxmax/go-sse"

	"github.com/ssebridge/ssebridge/bridge"
)

// maxFrameBytes is more than the largest frame that the bridge sends.
const maxFrameBytes = 4 << 20

// subscribeFlags are the flags of the command.
type subscribeFlags struct {
	addr, token, since string
	topics             []string
	count              int
}

func newSubscribeCommand() *cobra.Command {
	var flags subscribeFlags
	cmd := &cobra.Command{
		Use:   "subscribe --topic PATTERN...",
		Short: "Print events as they come",
		Long: `Print each event as one line of CloudEvents JSON. Reconnects when the connection ends and goes on behind the last
event. What the bridge says itself, such as a reset, goes to standard error.`,
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
	out    *bufio.Writer
	notes  io.Writer
}

// errDone ends a subscription that has printed all it shall.
var errDone = errors.New("done")

func newSubscriber(flags subscribeFlags, out, notes io.Writer) (*subscriber, error) {
	base, err := baseURL(flags.addr)
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
		client: &http.Client{}, url: base + "/v1/events?" + query.Encode(), token: flags.token,
		left: flags.count, out: bufio.NewWriter(out), notes: notes,
	}, nil
}

// run returns when all is printed, when ctx ends, or when the bridge refuses for good.
func (s *subscriber) run(ctx context.Context) error {
	for {
		err := s.connect(ctx)
		switch {
		case errors.Is(err, errDone) || ctx.Err() != nil:
			return nil //nolint:nilerr // that is how it ends
		case errors.Is(err, errQuiet): // refused, not lost
			return err
		case err != nil:
			_, _ = fmt.Fprintln(s.notes, "ssebridge: connection lost:", err)
		}
		select {
		case <-time.After(time.Second + rand.N(time.Second)): //nolint:gosec // spreads load
		case <-ctx.Done():
			return nil
		}
	}
}

// connect prints the events of one connection.
func (s *subscriber) connect(ctx context.Context) error {
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
		return err
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
	for event, err := range sse.Read(response.Body, &sse.ReadConfig{MaxEventSize: maxFrameBytes}) {
		if err != nil {
			return err
		}
		if err := s.receive(event); err != nil {
			return err
		}
	}
	return nil
}

func (s *subscriber) receive(event sse.Event) error {
	if event.LastEventID != "" {
		s.lastID = event.LastEventID
	}
	switch event.Type {
	case bridge.EventOpen, bridge.EventHeartbeat:
		return nil
	case bridge.EventReset, bridge.EventReconnect:
		_, err := fmt.Fprintf(s.notes, "ssebridge: %s %s\n", event.Type, event.Data)
		return err
	}
	if _, err := s.out.WriteString(event.Data + "\n"); err != nil {
		return err
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	if s.left--; s.left == 0 {
		return errDone
	}
	return nil
}
