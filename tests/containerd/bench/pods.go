package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// streamBytes is what one stream carries.
const streamBytes = 64 << 20

// pod has one container that stays and many that end at once: containers of a pod are started one after the other.
func (b *bench) pod(ctx context.Context, name string, ending int) (*corev1.Pod, error) {
	spec := &corev1.Pod{}
	spec.Name, spec.Namespace = name, "bench"
	spec.Spec.RestartPolicy = corev1.RestartPolicyNever
	spec.Annotations = map[string]string{
		"io.cloister.exec/main": fmt.Sprintf(`[["/usr/bin/true"], ["/usr/bin/dd", "if=/dev/zero", "bs=1M", "count=%d"]]`, streamBytes>>20),
	}
	add := func(name string, command ...string) {
		limits := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")}
		spec.Spec.Containers = append(spec.Spec.Containers, corev1.Container{
			Name: name, Image: bed.Ref("work"), Command: command, Resources: corev1.ResourceRequirements{Limits: limits},
		})
	}
	add("main", "/usr/bin/sleep", "100000")
	for i := range ending {
		add("end-"+strconv.Itoa(i), "/usr/bin/true")
	}
	policy, err := b.node.Programs().GeneratePolicy(ctx, spec, bed.ForCluster...)
	if err != nil {
		return nil, err
	}
	bed.SetPolicy(spec, policy)
	return spec, nil
}

// measureReady compares RunPodSandbox with the boot that it has in it, as the shim counted it: from the start of QEMU to the agent's first answer.
func (b *bench) measureReady(ctx context.Context) error {
	spec, err := b.pod(ctx, "ready", 0)
	if err != nil {
		return err
	}
	var ready, boot, resident sample
	for i := range b.pods + 1 {
		p, err := b.node.RunPod(ctx, spec, bed.HandlerCloister)
		if err != nil {
			return err
		}
		seconds, err := p.Metric(ctx, "cloister_shim_boot_seconds")
		memory, residentErr := p.Metric(ctx, "cloister_shim_resident_memory_bytes")
		if err := errors.Join(err, residentErr, p.Remove(ctx)); err != nil {
			return err
		}
		if i == 0 { // the first one reads everything from the disk
			continue
		}
		ready = append(ready, milliseconds(p.Ready))
		boot = append(boot, seconds*1000)
		resident = append(resident, memory/(1<<20))
	}
	own := fmt.Sprintf("boot to agent %.4g ms", boot.at(50))
	b.ratio("shim_pod_ready_ratio", ready, boot, own, atMost(1.1))
	b.add("shim_pod_ready_ms", ready.at(50), "ms", own, target{})
	b.add("shim_resident_mib", resident.at(50), "MiB", "", atMost(25))
	return nil
}

// measureContainers compares a container's start and a command in one with bare crun.
func (b *bench) measureContainers(ctx context.Context) (err error) {
	spec, err := b.pod(ctx, "containers", b.starts)
	if err != nil {
		return err
	}
	p, err := b.node.RunPod(ctx, spec, bed.HandlerCloister)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Remove(context.WithoutCancel(ctx))) }()
	for _, c := range spec.Spec.Containers {
		if err := p.Start(ctx, c.Name); err != nil {
			return err
		}
		if c.Name == "main" {
			p.Starts = nil // the first one is as no other
			continue
		}
		if err := p.RemoveContainer(ctx, c.Name); err != nil {
			return err
		}
	}
	var start, exec, bareStart, bareExec sample
	for _, took := range p.Starts {
		start = append(start, milliseconds(took))
	}
	for i := range b.execs + 1 {
		begin := time.Now()
		if _, _, code, err := p.ExecSync(ctx, "main", "/usr/bin/true"); err != nil || code != 0 {
			return fmt.Errorf("exec: code %d: %w", code, err)
		}
		if i > 0 {
			exec = append(exec, milliseconds(time.Since(begin)))
		}
	}
	for _, took := range b.reference.Start {
		bareStart = append(bareStart, milliseconds(took))
	}
	for _, took := range b.reference.Exec {
		bareExec = append(bareExec, milliseconds(took))
	}
	b.latency("start", start, bareStart, "crun create and start", 1.5)
	b.latency("exec", exec, bareExec, "crun exec", 1.3)
	memory, err := p.Metric(ctx, "cloister_shim_resident_memory_bytes")
	if err != nil {
		return err
	}
	b.add("shim_resident_used_mib", memory/(1<<20), "MiB", fmt.Sprintf("after %d containers and %d commands", len(start), len(exec)), atMost(25))
	return nil
}

