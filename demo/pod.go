package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	podrun "github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
	"github.com/cloister-cc/cloister/snp"
)

// runPod runs the pod in the background, until the client has shown the page that it got from nginx.
func (d *demo) runPod(ctx context.Context) error {
	pod, err := d.writePod()
	if err != nil {
		return err
	}
	d.out.note("%s is demo/pod.yaml with a fresh nonce; the policy is the one of demo/pod.yaml", pod)
	// It outlives this step: endPod or tearDown ends it.
	d.pod, err = d.start(context.WithoutCancel(ctx), all, false, d.runArgs(podName, pod, "policy.rego")...)
	if err != nil {
		return err
	}
	return d.pod.await(ctx, "the page", func(lines []string) bool {
		return strings.Contains(strings.Join(containerLines(lines, "client"), "\n"), "Hello from inside a confidential VM")
	})
}

func (d *demo) runArgs(name, pod, policy string) []string {
	return []string{
		cloister, "run", pod, "--policy", d.file(policy), "--images", d.images(), "--cache", d.layers(), "--guest", d.guest(),
		"--state-dir", d.stateDir(name),
	}
}

// takeEvidence takes the bundle out of the client's log.
func (d *demo) takeEvidence(ctx context.Context) error {
	const ended = "cloister: client ended with status "
	err := d.pod.await(ctx, "the evidence", func(lines []string) bool {
		_, found := between(containerLines(lines, "client"), beginMark, endMark)
		return found && hasPrefix(lines, ended)
	})
	if err != nil {
		return err
	}
	lines := d.pod.output()
	if !hasPrefix(lines, ended+"0") {
		return errors.New("the client did not end with status 0")
	}
	text, _ := between(containerLines(lines, "client"), beginMark, endMark)
	bundle, err := snp.ParseBundle([]byte(text))
	if err != nil {
		return err
	}
	if err := d.checkReport(bundle.Report); err != nil {
		return err
	}
	d.out.note("HOST_DATA is the policy's SHA-256, REPORT_DATA the nonce's; the bundle is in %s", d.file("bundle.json"))
	return os.WriteFile(d.file("bundle.json"), []byte(text), 0o644)
}

// checkReport compares with what the demo knows itself; the verifier comes next and knows nothing of the demo.
func (d *demo) checkReport(raw []byte) error {
	report, err := snp.ParseReport(raw)
	if err != nil {
		return err
	}
	nonce, err := hex.DecodeString(d.nonce)
	if err != nil {
		return err
	}
	if want := sha256.Sum256(d.policy); report.HostData != want {
		return fmt.Errorf("report: HOST_DATA got %x, want %x", report.HostData, want)
	}
	if want := sha256.Sum256(nonce); !bytes.Equal(report.ReportData[:32], want[:]) {
		return fmt.Errorf("report: REPORT_DATA got %x, want %x and zeros", report.ReportData, want)
	}
	return nil
}

func (d *demo) verifyArgs(policy, nonce string) []string {
	return []string{
		cloister, "attest", "verify", d.file("bundle.json"), "--policy", d.file(policy), "--nonce", nonce,
		"--roots", d.roots, "--guest", d.guest(),
	}
}

func (d *demo) verifyEvidence(ctx context.Context) error {
	out, err := d.succeed(ctx, d.verifyArgs("policy.rego", d.nonce)...)
	if err != nil {
		return err
	}
	return names(strings.Join(out, "\n"), "accepted", "TEST ONLY")
}

// verifyOther shows that the verdict hangs on the nonce and the policy.
func (d *demo) verifyOther(ctx context.Context) error {
	d.out.note("the rows that are right are left out here, and the list of what was not asked")
	wrong := func(line string) bool {
		return !strings.HasPrefix(line, "ok ") && !strings.HasPrefix(line, "not asked: ")
	}
	if err := d.refuse(ctx, exitPolicy, []string{"refused: report_data"}, wrong, d.verifyArgs("policy.rego", zeroNonce)...); err != nil {
		return err
	}
	return d.refuse(ctx, exitPolicy, []string{"refused: host_data"}, wrong, d.verifyArgs("other.rego", d.nonce)...)
}

func (d *demo) execArgs(argv ...string) []string {
	return append([]string{cloister, "exec", "--state-dir", d.stateDir(podName), podName, "nginx", "--"}, argv...)
}

func (d *demo) execListed(ctx context.Context) error {
	out, err := d.succeed(ctx, d.execArgs("/usr/sbin/nginx", "-t")...)
	if err != nil {
		return err
	}
	return names(strings.Join(out, "\n"), "test is successful")
}

// execUnlisted differs in one letter: -T prints the configuration.
func (d *demo) execUnlisted(ctx context.Context) error {
	return d.refuse(ctx, exitRefused, []string{"ExecProcessRequest is blocked by policy", "exec_in_container", "invalid command", "args", "container nginx"},
		all, d.execArgs("/usr/sbin/nginx", "-T")...)
}

// secondPolicy hands the running VM one more policy, through a port of its own.
func (d *demo) secondPolicy(ctx context.Context) error {
	d.out.note("the host sends %s to the agent of the running pod", d.file("other.rego"))
	other, err := os.ReadFile(d.file("other.rego"))
	if err != nil {
		return err
	}
	conn, err := qemu.DialPort(ctx, d.stateDir(podName), 1)
	if err != nil {
		return err
	}
	client := podrun.NewClient(conn)
	defer client.Close()
	return d.refused(setPolicy(ctx, client, other), "SetPolicyRequest", "already bound")
}

// endPod interrupts the run, as Ctrl-C would. That is how a pod with a server ends: exit code 0, nothing left.
func (d *demo) endPod(context.Context) error {
	d.out.note("Ctrl-C")
	p := d.pod
	d.pod = nil
	if err := p.interrupt(); err != nil {
		return fmt.Errorf("end the pod: %w", err)
	}
	return d.gone(podName)
}
