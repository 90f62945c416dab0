package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	interrupted := ctx.Err() != nil
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if interrupted {
		err = errors.New("interrupted; parts that were complete are written")
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

// The parts, in the order in which they run.
const (
	partRows   = "rows"
	partStages = "stages"
	partGrowth = "growth"
)

// plan is what the command line asks for.
type plan struct {
	parts []string
	quick bool
	count int     // runs of each row
	load  float64 // of the machine before
}

func parsePlan(arguments []string, stderr io.Writer) (plan, error) {
	p := plan{}
	flags := flag.NewFlagSet("measure", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "go run ./cmd/measure [flags] measures ssebridge and writes the section \"Measured\" of README.md.")
		flags.PrintDefaults()
	}
	only := flags.String("only", "rows,stages,growth", "parts to measure; the others stay as results.json has them")
	flags.BoolVar(&p.quick, "quick", false, "try everything in tiny form, and write it to "+quickDirectory+", not to README.md")
	flags.IntVar(&p.count, "count", 5, "runs of each row, of which medians and extremes are shown")
	if err := flags.Parse(arguments); err != nil {
		return p, err
	}
	if flags.NArg() > 0 {
		return p, fmt.Errorf("%q: there are no arguments, only flags: -help lists them", flags.Arg(0))
	}
	if p.count < 1 || p.count > 100 {
		return p, fmt.Errorf("-count %d: use 1 to 100", p.count)
	}
	p.parts = strings.Split(*only, ",")
	for _, part := range p.parts {
		if !slices.Contains([]string{partRows, partStages, partGrowth}, part) {
			return p, fmt.Errorf("-only %q: use %s, %s and %s, with commas between them", *only, partRows, partStages, partGrowth)
		}
	}
	if p.quick {
		p.count = 1
	}
	return p, nil
}

func (p *plan) command() string {
	text := "go run ./cmd/measure"
	if p.quick {
		text += " -quick"
	} else if p.count != 5 {
		text += fmt.Sprintf(" -count %d", p.count)
	}
	return text
}

// run measures what the arguments ask for. A part that has failed in places is written as far as it came, and is an
// error in the end.
func run(ctx context.Context, arguments []string, stderr io.Writer) error {
	p, err := parsePlan(arguments, stderr)
	if err != nil {
		return err
	}
	root, err := findRoot(ctx)
	if err != nil {
		return err
	}
	place := placeOf(root, p.quick)
	text, err := place.readme()
	if err != nil {
		return err
	}
	if _, err := replaceSection(text, ""); err != nil { // before an hour of work
		return fmt.Errorf("%s: %w", place.template, err)
	}
	kept, err := place.load()
	if err != nil {
		return err
	}
	rig, err := newRig(root, stderr)
	if err != nil {
		return err
	}
	defer rig.close()
	if p.load, err = loadBefore(); err != nil {
		return err
	}
	if p.load > muchLoad {
		rig.sayf("the load of this machine is %.1f: what else runs on it disturbs every figure, ratios too", p.load)
	}
	if err := rig.build(ctx); err != nil {
		return err
	}
	return measureParts(ctx, rig, &p, place, kept)
}

// measureParts measures parts, and writes each when it is complete.
func measureParts(ctx context.Context, rig *rig, p *plan, place place, kept *results) error {
	var faults []error
	for _, part := range []string{partRows, partStages, partGrowth} {
		if !slices.Contains(p.parts, part) {
			continue
		}
		taken, err := takeDown(ctx, rig.root, p)
		if err != nil {
			return err
		}
		rig.sayf("%s: %s", part, taken)
		switch part {
		case partRows:
			if err := rig.buildFloors(ctx); err != nil {
				return err
			}
			kept.Rows, err = measureRows(ctx, rig, p, taken)
		case partStages:
			kept.Stages, err = measureStages(ctx, rig, p, taken)
		case partGrowth:
			kept.Growth, err = measureGrowth(ctx, rig, p, taken)
		}
		faults = append(faults, err)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := place.write(kept); err != nil {
			return err
		}
		rig.sayf("%s: written to %s", part, place.document)
	}
	return errors.Join(faults...)
}

// findRoot returns the directory of this module, wherever in it the command runs.
func findRoot(ctx context.Context) (string, error) {
	out, err := output(ctx, "", "go", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	root := filepath.Dir(out)
	if _, err := os.Stat(filepath.Join(root, "cmd", "ssebridge")); err != nil {
		return "", fmt.Errorf("run it in the repository of ssebridge: %w", err)
	}
	return root, nil
}