func (b *bench) latency(what string, of, bare sample, reference string, bound float64) {
	for _, p := range []int{50, 99} {
		name := fmt.Sprintf("shim_%s_p%d", what, p)
		text := fmt.Sprintf("%s p%d %.4g ms", reference, p, bare.at(p))
		t := target{}
		if p == 50 {
			t = atMost(bound)
		}
		b.add(name+"_ratio", of.at(p)/bare.at(p), "ratio", text, t)
		b.add(name+"_ms", of.at(p), "ms", text, target{})
	}
}

// measureStream reads a command's output through CRI's streaming server.
func (b *bench) measureStream(ctx context.Context) (err error) {
	spec, err := b.pod(ctx, "stream", 0)
	if err != nil {
		return err
	}
	p, err := b.node.Run(ctx, spec, bed.HandlerCloister)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Remove(context.WithoutCancel(ctx))) }()
	var rate sample
	for range 3 {
		var n counter
		begin := time.Now()
		code, err := p.Exec(ctx, "main", bed.Streams{Stdout: &n, Stderr: new(counter)}, "/usr/bin/dd", "if=/dev/zero", "bs=1M", fmt.Sprintf("count=%d", streamBytes>>20))
		if err != nil || code != 0 || n != streamBytes {
			return fmt.Errorf("stream: got %d bytes, code %d: %w", n, code, err)
		}
		rate = append(rate, float64(n)/time.Since(begin).Seconds())
	}
	b.add("shim_stdout_ratio", rate.at(50)/b.reference.Serial, "ratio", fmt.Sprintf("serial port %.4g MB/s", b.reference.Serial/1e6), target{})
	return nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// measureGrowth starts more and more pods beside each other.
func (b *bench) measureGrowth(ctx context.Context) (err error) {
	spec, err := b.pod(ctx, "growth", 0)
	if err != nil {
		return err
	}
	var pods []*bed.Pod
	defer func() {
		for _, p := range pods {
			err = errors.Join(err, p.Remove(context.WithoutCancel(ctx)))
		}
	}()
	var ready sample
	var memory float64
	for i := range b.most {
		own := spec.DeepCopy()
		own.Namespace = "growth-" + strconv.Itoa(i)
		p, err := b.node.Run(ctx, own, bed.HandlerCloister)
		if err != nil {
			return err
		}
		pods = append(pods, p)
		ready = append(ready, milliseconds(p.Ready))
		resident, err := residentOf(p)
		if err != nil {
			return err
		}
		memory += resident
		progress("  pods %d: ready after %.4g ms, %.4g MiB resident in all", i+1, milliseconds(p.Ready), memory)
	}
	first := fmt.Sprintf("the first %.4g ms", ready[0])
	b.add(fmt.Sprintf("shim_pods_%d_ready_ratio", b.most), ready[len(ready)-1]/ready[0], "ratio", first, target{})
	b.add("shim_pod_resident_mib", memory/float64(len(pods)), "MiB", "shim and QEMU of a pod", target{})
	return nil
}

// residentOf is what shim and QEMU of a pod have in memory, in MiB.
func residentOf(p *bed.Pod) (float64, error) {
	shim, vmm, err := p.Processes()
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, pid := range []int{shim, vmm} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(string(text), "VmRSS:")
		var kib float64
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			return 0, fmt.Errorf("resident memory of process %d: %w", pid, err)
		}
		sum += kib / 1024
	}
	return sum, nil
}
