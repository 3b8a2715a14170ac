package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/boot"
)

const preparedID = "prepared"

// prepare has the agent create the container, so that its layers are mounted and its specification is known. It is never
// started: the bare runtime starts others over the same root file system.
func (a *agent) prepare(ctx context.Context, m *api.CreateContainerRequest) (*specs.Spec, error) {
	r, err := decode(m, preparedID)
	if err != nil {
		return nil, err
	}
	if err := a.sandbox.CreateContainer(ctx, r); err != nil {
		return nil, err
	}
	return a.runtime.spec, nil
}

// bare runs crun without an agent around it, but through the same reaper.
type bare struct {
	reaper *boot.Reaper
	dir    string
	spec   specs.Spec
	sealed string // path of a sealed copy of crun
}

func newBare(reaper *boot.Reaper, spec *specs.Spec) (*bare, error) {
	b := &bare{reaper: reaper, dir: "/run/bare", spec: *spec}
	linux := *spec.Linux
	linux.CgroupsPath = "/bare"
	b.spec.Linux = &linux
	if err := os.MkdirAll(filepath.Join(b.dir, "bundle"), 0o700); err != nil {
		return nil, err
	}
	text, err := json.Marshal(&b.spec)
	if err != nil {
		return nil, err
	}
	if b.sealed, err = sealCrun(); err != nil {
		return nil, err
	}
	return b, os.WriteFile(filepath.Join(b.dir, "bundle/config.json"), text, 0o600)
}

// sealCrun copies crun into memory that nobody can change. Its descriptor stays open.
func sealCrun() (string, error) {
	text, err := os.ReadFile(crunPath)
	if err != nil {
		return "", err
	}
	fd, err := unix.MemfdCreate("crun", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return "", os.NewSyscallError("memfd_create", err)
	}
	if n, err := unix.Write(fd, text); err != nil || n < len(text) {
		return "", fmt.Errorf("copy crun: %d of %d bytes: %w", n, len(text), err)
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	return fmt.Sprintf("/proc/self/fd/%d", fd), os.NewSyscallError("fcntl", err)
}

func (b *bare) command(ctx context.Context, crun string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, crun, append([]string{
		"--root", filepath.Join(b.dir, "state"), "--log", filepath.Join(b.dir, "log"), "--log-format", "json", "--cgroup-manager=cgroupfs",
	}, args...)...)
}

// do runs one command of crun to its end.
func (b *bare) do(ctx context.Context, cmd *exec.Cmd) error {
	child, err := b.reaper.Start(cmd)
	if err != nil {
		return err
	}
	return b.finish(ctx, child)
}

func (b *bare) finish(ctx context.Context, child *boot.Child) error {
	status, err := child.Wait(ctx)
	if err == nil && status != 0 {
		text, _ := os.ReadFile(filepath.Join(b.dir, "log"))
		err = fmt.Errorf("crun: status %#x: %.400s", int(status), text)
	}
	return err
}

// output is a pipe for a container's output and the time of its first byte.
type output struct {
	r, w *os.File
}

func newOutput() (*output, error) {
	r, w, err := os.Pipe()
	return &output{r: r, w: w}, err
}

func (o *output) first() (time.Time, error) {
	var b [1]byte
	n, err := o.r.Read(b[:])
	if err == nil && n == 0 {
		err = errors.New("the container ended without a word")
	}
	return time.Now(), err
}

func (o *output) close() { o.r.Close(); o.w.Close() }

// run is `crun run` of the prepared bundle, to the first byte.
func (b *bare) run(ctx context.Context, crun, id string) (time.Duration, error) {
	o, err := newOutput()
	if err != nil {
		return 0, err
	}
	defer o.close()
	begin := time.Now()
	cmd := b.command(ctx, crun, "run", "--no-new-keyring", "--bundle", filepath.Join(b.dir, "bundle"), id)
	cmd.Stdout = o.w
	child, err := b.reaper.Start(cmd)
	if err != nil {
		return 0, err
	}
	o.w.Close()
	at, err := o.first()
	return at.Sub(begin), errors.Join(err, b.finish(ctx, child))
}

// pair is `crun create` and `crun start` of the prepared bundle, to the first byte.
func (b *bare) pair(ctx context.Context, round int) (time.Duration, error) {
	o, err := newOutput()
	if err != nil {
		return 0, err
	}
	defer o.close()
	id, pidFile := fmt.Sprintf("pair-%d", round), filepath.Join(b.dir, "pid")
	begin := time.Now()
	cmd := b.command(ctx, crunPath, "create", "--no-new-keyring", "--pid-file", pidFile, "--bundle", filepath.Join(b.dir, "bundle"), id)
	cmd.Stdout = o.w
	if err := b.do(ctx, cmd); err != nil {
		return 0, err
	}
	o.w.Close()
	init, err := b.adopt(pidFile)
	if err != nil {
		return 0, err
	}
	start, err := b.reaper.Start(b.command(ctx, crunPath, "start", id))
	if err != nil {
		return 0, err
	}
	at, err := o.first()
	if err := errors.Join(err, b.finish(ctx, start)); err != nil {
		return 0, err
	}
	if _, err := init.Wait(ctx); err != nil {
		return 0, err
	}
	return at.Sub(begin), b.do(ctx, b.command(ctx, crunPath, "delete", "--force", id))
}

func (b *bare) adopt(pidFile string) (*boot.Child, error) {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return nil, err
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		return nil, err
	}
	return b.reaper.Adopt(pid)
}
