package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

//go:embed pod.yaml
var podText []byte

const page = "Hello from inside a confidential VM"

// ctrScript is what `ctr run` runs.
const ctrScript = "uname -s; cat"

func (d *demo) ctr(ctx context.Context, stdin string, name string, command ...string) (out, errOut string, code int, err error) {
	spec := &corev1.Pod{}
	spec.Name = "ctr"
	spec.Spec.RestartPolicy = corev1.RestartPolicyNever
	spec.Spec.Containers = []corev1.Container{{Name: "main", Image: bed.Ref("work"), Command: []string{"/usr/bin/sh", "-c", ctrScript}}}
	policy, err := d.programs.GeneratePolicy(ctx, spec)
	if err != nil {
		return "", "", 0, err
	}
	args := append(bed.CtrRunArgs(base64.StdEncoding.EncodeToString(policy), spec.Name, bed.Ref("work"), name), command...)
	d.out.command("ctr run --rm --snapshotter cloister --runtime io.containerd.cloister.v2 --annotation "+bed.AnnotationKataPolicy+"=...", bed.Ref("work"), name, fmt.Sprintf("%q", command))
	out, errOut, code, err = d.node.Ctr(ctx, strings.NewReader(stdin), args...)
	d.out.theirs(out + errOut)
	return out, errOut, code, err
}

func (d *demo) ctrRun(ctx context.Context) error {
	d.out.command("ctr images pull --snapshotter cloister", bed.Ref("work"))
	if err := d.node.CtrPull(ctx, "work"); err != nil {
		return err
	}
	out, _, code, err := d.ctr(ctx, "through stdin\n", "honest", "/usr/bin/sh", "-c", ctrScript)
	if err != nil || code != 0 || out != "Linux\nthrough stdin\n" {
		return fmt.Errorf("got %q, code %d: %w", out, code, err)
	}
	return nil
}

func (d *demo) ctrOther(ctx context.Context) error {
	_, errOut, code, err := d.ctr(ctx, "", "other", "/usr/bin/id")
	if err != nil {
		return err
	}
	if code == 0 {
		return errors.New("the command ran")
	}
	return names(errOut, "blocked by policy", "create_container")
}

func (d *demo) writePolicy(ctx context.Context) error {
	spec, err := bed.ReadPod(podText)
	if err != nil {
		return err
	}
	d.out.command("cloister policy generate -f tests/containerd/demo/pod.yaml --target cluster --images", d.programs.Images)
	if d.policy, err = d.programs.GeneratePolicy(ctx, spec, bed.ForCluster...); err != nil {
		return err
	}
	d.out.note("the policy's SHA-256, which will be HOST_DATA: %x", sha256.Sum256(d.policy))
	return nil
}

func (d *demo) runPod(ctx context.Context) error {
	spec, err := bed.ReadPod(podText)
	if err != nil {
		return err
	}
	bed.SetPolicy(spec, d.policy)
	d.out.note("CRI: RunPodSandbox, handler %q; the policy is in the annotation %s", bed.HandlerCloister, bed.AnnotationKataPolicy)
	if d.pod, err = d.node.RunPod(ctx, spec, bed.HandlerCloister); err != nil {
		return err
	}
	for _, c := range spec.Spec.Containers {
		d.out.note("CRI: PullImage, CreateContainer, StartContainer: %s", c.Name)
		if err := d.pod.Start(ctx, c.Name); err != nil {
			return err
		}
	}
	return nil
}

// exec runs a command that must end with 0.
func (d *demo) exec(ctx context.Context, args ...string) (string, error) {
	d.out.command("[CRI ExecSync, as kubectl exec] demo/client:", fmt.Sprintf("%q", args))
	out, errOut, code, err := d.pod.ExecSync(ctx, "client", args...)
	d.out.theirs(out + errOut)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code got %d, want 0", code)
	}
	return out, err
}

func (d *demo) showFiles(ctx context.Context) error {
	out, err := d.exec(ctx, "/usr/bin/sh", "-c", "cat /etc/hostname; grep nameserver /etc/resolv.conf; ls /var/run/secrets/kubernetes.io/serviceaccount")
	if err != nil {
		return err
	}
	return names(out, "demo", "nameserver 10.", "token", "ca.crt")
}

func (d *demo) fetch(ctx context.Context) error {
	out, err := d.exec(ctx, "/usr/bin/sh", "-c", "until wget -q -O - http://127.0.0.1:8080/; do sleep 0.2; done")
	if err != nil {
		return err
	}
	return names(out, page)
}

func (d *demo) forward(ctx context.Context) error {
	d.out.command("[CRI PortForward, as kubectl port-forward] demo :8080")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addr, err := d.pod.Forward(ctx, 8080)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	d.out.theirs(string(body))
	return names(string(body), page)
}

func (d *demo) terminal(ctx context.Context) error {
	d.out.command("[CRI Exec, as kubectl exec -it] demo/client: /usr/bin/sh")
	var out bytes.Buffer
	code, err := d.pod.Exec(ctx, "client", bed.Streams{Stdin: strings.NewReader("id -un; exit 6\n"), Stdout: &out, TTY: true}, "/usr/bin/sh")
	d.out.theirs(out.String())
	if err != nil || code != 6 {
		return fmt.Errorf("exit code got %d, want 6: %w", code, err)
	}
	return names(out.String(), "demo")
}

func (d *demo) execOther(ctx context.Context) error {
	d.out.command("[CRI ExecSync, as kubectl exec] demo/client: /usr/bin/id")
	_, _, _, err := d.pod.ExecSync(ctx, "client", "/usr/bin/id")
	return d.refused(err, "exec_in_container")
}

// tamper changes the top of the hash tree of each layer on the disk of the node, and starts one more container from them.
func (d *demo) tamper(ctx context.Context) error {
	disks, err := d.node.Disks()
	if err != nil {
		return err
	}
	spec, err := bed.ReadPod(podText)
	if err != nil {
		return err
	}
	bed.SetPolicy(spec, d.policy)
	spec.Namespace = "attacked"
	d.out.note("the host changes the top of the hash tree of %d converted layers on its disk, and starts the pod once more", len(disks))
	if err := flipAll(disks); err != nil {
		return err
	}
	made, err := d.node.Run(ctx, spec, bed.HandlerCloister)
	if err == nil {
		return errors.Join(errors.New("the pod started"), made.Remove(ctx))
	}
	d.out.note("and changes them back")
	return errors.Join(d.refused(err, "deviceHash"), flipAll(disks))
}

// flipAll is its own inverse.
func flipAll(disks []string) error {
	for _, disk := range disks {
		if err := bed.FlipTree(disk); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) removePod(ctx context.Context) error {
	p := d.pod
	d.pod = nil
	return p.Remove(ctx)
}

func (d *demo) noPolicy(ctx context.Context) error {
	spec, err := bed.ReadPod(podText)
	if err != nil {
		return err
	}
	d.out.note("the host leaves the policy out")
	made, err := d.node.Run(ctx, spec, bed.HandlerCloister)
	if err == nil {
		return errors.Join(errors.New("the pod started"), made.Remove(ctx))
	}
	d.out.theirs(err.Error())
	return names(err.Error(), "policy")
}

// refused checks that an attack was refused by policy, in one line, for the reason that all the words name.
func (d *demo) refused(err error, words ...string) error {
	if err == nil {
		return errors.New("the attack was not refused")
	}
	d.out.theirs(err.Error())
	return names(err.Error(), append([]string{"blocked by policy"}, words...)...)
}

// names checks that a text has all the words.
func names(text string, words ...string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("%q does not name %q", text, w)
		}
	}
	return nil
}
