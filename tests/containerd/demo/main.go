// Command demo shows confidential pods under a real containerd; `make demo-containerd` runs it.
//
// It builds containerd 2.4.2, the CNI plugins and Cloister's own programs, starts them as a node of their own, and does what its users do: `ctr run`, and a pod of two
// containers through CRI with the requests that kubelet sends. Then it plays the host that cannot be trusted, and shows each attack refused with the reason as `kubectl
// describe pod` shows it. What is left on the machine at the end counts as a failure.
//
// The emulated processor proves nothing about hardware.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/containerd/log"
	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal takes everything down in order; a second one ends the program at once.
	context.AfterFunc(ctx, stop)
	quiet()
	d := &demo{out: newOutput(os.Stdout)}
	results := play(ctx, d.out, d.steps())
	d.out.summary(results)
	if count(results) < len(results) {
		os.Exit(1)
	}
}

// quiet keeps the CRI client's own log of each error off the screen: the demo shows what matters of it.
func quiet() {
	log.L.Logger.SetOutput(io.Discard)
	klog.SetLogger(logr.Discard())
}

// demo is one run: what earlier steps left for later ones.
type demo struct {
	out      *output
	programs *bed.Programs
	node     *bed.Node
	before   bed.Held
	policy   []byte // of the pod
	pod      *bed.Pod
}

func (d *demo) steps() []step {
	const node, pod = "start a node", "run the pod through CRI"
	return []step{
		{name: "programs are installed", do: d.check},
		{name: "build containerd, Cloister, guest, images", limit: buildLimit, after: "programs are installed", do: d.build},
		{name: node, after: "build containerd, Cloister, guest, images", do: d.start},
		{name: "ctr run", after: node, do: d.ctrRun},
		{name: "attack: ctr runs another command", after: "ctr run", do: d.ctrOther},
		{name: "write the pod's policy", after: node, do: d.writePolicy},
		{name: pod, after: "write the pod's policy", do: d.runPod},
		{name: "what kubelet put there", after: pod, do: d.showFiles},
		{name: "one container reaches the other", after: pod, do: d.fetch},
		{name: "kubectl port-forward", after: pod, do: d.forward},
		{name: "kubectl exec -it", after: pod, do: d.terminal},
		{name: "attack: exec that is not listed", after: pod, do: d.execOther},
		{name: "attack: a bit of a layer on the node's disk", after: pod, do: d.tamper},
		{name: "stop and remove the pod", after: pod, do: d.removePod},
		{name: "attack: a pod without its policy", after: node, do: d.noPolicy},
		{name: "nothing is left", always: true, do: d.tearDown},
	}
}

func (d *demo) check(context.Context) error {
	if missing := bed.Missing(); missing != "" {
		return fmt.Errorf("missing: %s", missing)
	}
	return nil
}

func (d *demo) build(ctx context.Context) (err error) {
	d.programs, err = bed.Build(ctx, d.out.note)
	return err
}

func (d *demo) start(ctx context.Context) (err error) {
	if d.node, err = bed.Start(ctx, bed.Options{Programs: d.programs}); err != nil {
		return err
	}
	d.out.note("containerd, cloister-snapshotter and CNI run with all they have below %s", d.node.Dir)
	d.before, err = d.node.Held(ctx)
	return err
}

// tearDown ends what runs, also after a failure, and then looks for what should not be there any more.
func (d *demo) tearDown(ctx context.Context) error {
	if d.node == nil {
		return nil
	}
	var errs []error
	if d.pod != nil {
		d.out.note("the pod still runs: removing it")
		errs = append(errs, d.pod.Remove(ctx))
	}
	errs = append(errs, d.node.RemoveAll(ctx))
	if d.before != nil {
		errs = append(errs, d.node.AwaitHeld(ctx, d.before))
	}
	dir := d.node.Dir
	errs = append(errs, d.node.Stop(ctx))
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("directory %s is still there", dir))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.out.note("no process, interface, namespace, mount, cgroup, socket, loop device, snapshot or file of the pods")
	return nil
}
