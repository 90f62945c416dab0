package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
	"github.com/ssebridge/ssebridge/web"
)

func newServeCommand() *cobra.Command {
	var file string
	var dev bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the bridge",
		Long: `Run the bridge until SIGTERM or SIGINT.

The configuration file says who may publish and read what; without one, nobody may anything. --dev opens everything, on
the loopback interface only, and serves a page at / that shows events as they come. Flags win over the configuration
file. Each flag can be given as an environment variable too: SSEBRIDGE_PUBLIC_ADDR for --public-addr.`,
		Example: `  ssebridge serve --config /etc/ssebridge/config.yaml
  ssebridge serve --dev
  ssebridge serve --dev --data-dir /tmp/events --schema 'schemas/*.binpb'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := loadConfig(file, cmd.Flags())
			if err != nil {
				return err
			}
			if ownProcess && !loaded.Log.SyncAlways && canBeReadAgain(file) {
				relaxTimers()
			}
			page := func(publish string) http.Handler { return web.Handler(publish, "**") }
			options := options{config: loaded, dev: dev, page: page}
			return serve(cmd.Context(), options, newLogger(cmd.ErrOrStderr(), loaded.Logging), nil)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file; see also ssebridge config check")
	addServerFlags(cmd.Flags())
	cmd.Flags().BoolVar(&dev, "dev", false, "let everybody publish and read everything, on the loopback interface only")
	return cmd
}

// canBeReadAgain reports whether a configuration file, if there is one, is a file: a pipe, such as the <(…) of a shell,
// gives what it has once.
func canBeReadAgain(file string) bool {
	if file == "" {
		return true
	}
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
}

// keyOfFlag says which key of the configuration file a flag wins over.
var keyOfFlag = map[string]string{
	"public-addr":   "public.addr",
	"internal-addr": "internal.addr",
	"ops-addr":      "ops.addr",
	"log-level":     "logging.level",
	"log-format":    "logging.format",
	"log-url":       "log.url",
	"data-dir":      "log.data_dir",
	"log-max-age":   "log.max_age",
	"log-max-bytes": "log.max_bytes",
	"schema":        "schemas",
}

func addServerFlags(flags *pflag.FlagSet) {
	defaults := config.Default()
	flags.String("public-addr", defaults.Public.Addr, "where browsers subscribe")
	flags.String("internal-addr", defaults.Internal.Addr, "where services publish")
	flags.String("ops-addr", defaults.Ops.Addr, "where /livez, /readyz, /metrics and /debug/pprof are")
	flags.String("log-level", defaults.Logging.Level, "least severe records of the program's log: debug, info, warn or error")
	flags.String("log-format", defaults.Logging.Format, "of the program's log: text or json")
	flags.String("log-url", defaults.Log.URL, "NATS servers that keep the log, such as nats://nats:4222, instead of the embedded log")
	flags.String("data-dir", defaults.Log.DataDir, "directory of the embedded log")
	flags.String("log-max-age", "24h", "how long events are kept")
	flags.String("log-max-bytes", defaults.Log.MaxBytes.String(), "how much is kept")
	flags.StringArray("schema", defaults.Schemas, "descriptor set with event types (buf build -o events.binpb); a glob, repeatable; read again when it changes")
}

// loadConfig reads the configuration file, if there is one, and lets flags win that are set on the command line or by
// the environment.
func loadConfig(file string, flags *pflag.FlagSet) (config.Config, error) {
	var overrides []config.Override
	flags.Visit(func(flag *pflag.Flag) {
		key, known := keyOfFlag[flag.Name]
		if !known {
			return
		}
		override := config.Override{Key: key, Values: []string{flag.Value.String()}, Origin: "--" + flag.Name}
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			override.Values = list.GetSlice()
		}
		if variable := flag.Annotations[fromEnvironment]; variable != nil {
			override.Origin = variable[0]
		}
		overrides = append(overrides, override)
	})
	loaded, err := config.Load(file, overrides...)
	if err != nil {
		return config.Config{}, fmt.Errorf("configuration:\n%w", err)
	}
	return loaded, nil
}

// serve runs the bridge until ctx ends or a part of it fails. Once it serves readers it calls started, if that is given.
func serve(ctx context.Context, options options, logger *slog.Logger, started func(context.Context, *program) error) error {
	reportTelemetry(logger)
	program, err := start(ctx, options, logger)
	if err != nil {
		return err
	}
	if started != nil {
		err := program.waitWarm(ctx)
		if err == nil {
			err = started(ctx, program)
		}
		if err != nil {
			program.shutdown()
			return err
		}
	}
	return program.wait(ctx)
}

// loopback moves an address without a host to the loopback interface and refuses every other interface.
func loopback(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%w: use host:port or :port", err)
	}
	if host == "" || host == "localhost" {
		return net.JoinHostPort("127.0.0.1", port), nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", fmt.Errorf("%q: with open rules the bridge listens on the loopback interface only: use 127.0.0.1:%s", addr, port)
	}
	return addr, nil
}
