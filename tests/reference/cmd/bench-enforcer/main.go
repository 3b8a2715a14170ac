// Command bench-enforcer measures the enforcer beside the reference, a hand-written comparison and the bare Rego engine, in
// turn on the machine it runs on. It ends with one line a metric:
//
//	BENCH {"metric":"create_container_10","value":180.2,"unit":"times faster","reference":"3.9 ms","target":">= 150","ok":true}
//
// A missed target is reported, not an error: the exit code says whether the measuring worked. Build it with the tag rego.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := start(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench-enforcer:", err)
		os.Exit(1)
	}
}

// bench is one run of the program.
type bench struct {
	sizes   []int
	samples samples
	metrics []metric
}

func start(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench-enforcer", flag.ContinueOnError)
	sizes := flags.String("sizes", "1,10,100,1000,10000", "comma-separated numbers of containers")
	only := flags.String("only", "", "comma-separated parts to measure: admissions,floor,growth,rego,memory (default all)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b := &bench{samples: samples{}}
	for field := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return fmt.Errorf("sizes: %q is no number of containers", field)
		}
		b.sizes = append(b.sizes, n)
	}
	slices.Sort(b.sizes)
	for _, part := range []struct {
		name    string
		measure func(context.Context) error
	}{{"admissions", b.admissions}, {"floor", b.floor}, {"growth", b.growth}, {"rego", b.ownRego}, {"memory", b.memory}} {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), part.name) {
			continue
		}
		began := time.Now()
		if err := part.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", part.name, time.Since(began).Round(time.Second))
	}
	report(os.Stdout, b.metrics)
	return nil
}

func (b *bench) add(name string, value float64, unit, reference string, t target) {
	b.metrics = append(b.metrics, metric{name, value, unit, reference, t})
}

// targets of how many times faster than the reference.
var targets = map[string]target{
	"create_container_10_distinct": atLeast(150),
	"create_container_10_shared":   atLeast(150),
	"admission_10_distinct":        atLeast(50),
	"admission_10_shared":          atLeast(50),
	"admission_10000_distinct":     atLeast(1000),
	"admission_10000_shared":       atLeast(1000),
	"load_1_distinct":              atLeast(12),
	"load_1_shared":                atLeast(12),
	"load_1000_distinct":           atLeast(35),
	"load_1000_shared":             atLeast(35),
	"load_10000_distinct":          atLeast(45),
	"load_10000_shared":            atLeast(45),
}

func (b *bench) admissions(ctx context.Context) error {
	for _, n := range b.sizes {
		for _, shared := range []bool{false, true} {
			if err := ctx.Err(); err != nil {
				return err
			}
			began := time.Now()
			if err := measureAdmissions(b.samples, n, shared); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%d containers, %s images: %s\n", n, images(shared), time.Since(began).Round(time.Second))
			for _, what := range []string{"load", "mount_device", "mount_overlay", "create_container", "exec_in_container", "admission"} {
				name := fmt.Sprintf("%s_%d_%s", what, n, images(shared))
				b.add(name, b.samples.ratio(n, shared, what), "times faster", fmt.Sprintf("reference %s, ours %s",
					brief(b.samples.median(key{"reference", n, shared, what})), brief(b.samples.median(key{"ours", n, shared, what}))), targets[name])
			}
		}
	}
	b.samples.table(os.Stdout, b.sizes)
	return nil
}

func (b *bench) floor(context.Context) error {
	for _, shared := range []bool{false, true} {
		own, least, err := measureFloor(10, shared)
		if err != nil {
			return err
		}
		b.add("create_container_floor_10_"+images(shared), own.median()/least.median(), "ratio",
			fmt.Sprintf("hand-written %s, ours %s", brief(least.median()), brief(own.median())), atMost(5))
	}
	return nil
}

func (b *bench) growth(context.Context) error {
	n := b.sizes[len(b.sizes)-1]
	for _, shared := range []bool{false, true} {
		g, err := measureGrowth(n, shared)
		if err != nil {
			return err
		}
		t := target{}
		if n == 10000 {
			t = atMost(1.3)
		}
		b.add(fmt.Sprintf("growth_worst_1_to_%d_%s", n, images(shared)), g.worst, "ratio", "worst: "+g.what, t)
		for _, what := range columns {
			if ratio, ok := g.each[what]; ok {
				b.add(fmt.Sprintf("growth_%s_%s", strings.ReplaceAll(what, " ", "_"), images(shared)), ratio, "ratio", "", target{})
			}
		}
	}
	return nil
}

func (b *bench) ownRego(context.Context) error {
	own, bare, err := measureOwnRego(10)
	if err != nil {
		return err
	}
	b.add("own_rego_create_container_10", own.median()/bare.median(), "ratio",
		fmt.Sprintf("bare engine %s, ours %s", brief(bare.median()), brief(own.median())), atMost(1.05))
	return nil
}

func (b *bench) memory(ctx context.Context) error {
	r, err := newResident(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	for _, n := range b.sizes {
		times := 5
		if n > 1000 {
			times = 1
		}
		own, ownIdle, err := r.megabytes(ctx, "ours", n, times)
		if err != nil {
			return err
		}
		reference, referenceIdle, err := r.megabytes(ctx, "reference", n, min(times, 3))
		if err != nil {
			return err
		}
		size, ratio := target{}, target{}
		switch n {
		case 10:
			size = atMost(16)
		case 1000:
			ratio = atLeast(12)
		case 10000:
			ratio = atLeast(20)
		}
		b.add(fmt.Sprintf("resident_%d", n), ownIdle.median(), "MB", fmt.Sprintf("reference %.4g MB", referenceIdle.median()), size)
		b.add(fmt.Sprintf("resident_ratio_%d", n), referenceIdle.median()/ownIdle.median(), "times smaller", "after a collection", ratio)
		b.add(fmt.Sprintf("resident_as_loaded_%d", n), own.median(), "MB", fmt.Sprintf("reference %.4g MB", reference.median()), target{})
		b.add(fmt.Sprintf("resident_as_loaded_ratio_%d", n), reference.median()/own.median(), "times smaller", "as the processes are after load", ratio)
	}
	return nil
}
