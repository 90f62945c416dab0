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

	"github.com/ssebridge/ssebridge/bridge"
)

// publishFlags are the flags of the command.
type publishFlags struct {
	addr, ca, token, schema string
}

func newPublishCommand() *cobra.Command {
	var flags publishFlags
	cmd := &cobra.Command{
		Use:   "publish [TOPIC JSON]",
		Short: "Publish events",
		Long: `Publish one event, or, without arguments, each line of standard input, over one stream:

  {"topic":"shops/7/orders/42","data":{"@type":"type.googleapis.com/shop.v1.OrderShipped","orderId":"42"}}

with "id", "time" and "traceparent" where wanted. JSON is the event's data alone, with its "@type". Prints one result
per event, in order: {"cursor":"…"}, with "duplicate":true where the event was stored before, or {"error":{…}}. What
cannot be sent is refused without asking the bridge, by the number of its line. Exits with 1 if an event was refused.`,
		Example: `  ssebridge publish news/today '{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"headline":"Hello"}}'
  ssebridge publish --schema shop.binpb < events.ndjson`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return fmt.Errorf("%d arguments: give TOPIC and JSON, or none and the events on standard input", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			read := func(ctx context.Context, lines chan<- eventLine) error {
				return readLines(ctx, cmd.InOrStdin(), lines)
			}
			if len(args) == 2 {
				read = func(_ context.Context, lines chan<- eventLine) error {
					lines <- argumentLine(args[0], args[1])
					return nil
				}
			}
			return publishEvents(cmd.Context(), flags, read, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&flags.addr, "addr", "http://localhost:8081", "URL of the bridge's internal listener")
	cmd.Flags().StringVar(&flags.ca, "ca", "", caUsage)
	cmd.Flags().StringVar(&flags.token, "token", "", "bearer token")
	cmd.Flags().StringVar(&flags.schema, "schema", "", "descriptor set with the events' types (buf build -o events.binpb), where the bridge does not know them")
	return cmd
}

// publishEvents publishes the lines that read sends and prints a result line for each to out.
func publishEvents(
	ctx context.Context, flags publishFlags, read func(context.Context, chan<- eventLine) error, out io.Writer,
) error {
	base, err := baseURL("addr", flags.addr)
	if err != nil {
		return err
	}
	roots, err := readRoots(flags.ca, base)
	if err != nil {
		return err
	}
	var schema []byte
	if flags.schema != "" {
		if schema, err = os.ReadFile(flags.schema); err != nil {
			return fmt.Errorf("--schema: %w", err)
		}
		if len(schema) > maxLineBytes {
			return fmt.Errorf("--schema: %s has %d bytes, at most %d can be sent: start the bridge with it instead",
				flags.schema, len(schema), maxLineBytes)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan eventLine, maxGathered)
	readErr := make(chan error, 1)
	go func() {
		defer close(lines)
		readErr <- read(ctx, lines)
	}()
	results := &resultPrinter{out: bufio.NewWriter(out)}
	p := &linePublisher{client: newLineClient(base, roots), token: flags.token, schema: schema, lines: lines, results: results}
	if err := p.run(ctx); err != nil {
		return errors.Join(err, results.out.Flush())
	}
	if err := <-readErr; err != nil {
		return err
	}
	if results.refused > 0 {
		return fmt.Errorf("%d of %d events were refused", results.refused, results.printed)
	}
	return nil
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

// refuse prints the result of an event that is refused here, as the bridge would have put it.
func (p *resultPrinter) refuse(refusal *bridge.Refusal) error {
	type violation struct {
		Field   string `json:"field"`
		Rule    string `json:"rule"`
		Message string `json:"message"`
	}
	var result struct {
		Error struct {
			Code       bridge.Code `json:"code"`
			Message    string      `json:"message"`
			Violations []violation `json:"violations"`
		} `json:"error"`
	}
	result.Error.Code, result.Error.Message = refusal.Code, refusal.Message
	for _, v := range refusal.Violations {
		result.Error.Violations = append(result.Error.Violations, violation(v))
	}
	text, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return p.write(text)
}
