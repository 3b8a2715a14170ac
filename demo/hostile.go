package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/shim/pod"
	podrun "github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/verity/layer"
)

// hostile is a host that is not content with what the policy allows. It drives the agent itself, because no honest program
// would send these requests. One VM serves all of its attacks: each must leave the agent as it was.
type hostile struct {
	*podrun.Sandbox
	cache      layer.Cache
	containers []*pod.Container
}

// bootHostile boots a VM whose HOST_DATA is the hash of the demo's policy; no policy is bound yet.
func (d *demo) bootHostile(ctx context.Context) error {
	o, err := d.hostileOptions()
	if err != nil {
		return err
	}
	p, err := pod.Load(podFile)
	if err != nil {
		return err
	}
	images, err := pod.OpenImages(d.images())
	if err != nil {
		return err
	}
	containers, err := p.Resolve(ctx, images)
	if err != nil {
		return err
	}
	cache, err := filepath.Abs(d.layers())
	if err != nil {
		return err
	}
	s, err := podrun.Boot(ctx, o)
	if err != nil {
		return err
	}
	d.hostile = &hostile{Sandbox: s, cache: layer.Cache{Dir: cache}, containers: containers}
	return nil
}

func (d *demo) hostileOptions() (podrun.Options, error) {
	image, err := filepath.Abs(d.guest())
	if err != nil {
		return podrun.Options{}, err
	}
	kernel, err := guest.VMLinux(filepath.Join(image, "vmlinuz"))
	if err != nil {
		return podrun.Options{}, err
	}
	dir, err := filepath.Abs(d.stateDir(hostileName))
	return podrun.Options{
		// The host name is the pod's: it is part of what the policy judges.
		Name: hostileName, Hostname: podName, Policy: d.policy, TEE: vm.TEEEmulated, Guest: image, Kernel: kernel, StateDir: dir,
		Log: &lines{each: d.out.theirs},
	}, err
}

// policyNotHostData hands the agent another policy than the one the VM was launched for, then the right one.
func (d *demo) policyNotHostData(ctx context.Context) error {
	d.out.note("the host launches a VM of its own for %s", d.file("policy.rego"))
	if err := d.bootHostile(ctx); err != nil {
		return err
	}
	other, err := os.ReadFile(d.file("other.rego"))
	if err != nil {
		return err
	}
	d.out.note("and hands it %s", d.file("other.rego"))
	got, want := sha256.Sum256(other), sha256.Sum256(d.policy)
	err = d.refused(setPolicy(ctx, d.hostile.Client(), other), "SetPolicyRequest", "HOST_DATA", hex.EncodeToString(got[:]), hex.EncodeToString(want[:]))
	if err != nil {
		return err
	}
	d.out.note("the policy that it was launched for is taken")
	return errors.Join(d.hostile.SetPolicy(ctx, d.policy), d.hostile.Open(ctx))
}

func setPolicy(ctx context.Context, client *podrun.Client, text []byte) error {
	_, err := client.SetPolicy(ctx, &api.SetPolicyRequest{Policy: string(text)})
	return err
}

// refused checks that an attack was refused by policy, for the reason that all the words name, and shows it the way `cloister`
// shows refusals.
func (d *demo) refused(err error, words ...string) error {
	if err == nil {
		return errors.New("the attack was not refused")
	}
	refusal, ok := podrun.AsRefusal(err)
	if !ok {
		return fmt.Errorf("not a refusal by policy: %w", err)
	}
	d.out.theirs("refused inside the VM: " + refusal.Sentence)
	d.out.theirs("  what to do: " + refusal.Next)
	return names(refusal.Sentence, words...)
}

// container is a fresh copy of one of the pod's containers, with its honest disks.
func (h *hostile) container(ctx context.Context, name string) (*podrun.Container, error) {
	for _, c := range h.containers {
		if c.Name == name {
			own := *c
			own.Args, own.Env, own.Layers = append([]string(nil), c.Args...), append([]string(nil), c.Env...), append([]pod.Layer(nil), c.Layers...)
			made, err := podrun.Convert(ctx, h.cache, []*pod.Container{&own})
			if err != nil {
				return nil, err
			}
			return made[0], nil
		}
	}
	return nil, fmt.Errorf("the pod has no container %q", name)
}

