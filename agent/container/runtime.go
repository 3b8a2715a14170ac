package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	runc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Runtime drives crun. Its state directory and its logs are the agent's own; no name in them comes from the host: containers
// are known to crun by their key, execs by a number.
type Runtime struct {
	crun   string
	dir    string // crun's state, pid files, logs
	reaper Reaper

	mu    sync.Mutex
	begun map[string]*begun // by container key
}

// Reaper starts children and adopts the processes that crun leaves to PID 1. There is one in the agent: a second waiter would
// steal exits.
type Reaper interface {
	runc.ProcessMonitor
	// Adopt returns the exit of a process that is not the agent's own child.
	Adopt(pid int) (Exit, error)
}

// Exit is the end of a process that will come.
type Exit interface {
	Wait(ctx context.Context) (unix.WaitStatus, error)
}

// NewRuntime prepares crun's directory. The reaper becomes go-runc's process monitor for the whole process.
func NewRuntime(crun, dir string, reaper Reaper) (*Runtime, error) {
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o700); err != nil {
		return nil, fmt.Errorf("make runtime directory: %w", err)
	}
	runc.Monitor = reaper
	sealed, err := sealRuntime(crun)
	if err != nil {
		return nil, err
	}
	return &Runtime{crun: sealed, dir: dir, reaper: reaper, begun: map[string]*begun{}}, nil
}

func (r *Runtime) cli(log string) *runc.Runc {
	return &runc.Runc{
		Command: r.crun, Root: filepath.Join(r.dir, "state"), Log: log, LogFormat: runc.JSON,
		ExtraArgs: []string{"--cgroup-manager=cgroupfs"},
	}
}

// files are where crun writes a new container's process id and its own log.
func (r *Runtime) files(key string) (pidFile, log string) {
	return filepath.Join(r.dir, key+".pid"), filepath.Join(r.dir, key+".log")
}

// Create has crun set the container up from its specification; none of the workload's instructions have run when it returns.
// bundle is an existing directory of the agent.
func (r *Runtime) Create(ctx context.Context, key, bundle string, spec *specs.Spec, stdioAllowed bool) (*Process, error) {
	pidFile, log := r.files(key)
	defer os.Remove(log)
	defer os.Remove(pidFile)
	io, err := r.create(ctx, key, bundle, spec, stdioAllowed)
	if err != nil {
		if io != nil {
			io.abort()
		}
		return nil, r.explain("create", log, err)
	}
	p, err := r.adopt(pidFile, io, spec.Process)
	if err != nil {
		return nil, errors.Join(err, r.Delete(ctx, key))
	}
	return p, nil
}

// create runs crun, the one that was begun or one of its own.
func (r *Runtime) create(ctx context.Context, key, bundle string, spec *specs.Spec, stdioAllowed bool) (*stdio, error) {
	if b := r.headStart(key, stdioAllowed, spec.Process.Terminal); b != nil {
		return b.io, b.create(spec)
	}
	if err := writeJSON(filepath.Join(bundle, configName), spec); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	io, err := newStdio(stdioAllowed, spec.Process.Terminal)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	pidFile, log := r.files(key)
	opts := &runc.CreateOpts{IO: io, PidFile: pidFile, NoNewKeyring: true}
	if io.socket != nil {
		opts.ConsoleSocket = io.socket
	}
	return io, r.cli(log).Create(ctx, key, bundle, opts)
}

// Start lets a created container run.
func (r *Runtime) Start(ctx context.Context, key string) error {
	released, err := releaseInit(filepath.Join(r.dir, "state", key))
	if released || err != nil {
		return err
	}
	log := filepath.Join(r.dir, key+".start.log")
	defer os.Remove(log)
	if err := r.cli(log).Start(ctx, key); err != nil {
		return r.explain("start", log, err)
	}
	return nil
}

