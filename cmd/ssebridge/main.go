// Command ssebridge takes typed protobuf events from internal services and serves them to browsers as an event
// stream. It ties the packages of this module together: flags, wiring, start and end.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() { os.Exit(runProcess()) }

// ownProcess tells that this process is ssebridge and nothing else, such as its tests.
var ownProcess bool

// runProcess runs the command line of this process and returns the exit status. The first SIGINT or SIGTERM ends it in
// good order, the second one at once.
func runProcess() int {
	ownProcess = true
	// A write to a pipe that nobody reads is an error like any other: the bridge must not die of its log's reader.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first := make(chan os.Signal, 1)
	signal.Notify(first, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-first
		signal.Stop(first) // before anybody can see that the end has begun: from here on a signal kills
		cancel()
	}()
	return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// errQuiet is an error that has been reported already.
var errQuiet = errors.New("reported")

// run runs one command line and returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case !errors.Is(err, errQuiet):
		_, _ = fmt.Fprintln(stderr, "ssebridge:", err)
	}
	return 1
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:               "ssebridge",
		Short:             "Typed events from internal services to browsers",
		Long:              "ssebridge takes typed protobuf events over Connect or gRPC streams and serves them to browsers as an\nevent stream (SSE) that resumes exactly where a reader stopped.",
		Example:           "  ssebridge demo\n  ssebridge serve --dev",
		Version:           buildVersion(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnvironment(cmd.Flags()) },
	}
	root.AddCommand(newServeCommand(), newDemoCommand(), newPublishCommand(), newSubscribeCommand(),
		newTokenCommand(), newBenchCommand(), newConfigCommand(), newVersionCommand())
	return root
}

// fromEnvironment is the annotation of a flag that an environment variable has set, with its name.
const fromEnvironment = "ssebridge_environment"

// flagsFromEnvironment sets each flag that is not on the command line from SSEBRIDGE_ and its name, such as
// SSEBRIDGE_PUBLIC_ADDR for --public-addr.
func flagsFromEnvironment(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(flag *pflag.Flag) {
		name := "SSEBRIDGE_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value, set := os.LookupEnv(name)
		if !set || flag.Changed {
			return
		}
		if err := flags.Set(flag.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s: %w", name, err))
		}
		errs = append(errs, flags.SetAnnotation(flag.Name, fromEnvironment, []string{name}))
	})
	return errors.Join(errs...)
}