// create tries to create a container that must be refused. One that was created after all is removed again.
func (h *hostile) create(ctx context.Context, c *podrun.Container) error {
	if err := h.CreateContainer(ctx, c); err != nil {
		return err
	}
	return h.RemoveContainer(context.WithoutCancel(ctx), c)
}

func (d *demo) variableRefused(ctx context.Context) error {
	c, err := d.hostile.container(ctx, "nginx")
	if err != nil {
		return err
	}
	c.Env = append(c.Env, "LD_PRELOAD=/tmp/evil.so")
	d.out.note("the host adds LD_PRELOAD=/tmp/evil.so to nginx; this policy refuses what it does not list")
	return d.refused(d.hostile.create(ctx, c), "create_container", "env", "LD_PRELOAD")
}

func (d *demo) thirdContainer(ctx context.Context) error {
	c, err := d.hostile.container(ctx, "client")
	if err != nil {
		return err
	}
	c.Name, c.Args = "debug", []string{"/bin/sh"}
	d.out.note("the host adds a third container: a shell, from the client's own image")
	return d.refused(d.hostile.create(ctx, c), "create_container", "invalid command", "args")
}

// honestContainer is the control: what was refused was refused for what was changed, and left nothing behind.
func (d *demo) honestContainer(ctx context.Context) error {
	c, err := d.hostile.container(ctx, "nginx")
	if err != nil {
		return err
	}
	d.out.note("nginx as the policy has it, in the same VM after all the attacks")
	if err := d.hostile.CreateContainer(ctx, c); err != nil {
		return err
	}
	err = d.hostile.StartContainer(ctx, c)
	err = errors.Join(err, d.hostile.RemoveContainer(context.WithoutCancel(ctx), c), d.stopHostile(context.WithoutCancel(ctx)))
	if err == nil {
		d.out.note("it started, was removed, and the VM is gone")
	}
	return err
}

func (d *demo) stopHostile(ctx context.Context) error {
	if d.hostile == nil {
		return nil
	}
	s := d.hostile
	d.hostile = nil
	return s.Stop(ctx)
}

// variableDropped is the other way a policy can treat variables, shown by a container that prints what it got.
func (d *demo) variableDropped(ctx context.Context) error {
	if _, err := d.generate(ctx, envPodFile, "env.rego", "--drop-unlisted-env"); err != nil {
		return err
	}
	changed, err := d.addVariable()
	if err != nil {
		return err
	}
	d.out.note("%s is %s with LD_PRELOAD=/tmp/evil.so added by the host; this policy drops what it does not list", changed, envPodFile)
	out, err := d.succeed(ctx, d.runArgs(envPodName, changed, "env.rego")...)
	if err != nil {
		return err
	}
	env := containerLines(out, "env")
	if !hasPrefix(env, "GREETING=hello") {
		return errors.New("the container did not print the variable that the policy lists")
	}
	if strings.Contains(strings.Join(env, "\n"), "LD_PRELOAD") {
		return errors.New("the container got the variable that should have been dropped")
	}
	return nil
}

func (d *demo) addVariable() (string, error) {
	const listed = "- {name: GREETING, value: hello}\n"
	return d.copyPod(envPodFile, listed, listed+"    - {name: LD_PRELOAD, value: /tmp/evil.so}\n")
}

// runToEnd starts a created container, shows what it writes and returns it with its status.
func (d *demo) runToEnd(ctx context.Context, c *podrun.Container) (string, int, error) {
	if err := d.hostile.StartContainer(ctx, c); err != nil {
		return "", 0, err
	}
	var out bytes.Buffer
	mux := podrun.NewLineMux(&lines{each: func(line string) {
		d.out.theirs(line)
		out.WriteString(line + "\n")
	}})
	w := mux.Writer(c.Name + " | ")
	if err := d.hostile.Client().CopyOutput(ctx, podrun.Process{Container: c.ID}, w, w); err != nil {
		return "", 0, err
	}
	status, err := d.hostile.Wait(ctx, c)
	return out.String(), status, errors.Join(err, w.Close())
}
