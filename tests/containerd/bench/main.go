// Command bench measures pods under containerd; `make bench-shim` runs it. Times differ between machines and minutes, so every metric that can be is a ratio to the same
// work without containerd, shim and agent: the VM's own boot, bare crun in such a VM, the bare serial port. It ends with one line a metric:
//
//	BENCH {"metric":"shim_exec_ratio","value":1.21,"unit":"ratio","reference":"crun exec 180 ms","target":"<= 1.3","ok":true}
//
// A missed target is reported, not an error: the exit code says whether the measuring worked.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run of the program.
type bench struct {
	node      *bed.Node
	reference reference
	metrics   []metric

	pods, execs, starts, most int
}

// reference is what tests/bench -reference writes.
type reference struct {
	Start  []time.Duration `json:"start"`
	Exec   []time.Duration `json:"exec"`
	Serial float64         `json:"serial"`
}

func run(ctx context.Context, args []string) (err error) {
	var b bench
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&b.pods, "pods", 7, "sandboxes started one after the other")
	flags.IntVar(&b.execs, "execs", 100, "commands executed")
	flags.IntVar(&b.starts, "starts", 30, "containers started")
	flags.IntVar(&b.most, "most", 8, "pods at a time at the end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	klog.SetLogger(logr.Discard())
	if missing := bed.Missing(); missing != "" {
		return fmt.Errorf("missing on this machine: %s", missing)
	}
	programs, err := bed.Build(ctx, progress)
	if err != nil {
		return err
	}
	if err := b.measureReference(ctx, programs); err != nil {
		return err
	}
	if b.node, err = bed.Start(ctx, bed.Options{Programs: programs}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.node.Stop(context.WithoutCancel(ctx))) }()
	for _, g := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"sandboxes", b.measureReady}, {"containers", b.measureContainers}, {"streams", b.measureStream}, {"pods at a time", b.measureGrowth},
	} {
		progress("measuring: %s", g.name)
		if err := g.do(ctx); err != nil {
			b.report(os.Stdout)
			return fmt.Errorf("measure %s: %w", g.name, err)
		}
	}
	b.report(os.Stdout)
	return nil
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// measureReference has the benchmark of the agent measure the same things without a pod.
func (b *bench) measureReference(ctx context.Context, programs *bed.Programs) error {
	dir, err := os.MkdirTemp("", "clbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "reference.json")
	progress("measuring: bare crun and serial port, in a VM of the same image")
	if err := programs.Reference(ctx, path, strconv.Itoa(b.starts)); err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, &b.reference)
}
