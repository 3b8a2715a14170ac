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
	"syscall"

	"github.com/containerd/log"

	"github.com/cloister-cc/cloister/guest"
)

const exitUsage = 2

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal takes everything down in order; a second one ends the program at once.
	context.AfterFunc(ctx, stop)
	// ttrpc logs answers to calls that were given up, as happens whenever a pod is ended.
	log.L.Logger.SetOutput(io.Discard)
	os.Exit(run(ctx, os.Stdout, os.Args[1:]))
}

func run(ctx context.Context, stdout io.Writer, args []string) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	dir := flags.String("o", "out", "directory to build in, relative to the source tree")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		if err == nil {
			fmt.Fprintf(os.Stderr, "demo: unexpected argument %q\n", flags.Arg(0))
		}
		return exitUsage
	}
	d, err := newDemo(newOutput(stdout), *dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo: "+err.Error())
		return 1
	}
	results := play(ctx, d.out, d.steps())
	d.out.summary(results)
	if count(results) < len(results) {
		return 1
	}
	return 0
}

// demo is one run: where things are, and what earlier steps left for later ones.
type demo struct {
	out *output
	// dir is where everything is built, as it shows in command lines; the working directory is the source tree.
	dir string

	policy []byte // of demo/pod.yaml
	nonce  string // in hex
	roots  string // directory with the software processor's certificates

	pod     *process // `cloister run`, while the pod runs
	hostile *hostile // the VM that the attacks share
}

// newDemo goes to the source tree, so that command lines are short and can be copied.
func newDemo(out *output, dir string) (*demo, error) {
	wd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	source := guest.FindSource(wd)
	if source == "" {
		return nil, fmt.Errorf("%q is not inside a Cloister source tree", wd)
	}
	if err := os.Chdir(source); err != nil {
		return nil, err
	}
	d := &demo{out: out, dir: filepath.Clean(dir)}
	return d, os.MkdirAll(d.file(""), 0o755)
}

// Names of what the demo makes. Relative, as a user would write them.
func (d *demo) guest() string           { return filepath.Join(d.dir, "guest") }
func (d *demo) images() string          { return filepath.Join(d.dir, "images") }
func (d *demo) layers() string          { return filepath.Join(d.dir, "layers") }
func (d *demo) file(name string) string { return filepath.Join(d.dir, "demo", name) }

// stateDir is where a pod's VM lives while it runs. It is not the default one: a pod of the same name that the user runs besides
// is none of the demo's business.
func (d *demo) stateDir(pod string) string { return d.file("vm-" + pod) }

const (
	cloister   = "bin/cloister"
	podFile    = "demo/pod.yaml"
	envPodFile = "demo/env.yaml"
)

// Names of the pods.
const (
	podName     = "demo"
	envPodName  = "env"
	hostileName = "hostile"
)

// steps is the whole demo. A step is taken only if the one it comes after did what it should.
func (d *demo) steps() []step {
	return []step{
		{name: "programs are installed", do: d.checkPrograms},
		{name: "build cloister", limit: buildLimit, after: "programs are installed", do: d.build},
		{name: "build the guest image", limit: buildLimit, after: "build cloister", do: d.buildGuest},
		{name: "make two OCI images", limit: buildLimit, after: "build cloister", do: d.makeImages},
		{name: "write the policy", after: "make two OCI images", do: d.writePolicy},
		{name: "make the software SNP processor's keys", after: "build cloister", do: d.makeKeys},

		{name: "run the pod, fetch nginx's page", after: "write the policy", do: d.runPod},
		{name: "report over a nonce", after: "run the pod, fetch nginx's page", do: d.takeEvidence},
		{name: "verify the evidence", after: "report over a nonce", do: d.verifyEvidence},
		{name: "evidence for another nonce or policy", after: "verify the evidence", do: d.verifyOther},
		{name: "exec that the policy lists", after: "run the pod, fetch nginx's page", do: d.execListed},
		{name: "attack: exec it does not list", after: "exec that the policy lists", do: d.execUnlisted},
		{name: "attack: a second policy", after: "run the pod, fetch nginx's page", do: d.secondPolicy},
		{name: "end the pod", after: "run the pod, fetch nginx's page", do: d.endPod},

		{name: "attack: policy is not HOST_DATA's", after: "write the policy", do: d.policyNotHostData},
		{name: "attack: one bit of a layer's hash tree", after: "attack: policy is not HOST_DATA's", do: d.flippedTree},
		{name: "attack: one bit of a layer's data", after: "attack: policy is not HOST_DATA's", do: d.flippedData},
		{name: "attack: a variable not allowed", after: "attack: policy is not HOST_DATA's", do: d.variableRefused},
		{name: "attack: a third container", after: "attack: policy is not HOST_DATA's", do: d.thirdContainer},
		{name: "attack: an image not in the policy", after: "attack: policy is not HOST_DATA's", do: d.foreignImage},
		{name: "the honest container still starts", after: "attack: policy is not HOST_DATA's", do: d.honestContainer},
		{name: "attack: a variable dropped", after: "write the policy", do: d.variableDropped},

		{name: "nothing is left", always: true, do: d.tearDown},
	}
}
