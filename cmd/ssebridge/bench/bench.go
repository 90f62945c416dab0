package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Config is the work of a run, and where it is done.
type Config struct {
	Readers    int           // streams that are open at once
	Topics     int           // over which readers and events are spread
	Patterns   int           // how many of the readers read all topics
	Prefix     string        // of the topics; empty: bench/ and random digits
	Publishers int           // streams of publishers
	Rate       float64       // events per second, of all publishers; 0: as fast as results come back
	Size       int           // of an event's data in JSON, in bytes
	Format     string        // cloudevents or json
	Transport  string        // http1 or h2
	Settle     time.Duration // between the last reader's coming and publishing: memory is looked at when it ends
	Duration   time.Duration // of publishing
	Storm      int           // events that all readers miss, and then fetch at once, after half of the time; 0: none
	Runs       int           // of which medians are taken
	Floor      bool          // each run is one of the floor, too

	PublicURL, PublishURL     string
	Token, PublishToken       string
	ReadClient, PublishClient *http.Client
	PID                       int      // of the server, where it is on this machine; 0: its cost is not measured
	FloorCommand              []string // runs RunFloor
	Progress                  io.Writer
}

// What a Config may ask for.
const (
	HTTP1 = "http1"
	H2    = "h2"

	FormatCloudEvents = "cloudevents"
	FormatJSON        = "json"

	maxReaders    = 1_000_000
	maxPublishers = 1024
	maxSize       = 4 << 20
	maxRuns       = 100
	maxStorm      = 1_000_000
)

// check finds what cannot be run, by the name of its flag.
func (c *Config) check() error {
	within := func(flag string, v, low, high int) error {
		if v < low || v > high {
			return fmt.Errorf("--%s %d: use %d to %d", flag, v, low, high)
		}
		return nil
	}
	errs := []error{
		within("readers", c.Readers, 1, maxReaders),
		within("topics", c.Topics, 1, maxTopics),
		within("publishers", c.Publishers, 1, maxPublishers),
		within("size", c.Size, minSize, maxSize),
		within("runs", c.Runs, 1, maxRuns),
		within("storm", c.Storm, 0, maxStorm),
	}
	if c.Patterns < 0 || c.Patterns > c.Readers {
		errs = append(errs, fmt.Errorf("--patterns %d: use 0 to the number of readers, which is %d, or a share such as 10%%", c.Patterns, c.Readers))
	}
	if c.Rate < 0 || c.Rate > 10_000_000 {
		errs = append(errs, fmt.Errorf("--rate %v: use events per second, or 0 for as fast as results come back", c.Rate))
	}
	if c.Duration < 100*time.Millisecond || c.Duration > 24*time.Hour {
		errs = append(errs, fmt.Errorf("--duration %v: use 100ms to 24h", c.Duration))
	}
	if c.Settle < 0 || c.Settle > 24*time.Hour {
		errs = append(errs, fmt.Errorf("--settle %v: use 0s to 24h", c.Settle))
	}
	if c.Format != FormatCloudEvents && c.Format != FormatJSON {
		errs = append(errs, fmt.Errorf("--format %q: use %s or %s", c.Format, FormatCloudEvents, FormatJSON))
	}
	if c.Transport != HTTP1 && c.Transport != H2 {
		errs = append(errs, fmt.Errorf("--transport %q: use %s or %s", c.Transport, HTTP1, H2))
	}
	if strings.Trim(c.Prefix, "/") != c.Prefix || strings.ContainsAny(c.Prefix, "* ?&#") {
		errs = append(errs, fmt.Errorf("--prefix %q: use the beginning of a topic, such as bench/a", c.Prefix))
	}
	if c.Floor && (c.Transport != HTTP1 || c.Storm > 0) {
		errs = append(errs, errors.New("--floor: the floor knows neither --transport h2 nor --storm"))
	}
	return errors.Join(errs...)
}

// Run does the work and returns what was measured. A result with [Result.Wrong] is not what a bridge promises. It
// returns an error where there is nothing to measure: readers that are refused, nothing that is published.
func Run(ctx context.Context, c Config) (*Result, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.PID != 0 {
		if _, err := process(c.PID).cpu(); err != nil {
			return nil, fmt.Errorf("--pid %d: %w", c.PID, err)
		}
	}
	var bridges, floors []*Measurement
	for n := range c.Runs {
		if c.Floor {
			m, err := runFloor(ctx, &c, n)
			if err != nil {
				return nil, fmt.Errorf("floor: %w", err)
			}
			floors = append(floors, m)
		}
		m, err := runBridge(ctx, &c, n)
		if err != nil {
			return nil, err
		}
		bridges = append(bridges, m)
	}
	return newResult(&c, bridges, floors), nil
}

// newPlan lays out a run.
func (c *Config) newPlan() *plan {
	p := &plan{prefix: c.Prefix, run: newRun(), topics: c.Topics, publishers: c.Publishers}
	if p.prefix == "" {
		p.prefix = "bench/" + p.run
	}
	return p
}

func (c *Config) label(name string, n int) string {
	if c.Runs > 1 {
		return fmt.Sprintf("%s %d of %d", name, n+1, c.Runs)
	}
	return name
}

func runBridge(ctx context.Context, c *Config, n int) (*Measurement, error) {
	p := c.newPlan()
	template, err := p.newPublishTemplate(c.Size)
	if err != nil {
		return nil, err
	}
	schema, err := newSchemaRequest()
	if err != nil {
		return nil, err
	}
	t := &trial{
		config: c, plan: p, label: c.label("bridge", n), server: process(c.PID),
		crowd: newCrowd(p, c.PublicURL, c.Token, c.Format),
		open:  dialBridge(c.PublishClient, c.PublishURL, c.PublishToken, schema), template: template,
	}
	if c.Transport == HTTP1 {
		if t.swarm, err = newSockets(ctx, t.crowd); err != nil {
			return nil, err
		}
	}
	if t.swarm == nil {
		t.swarm = newStreams(c.ReadClient, t.crowd)
	}
	defer t.swarm.close()
	defer t.swarm.drop()
	return t.run(ctx)
}