// Exec runs one more process in a container. number names it to the runtime. An error that is ErrNotStarted says that none of
// the process's instructions ran; one that is ErrUnknownOutcome leaves it open.
func (r *Runtime) Exec(ctx context.Context, key string, number uint64, spec *specs.Process, stdioAllowed bool) (*Process, error) {
	io, err := newStdio(stdioAllowed, spec.Terminal)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	name := filepath.Join(r.dir, key+"."+strconv.FormatUint(number, 10))
	pidFile, log := name+".pid", name+".log"
	defer os.Remove(log)
	defer os.Remove(pidFile)
	opts := &runc.ExecOpts{IO: io, PidFile: pidFile, Detach: true}
	if io.socket != nil {
		opts.ConsoleSocket = io.socket
	}
	if err := r.cli(log).Exec(ctx, key, *spec, opts); err != nil {
		io.abort()
		return nil, r.explain("exec", log, err)
	}
	return r.adopt(pidFile, io, spec)
}

// Delete removes the container from the runtime, killing what is left of it.
func (r *Runtime) Delete(ctx context.Context, key string) error {
	log := filepath.Join(r.dir, key+".delete.log")
	defer os.Remove(log)
	if err := r.cli(log).Delete(ctx, key, &runc.DeleteOpts{Force: true}); err != nil {
		return r.explain("delete", log, err)
	}
	return nil
}

// Update changes the limits of a container.
func (r *Runtime) Update(ctx context.Context, key string, res *specs.LinuxResources) error {
	if err := r.cli("").Update(ctx, key, res); err != nil {
		return fmt.Errorf("update limits: %w", err)
	}
	return nil
}

func (r *Runtime) adopt(pidFile string, io *stdio, spec *specs.Process) (*Process, error) {
	pid, err := readPid(pidFile)
	if err != nil {
		io.abort()
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	exit, err := r.reaper.Adopt(pid)
	if err != nil {
		io.abort()
		return nil, fmt.Errorf("%w: adopt process: %w", ErrUnknownOutcome, err)
	}
	var rows, columns uint
	if spec.ConsoleSize != nil {
		rows, columns = spec.ConsoleSize.Height, spec.ConsoleSize.Width
	}
	if err := io.attach(rows, columns); err != nil {
		io.abort()
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return newProcess(pid, exit, io, spec.Args), nil
}

// RuntimeError is what crun said. Detail may quote the workload's files and arguments: it goes to the guest's own log, never
// into an answer.
type RuntimeError struct {
	Op, Reason, Detail string
	Err                error // ErrNotStarted or ErrUnknownOutcome
}

func (e *RuntimeError) Error() string { return "container runtime " + e.Op + ": " + e.Reason }
func (e *RuntimeError) Unwrap() error { return e.Err }

// explain reads crun's log for the reason. A runtime that ended by itself with its own exit code has not started the process;
// anything else leaves that open (docs/architecture.md).
func (r *Runtime) explain(op, log string, err error) error {
	out := &RuntimeError{Op: op, Reason: "failed", Err: ErrUnknownOutcome, Detail: err.Error()}
	var exit *runc.ExitError
	if errors.Is(err, ErrNotStarted) || errors.As(err, &exit) && exit.Status > 0 && exit.Status < 128 {
		out.Err = ErrNotStarted
	}
	if text, readErr := readBounded(log, 16<<10); readErr == nil {
		out.Detail = lastMessage(text)
	}
	for _, known := range []struct{ part, reason string }{
		{"executable file", "the executable was not found in the container"},
		{"No such file or directory", "a file or directory that the container needs does not exist"},
		{"ermission denied", "permission denied"},
		{"cannot allocate memory", "out of memory"},
	} {
		if strings.Contains(out.Detail, known.part) {
			out.Reason = known.reason
			break
		}
	}
	return out
}

// lastMessage takes the last error of crun's JSON log.
func lastMessage(text []byte) string {
	out := ""
	for line := range strings.Lines(string(text)) {
		var entry struct {
			Msg string `json:"msg"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg != "" {
			out = entry.Msg
		}
	}
	return out
}

func readPid(path string) (int, error) {
	text, err := readBounded(path, 32)
	if err != nil {
		return 0, fmt.Errorf("read pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("read pid file: got %.16q, want a process id", text)
	}
	return pid, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, limit)
	n, err := f.Read(buf)
	return buf[:n], err
}

func writeJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
