package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cloister-cc/cloister/shim/vm/qemu"
)

// programs are what the demo needs of the machine, with the Debian package that has each; hack/setup.sh installs the same.
var programs = []struct{ program, pkg string }{
	{"dpkg-deb", "dpkg"},
	{"xz", "xz-utils"},
	{qemu.Program, "qemu-system-x86"},
}

func (d *demo) checkPrograms(context.Context) error {
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("go is not in the PATH: run `make demo`, which fetches it")
	}
	var missing []string
	for _, p := range programs {
		path, err := exec.LookPath(p.program)
		if err != nil {
			missing = append(missing, p.pkg)
			continue
		}
		d.out.note("%s", path)
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing programs; run: apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	return nil
}

func (d *demo) build(ctx context.Context) error {
	_, err := d.succeed(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", cloister, "./tools/cloister")
	return err
}

func (d *demo) buildGuest(ctx context.Context) error {
	_, err := d.succeed(ctx, cloister, "guest", "build", "--dev", "-o", d.guest())
	return err
}

func (d *demo) makeImages(ctx context.Context) error {
	_, err := d.succeed(ctx, "go", "run", "./demo/images", "-o", d.images())
	return err
}

// writePolicy writes the pod's policy, and one more that differs in a single line: it would let the host read the agent's log.
func (d *demo) writePolicy(ctx context.Context) error {
	text, err := d.generate(ctx, podFile, "policy.rego")
	if err != nil {
		return err
	}
	if _, err := d.generate(ctx, podFile, "other.rego", "--allow-runtime-logging"); err != nil {
		return err
	}
	d.policy = text
	d.out.note("the policy's SHA-256, which will be HOST_DATA: %x", sha256.Sum256(text))
	return nil
}

func (d *demo) generate(ctx context.Context, pod, out string, more ...string) ([]byte, error) {
	args := append([]string{cloister, "policy", "generate", "-f", pod, "--images", d.images(), "--cache", d.layers(), "-o", d.file(out)}, more...)
	if _, err := d.succeed(ctx, args...); err != nil {
		return nil, err
	}
	return os.ReadFile(d.file(out))
}

func (d *demo) makeKeys(ctx context.Context) error {
	out, err := d.succeed(ctx, cloister, "dev", "tee", "init", "--json")
	if err != nil {
		return err
	}
	var made struct {
		Roots string `json:"roots"`
	}
	if err := json.Unmarshal([]byte(strings.Join(out, "\n")), &made); err != nil || made.Roots == "" {
		return fmt.Errorf("no directory of roots in the answer: %w", err)
	}
	d.roots = made.Roots
	return nil
}

// zeroNonce stands in demo/pod.yaml for the nonce that a verifier chooses.
var zeroNonce = strings.Repeat("0", 64)

// writePod puts a fresh nonce into a copy of the pod. The policy was written from the original: it allows any nonce, and nothing
// else to change.
func (d *demo) writePod() (string, error) {
	var nonce [32]byte
	rand.Read(nonce[:])
	d.nonce = hex.EncodeToString(nonce[:])
	return d.copyPod(podFile, zeroNonce, d.nonce)
}

// copyPod copies a pod document with one change, which must fit in exactly one place.
func (d *demo) copyPod(name, from, to string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	changed, err := replaceOnce(string(text), from, to)
	if err != nil {
		return "", fmt.Errorf("change %s: %w", name, err)
	}
	path := d.file(filepath.Base(name))
	return path, os.WriteFile(path, []byte(changed), 0o644)
}

func replaceOnce(text, from, to string) (string, error) {
	if n := strings.Count(text, from); n != 1 {
		return "", fmt.Errorf("%q: found %d times, want once", from, n)
	}
	return strings.Replace(text, from, to, 1), nil
}
