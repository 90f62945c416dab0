package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
	"github.com/ssebridge/ssebridge/web"
)

func newDemoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the bridge with a sample service and a page that shows its events",
		Long: `Run the bridge with open rules on the loopback interface, and a sample service that publishes demo.v1.Tick to
demo/ticks and demo.v1.OrderUpdated to demo/orders/{order} over the Publish stream, as any service would. Open the
page that it names; stop the bridge, start it again with the same --data-dir, and the page goes on without a gap.`,
		Example: `  ssebridge demo
  ssebridge demo --data-dir /tmp/ssebridge-demo`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := loadConfig("", cmd.Flags())
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("data-dir") {
				dir, err := os.MkdirTemp("", "ssebridge-demo-")
				if err != nil {
					return err
				}
				defer os.RemoveAll(dir) //nolint:errcheck // a leftover in the temporary directory does no harm
				loaded.Log.DataDir = dir
			}
			return demo(cmd.Context(), loaded, cmd.OutOrStdout(), newLogger(cmd.ErrOrStderr(), loaded.Logging))
		},
	}
	addServerFlags(cmd.Flags())
	return cmd
}

// demo runs the bridge and, in the same process, the sample service, which knows nothing of the bridge but its URL. Page
// and output come once the service has published, so that nobody looks at a demo that has nothing to show.
func demo(ctx context.Context, loaded config.Config, out io.Writer, logger *slog.Logger) error {
	published := make(chan struct{})
	options := options{config: loaded, dev: true, page: func(publish string) http.Handler {
		return after(published, web.Handler(publish, "demo/ticks", "demo/orders/*"))
	}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan struct{})
	err := serve(ctx, options, logger, func(_ context.Context, p *program) error {
		service, err := newDemoService(p.internalURL, filepath.Join(loaded.Log.DataDir, "demo.json"), logger)
		if err != nil {
			return err
		}
		service.begun = func() {
			close(published)
			if _, err := fmt.Fprintf(out, demoText, p.publicURL, p.publicURL, p.internalURL); err != nil {
				logger.Warn("demo: print what it shows", "error", err)
			}
		}
		go func() {
			defer close(served)
			service.run(ctx)
		}()
		return nil
	})
	if err != nil {
		return err
	}
	cancel()
	<-served
	return nil
}

// after lets requests wait for something to happen.
func after(happened <-chan struct{}, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-happened:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

const demoText = `
  ssebridge demo

  Open this page         %s
  or watch               curl -N '%s/v1/events?topic=demo/**'
  publish to it          ssebridge publish --addr %s demo/notes '{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"text":"Hello"}}'
  stop it                Ctrl-C

`
