package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"golang.org/x/time/rate"

	"github.com/ssebridge/ssebridge/bridge/telemetry"
	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
)

// flushMax is how long the last spans and metrics may take to leave.
const flushMax = 5 * time.Second

// observer is the OpenTelemetry SDK of one bridge, as the standard OTEL_ variables set it up.
type observer struct {
	telemetry *telemetry.Telemetry
	metrics   http.Handler // what Prometheus scrapes

	tracers *trace.TracerProvider // nil where nothing is traced
	meters  *metric.MeterProvider
}

// observe sets up the SDK. Declared returns the declared pattern of a topic; it may be nil. Spans leave the process
// where OTEL_TRACES_EXPORTER or an OTLP endpoint is set; metrics do where OTEL_METRICS_EXPORTER says so, and can be
// scraped in any case.
func observe(ctx context.Context, declared func(topic string) string) (*observer, error) {
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(semconv.ServiceName("ssebridge"), semconv.ServiceVersion(buildVersion())),
		resource.WithFromEnv(), // wins
	)
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w: use key=value,key=value", err)
	}
	o := &observer{}
	if err := o.openTraces(ctx, about); err != nil {
		return nil, err
	}
	if err := o.openMetrics(ctx, about); err != nil {
		return nil, errors.Join(err, o.close())
	}
	config := telemetry.Config{Meters: o.meters, Declared: declared}
	if o.tracers != nil { // else the interface would not be nil
		config.Tracers = o.tracers
	}
	if o.telemetry, err = telemetry.New(config); err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

// openTraces makes the tracer provider, whose sampler and batches the SDK takes from the environment itself.
func (o *observer) openTraces(ctx context.Context, about *resource.Resource) error {
	if sdkDisabled() || os.Getenv("OTEL_TRACES_EXPORTER") == "" &&
		os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return nil
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return fmt.Errorf("OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_…: %w", err)
	}
	if !autoexport.IsNoneSpanExporter(exporter) {
		o.tracers = trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(about))
	}
	return nil
}

func (o *observer) openMetrics(ctx context.Context, about *resource.Resource) error {
	registry := prometheus.NewRegistry()
	scraped, err := promexporter.New(promexporter.WithRegisterer(registry), promexporter.WithoutScopeInfo())
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	options := []metric.Option{metric.WithResource(about), metric.WithReader(scraped)}
	switch os.Getenv("OTEL_METRICS_EXPORTER") {
	case "", "none", "prometheus": // the ops listener has them
	default:
		if sdkDisabled() {
			break
		}
		pushed, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return fmt.Errorf("OTEL_METRICS_EXPORTER, OTEL_EXPORTER_OTLP_…: %w", err)
		}
		options = append(options, metric.WithReader(pushed))
	}
	o.meters = metric.NewMeterProvider(options...)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	o.metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	return nil
}

// sdkDisabled reads the one standard variable that the SDK for Go leaves to the program.
func sdkDisabled() bool { return strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") }

// close sends what is left, for a bounded time.
func (o *observer) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), flushMax)
	defer cancel()
	var errs [2]error
	if o.tracers != nil {
		errs[0] = o.tracers.Shutdown(ctx)
	}
	if o.meters != nil {
		errs[1] = o.meters.Shutdown(ctx)
	}
	return errors.Join(errs[:]...)
}

// reportTelemetry sends what the SDK has to complain of, for the whole process, to the log. A collector that is away is not
// told of with every batch.
func reportTelemetry(logger *slog.Logger) {
	often := rate.Sometimes{First: 3, Interval: time.Minute}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		often.Do(func() { logger.Warn("telemetry", "error", err) })
	}))
	otel.SetLogger(logr.FromSlogHandler(logger.Handler()))
}

// newLogger makes the logger of a bridge: level is debug, info, warn or error, format text or json. Records name the
// trace that they belong to.
func newLogger(w io.Writer, logging config.Logging) *slog.Logger {
	var options slog.HandlerOptions
	var level slog.Level
	if level.UnmarshalText([]byte(logging.Level)) == nil { // the configuration is checked
		options.Level = level
	}
	if logging.Format == "json" {
		return slog.New(telemetry.LogHandler(slog.NewJSONHandler(w, &options)))
	}
	return slog.New(telemetry.LogHandler(slog.NewTextHandler(w, &options)))
}
