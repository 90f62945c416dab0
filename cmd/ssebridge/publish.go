package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// publishFlags are the flags of the command.
type publishFlags struct {
	addr, token, schema string
}

func newPublishCommand() *cobra.Command {
	var flags publishFlags
	cmd := &cobra.Command{
		Use:   "publish [TOPIC JSON]",
		Short: "Publish events",
		Long: `Publish one event, or, without arguments, each line of standard input, over one stream:

  {"topic":"shops/7/orders/42","data":{"@type":"type.googleapis.com/shop.v1.OrderShipped","orderId":"42"}}

with "id", "time" and "traceparent" where wanted. JSON is the event's data alone, with its "@type". Prints one result
per event, in order: {"cursor":"…"}, with "duplicate":true where the event was stored before, or {"error":{…}}. Exits
with 1 if an event was refused.`,
		Example: `  ssebridge publish news/today '{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"headline":"Hello"}}'
  ssebridge publish --schema shop.binpb < events.ndjson`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return fmt.Errorf("%d arguments: give TOPIC and JSON, or none and the events on standard input", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			events := cmd.InOrStdin()
			if len(args) == 2 {
				line, err := eventLine(args[0], args[1])
				if err != nil {
					return err
				}
				events = bytes.NewReader(line)
			}
			return publishEvents(cmd.Context(), flags, events, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&flags.addr, "addr", "http://localhost:8081", "URL of the bridge's internal listener")
	cmd.Flags().StringVar(&flags.token, "token", "", "bearer token")
	cmd.Flags().StringVar(&flags.schema, "schema", "", "descriptor set with the events' types (buf build -o events.binpb), where the bridge does not know them")
	return cmd
}

func eventLine(topic, data string) ([]byte, error) {
	if !json.Valid([]byte(data)) {
		return nil, fmt.Errorf("the event's data is not JSON: %.80q", data)
	}
	return json.Marshal(map[string]any{"topic": topic, "data": json.RawMessage(data)})
}

// publishEvents publishes each line of events and prints a result line for each to out.
func publishEvents(ctx context.Context, flags publishFlags, events io.Reader, out io.Writer) error {
	base, err := baseURL(flags.addr)
	if err != nil {
		return err
	}
	var schema []byte
	if flags.schema != "" {
		if schema, err = os.ReadFile(flags.schema); err != nil {
			return fmt.Errorf("--schema: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan []byte, maxUnanswered)
	read := make(chan error, 1)
	go func() {
		defer close(lines)
		read <- readLines(ctx, events, lines)
	}()
	results := &resultPrinter{out: bufio.NewWriter(out)}
	p := &linePublisher{client: newLineClient(base), token: flags.token, schema: schema, lines: lines, results: results}
	if err := p.run(ctx); err != nil {
		return errors.Join(err, results.out.Flush())
	}
	if err := <-read; err != nil {
		return err
	}
	if results.refused > 0 {
		return fmt.Errorf("%d of %d events were refused", results.refused, results.printed)
	}
	return nil
}

// readLines sends each line that is not blank to lines. A line that is no JSON object ends the reading.
func readLines(ctx context.Context, events io.Reader, lines chan<- []byte) error {
	scanner := bufio.NewScanner(events)
	scanner.Buffer(make([]byte, 0, 64<<10), maxLineBytes)
	for number := 1; scanner.Scan(); number++ {
		line := bytes.TrimSpace(scanner.Bytes())
		if len(line) == 0 {
			continue
		}
		if line[0] != '{' || !json.Valid(line) {
			return fmt.Errorf("line %d is not a JSON object: %.80q", number, line)
		}
		select {
		case lines <- bytes.Clone(line):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("a line has more than %d bytes", maxLineBytes)
	}
	return scanner.Err()
}

// resultPrinter prints result lines.
type resultPrinter struct {
	out              *bufio.Writer
	printed, refused int
}

// write prints one result as it came from the bridge.
func (p *resultPrinter) write(result json.RawMessage) error {
	var fields struct {
		Error json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(result, &fields); err != nil {
		return fmt.Errorf("result of the bridge: %w", err)
	}
	p.printed++
	if fields.Error != nil {
		p.refused++
	}
	var line bytes.Buffer
	if err := json.Compact(&line, result); err != nil {
		return fmt.Errorf("result of the bridge: %w", err)
	}
	line.WriteByte('\n')
	_, err := p.out.Write(line.Bytes())
	return err
}
