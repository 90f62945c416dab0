package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/bench"
)

// benchFlags are the flags of the command.
type benchFlags struct {
	bench.Config

	addr, publishAddr, ca, patterns string
	json                            bool
}

func newBenchCommand() *cobra.Command {
	var flags benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a bridge from outside",
		Long: `Open readers, publish events that carry their number and time for a while, and print how many were delivered, how
long they took, and which were lost, repeated or out of order. Exits with 1 if any were, or did not arrive, or were
refused. Events are of the type bench.v1.Sample, whose schema is sent along. Without --prefix, topics are below bench/ and
of this run alone. With --pid, the process id of a bridge on this
machine, tells what CPU time and memory it took (Linux); with --floor also how that compares with a program that does one
write(2) per delivery and nothing else, on the same processors. Give the bridge and this command processors of their own.`,
		Example: `  ssebridge bench --readers 1000 --rate 50
  ssebridge bench --readers 10000 --topics 100 --patterns 10% --rate 0 --duration 30s --json
  taskset -c 1 ssebridge bench --pid "$(pidof -s ssebridge)" --floor --runs 5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.complete(); err != nil {
				return err
			}
			flags.Progress = cmd.ErrOrStderr()
			result, err := bench.Run(cmd.Context(), flags.Config)
			if cmd.Context().Err() != nil {
				return errors.New("interrupted before there was a result")
			} else if err != nil {
				return err
			}
			write := result.WriteTable
			if flags.json {
				write = result.WriteJSON
			}
			if err := write(cmd.OutOrStdout()); err != nil {
				return err
			}
			return result.Wrong()
		},
	}
	flags.register(cmd)
	cmd.AddCommand(newFloorCommand())
	return cmd
}

func (f *benchFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", "http://localhost:8080", "URL of the bridge's public listener, for readers")
	flags.StringVar(&f.publishAddr, "publish-addr", "http://localhost:8081", "URL of the bridge's internal listener, for publishers")
	flags.StringVar(&f.ca, "ca", "", caUsage)
	flags.StringVar(&f.Token, "token", "", "bearer token of readers")
	flags.StringVar(&f.PublishToken, "publish-token", "", "bearer token of publishers")
	flags.IntVar(&f.Readers, "readers", 100, "streams of readers")
	flags.IntVar(&f.Topics, "topics", 1, "topics over which readers and events are spread")
	flags.StringVar(&f.patterns, "patterns", "0", "how many of the readers, or which share of them such as 10%, read all topics by a pattern")
	flags.StringVar(&f.Prefix, "prefix", "", "of all topics (default bench/ and random digits)")
	flags.Float64Var(&f.Rate, "rate", 50, "events per second of all publishers; 0: as fast as results come back")
	flags.IntVar(&f.Size, "size", 200, "bytes of an event's data in JSON")
	flags.IntVar(&f.Publishers, "publishers", 1, "streams of publishers")
	flags.StringVar(&f.Format, "format", bench.FormatCloudEvents, "what readers ask for: cloudevents or json")
	flags.StringVar(&f.Transport, "transport", bench.HTTP1, "of readers: http1, or h2, which is HTTP/2, in cleartext for http URLs")
	flags.DurationVar(&f.Settle, "settle", time.Second, "time between the last reader's coming and publishing; memory per reader is measured when it ends")
	flags.DurationVar(&f.Duration, "duration", 10*time.Second, "time of publishing")
	flags.IntVar(&f.Storm, "storm", 0, "after half of the time drop all readers, publish so many events, and let all come back at once")
	flags.IntVar(&f.PID, "pid", 0, "process id of the bridge, if it is on this machine: measures its CPU time and memory (Linux)")
	flags.BoolVar(&f.Floor, "floor", false, "measure the floor too, on the processors of --pid (Linux)")
	flags.IntVar(&f.Runs, "runs", 1, "runs of which medians are printed")
	flags.BoolVar(&f.json, "json", false, "print one JSON object in place of the table")
}

// benchFiles are descriptors for what is not a reader.
const benchFiles = 64

// complete makes a configuration of the flags.
func (f *benchFlags) complete() error {
	var err error
	if err = f.reach(); err != nil {
		return err
	}
	if f.Patterns, err = parsePatterns(f.patterns, f.Readers); err != nil {
		return err
	}
	needed := uint64(f.Readers) + uint64(f.Publishers) + benchFiles //nolint:gosec // bench.Run refuses what is negative
	if limit, known := openFileLimit(); known && limit < needed && f.Readers > 0 {
		return fmt.Errorf("--readers %d: %d open files are needed, and %d are allowed: raise ulimit -Hn, or use fewer readers",
			f.Readers, needed, limit)
	}
	if f.Floor && f.PID == 0 {
		return errors.New("--floor: give --pid too, the process id of a bridge on this machine, to compare with")
	}
	program, err := os.Executable()
	f.FloorCommand = []string{program, "bench", floorCommand}
	return err
}

// reach sets how the bridge is reached.
func (f *benchFlags) reach() error {
	var err error
	if f.PublicURL, err = baseURL("addr", f.addr); err != nil {
		return err
	}
	if f.PublishURL, err = baseURL("publish-addr", f.publishAddr); err != nil {
		return err
	}
	secured := f.PublishURL
	if strings.HasPrefix(f.PublicURL, "https:") {
		secured = f.PublicURL
	}
	roots, err := readRoots(f.ca, secured)
	if err != nil {
		return err
	}
	f.ReadClient, f.PublishClient = newPublishClient(roots), newPublishClient(roots) // of HTTP/2, which readers may share
	if f.Transport == bench.HTTP1 {
		transport := newTransport(roots)
		transport.Protocols.SetHTTP1(true)
		f.ReadClient = &http.Client{Transport: transport}
	}
	return nil
}

// parsePatterns reads a number of readers, or a share of them.
func parsePatterns(text string, readers int) (int, error) {
	number, share := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || share && n > 100 {
		return 0, fmt.Errorf("--patterns %q: use a number of readers, or a share of them such as 10%%", text)
	}
	if share {
		return readers * n / 100, nil
	}
	return n, nil
}

const floorCommand = "floor"

// newFloorCommand returns what the command runs beside the bridge.
func newFloorCommand() *cobra.Command {
	return &cobra.Command{
		Use: floorCommand, Short: "Do one write(2) per delivery", Example: "  ssebridge bench --floor", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return bench.RunFloor(cmd.InOrStdin(), cmd.OutOrStdout()) },
	}
}
