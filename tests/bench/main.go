// Command bench measures Cloister on the machine it runs on. Times differ between machines and minutes, so every metric that can be is a ratio
// of two things run in turn; it ends with one line a metric:
//
//	BENCH {"metric":"container_start_ratio","value":1.42,"unit":"ratio","reference":"crun run 301 ms","target":"<= 1.5","ok":true}
//
// A missed target is reported, not an error: the exit code says whether the measuring worked. See docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// group is a set of metrics that are measured together.
type group struct {
	name    string
	measure func(context.Context, *bench) error
}

var groups = []group{
	{"size", measureSizes},
	{"decide", measureDecision},
	{"verity", measureVerity},
	{"layers", measureLayers},
	{"boot", measureBoot},
	{"memory", measureMemory},
	{"container", measureContainer},
	{"snp", measureSNP},
}

// referenceGroup is not measured unless asked for: its numbers are for another program.
var referenceGroup = group{"shim-reference", measureShimReference}

// bench is one run of the program.
type bench struct {
	scratch  string
	lock     string
	runs     runs
	metrics  []metric
	programs map[string]string // built ones by package
	images   map[string]string // guest images by name

	reference string // file for the numbers that pods under containerd are measured against
}

// runs are how often things are measured.
type runs struct{ container, plug, boot, verity, layers, memory, verify, evidence, device int }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := func() error { return run(ctx, os.Args[1:]) }
	if job := os.Getenv(layerJobEnv); job != "" {
		do = func() error { return runLayerJob(ctx, job) }
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	b := &bench{programs: map[string]string{}, images: map[string]string{}}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("only", "", "comma-separated groups to measure: "+names()+" (default all)")
	flags.StringVar(&b.lock, "lock", "", "file to hold locked while a group is measured, where others use the machine")
	flags.StringVar(&b.reference, "reference", "", "measure what pods under containerd are compared with, into this file, and nothing else")
	flags.IntVar(&b.runs.container, "container-runs", 20, "rounds of container starts")
	flags.IntVar(&b.runs.plug, "plug-runs", 20, "disks plugged in")
	flags.IntVar(&b.runs.boot, "boot-runs", 9, "boots of each kind")
	flags.IntVar(&b.runs.memory, "memory-runs", 5, "boots after which resident memory is looked at")
	flags.IntVar(&b.runs.verity, "verity-runs", 7, "trees built in each way")
	flags.IntVar(&b.runs.layers, "layer-runs", 5, "conversions of each layer in each way")
	flags.IntVar(&b.runs.verify, "verify-runs", 60, "rounds of verifications in each way")
	flags.IntVar(&b.runs.evidence, "evidence-runs", 5000, "requests for evidence in this process")
	flags.IntVar(&b.runs.device, "device-runs", 200, "requests for evidence in a guest, in each way")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if b.scratch, err = os.MkdirTemp("", "clbench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.scratch)
	progress("machine: %s", machine())
	if b.reference != "" {
		return b.measure(ctx, referenceGroup)
	}
	var failed error
	for _, g := range groups {
		if *only == "" || slices.Contains(strings.Split(*only, ","), g.name) {
			failed = errors.Join(failed, b.measure(ctx, g))
		}
	}
	b.report(os.Stdout)
	return failed
}

func names() string {
	var out []string
	for _, g := range groups {
		out = append(out, g.name)
	}
	return strings.Join(out, ", ")
}

// measure measures one group, alone.
func (b *bench) measure(ctx context.Context, g group) error {
	if b.lock != "" {
		f, err := os.OpenFile(b.lock, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return fmt.Errorf("lock %q: %w", b.lock, err)
		}
	}
	begin := time.Now()
	progress("measuring: %s (%s)", g.name, load())
	if err := g.measure(ctx, b); err != nil {
		return fmt.Errorf("measure %s: %w", g.name, err)
	}
	progress("measured: %s, in %.0f s (%s)", g.name, time.Since(begin).Seconds(), load())
	return nil
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
