package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ssebridge/ssebridge/web"
)

func newServeCommand() *cobra.Command {
	var options options
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the bridge",
		Long: `Run the bridge until SIGTERM or SIGINT.

Nobody may publish or read anything without --dev, which opens everything, on the loopback interface only, and serves
a page at / that shows events as they come. Each flag can be given as an environment variable too:
SSEBRIDGE_PUBLIC_ADDR for --public-addr.`,
		Example: `  ssebridge serve --dev
  ssebridge serve --dev --data-dir /tmp/events --schema 'schemas/*.binpb'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options.page = func(publish string) http.Handler { return web.Handler(publish, "**") }
			return serve(cmd.Context(), options, newLogger(cmd.ErrOrStderr()), nil)
		},
	}
	addServerFlags(cmd.Flags(), &options)
	cmd.Flags().BoolVar(&options.dev, "dev", false, "let everybody publish and read everything, on the loopback interface only")
	return cmd
}

func addServerFlags(flags *pflag.FlagSet, options *options) {
	flags.StringVar(&options.publicAddr, "public-addr", ":8080", "where browsers subscribe")
	flags.StringVar(&options.internalAddr, "internal-addr", ":8081", "where services publish")
	flags.StringVar(&options.opsAddr, "ops-addr", ":9090", "where /livez and /readyz are")
	flags.StringVar(&options.dataDir, "data-dir", "ssebridge-data", "directory of the embedded log")
	flags.StringArrayVar(&options.schemas, "schema", nil, "descriptor set with event types (buf build -o events.binpb); a glob, repeatable; read again when it changes")
	flags.DurationVar(&options.maxAge, "log-max-age", 24*time.Hour, "how long events are kept")
	flags.Int64Var(&options.maxBytes, "log-max-bytes", 1<<30, "how many bytes of events are kept")
}

// serve runs the bridge until ctx ends or a part of it fails. Once it is ready it calls started, if that is given.
func serve(ctx context.Context, options options, logger *slog.Logger, started func(context.Context, *program) error) error {
	program, err := start(ctx, options, logger)
	if err != nil {
		return err
	}
	if started != nil {
		if err := started(ctx, program); err != nil {
			program.shutdown()
			return err
		}
	}
	return program.wait(ctx)
}

func newLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, nil))
}

// loopback moves an address without a host to the loopback interface and refuses every other interface.
func loopback(flag, addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("--%s %q: %w: use host:port or :port", flag, addr, err)
	}
	if host == "" || host == "localhost" {
		return net.JoinHostPort("127.0.0.1", port), nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", fmt.Errorf("--%s %q: with open rules the bridge listens on the loopback interface only: use 127.0.0.1:%s", flag, addr, port)
	}
	return addr, nil
}
