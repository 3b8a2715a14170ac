package task

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/events"
	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/ttrpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/shim/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const podID = "pod"

// world is a service with its clients, as containerd has them.
type world struct {
	t       *testing.T
	ctx     context.Context
	dir     string
	service *Service
	pod     *fakePod
	task    taskv3.TTRPCTaskService
	older   taskv2.TTRPCTaskService
	sandbox sandboxapi.TTRPCSandboxService
	exited  chan struct{}
	boots   chan sandbox.Config

	mu     sync.Mutex
	told   []Event
	came   chan struct{}
	refuse func(Event) error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx, dir: t.TempDir(), pod: newFakePod(programs), exited: make(chan struct{}), came: make(chan struct{}, 1), boots: make(chan sandbox.Config, 4)}
	config := node.Default()
	config.StateDir = filepath.Join(w.dir, "pods")
	w.service = New(ctx, Config{
		Namespace: "ns", Sandbox: podID, Bundle: w.bundle(podID, "pause"), Node: config,
		Boot: func(_ context.Context, c sandbox.Config) (Pod, error) {
			w.boots <- c
			return w.pod, nil
		},
		Rootfs: func([]*types.Mount) (rootfs.Rootfs, error) { return rootfs.Rootfs{}, nil },
		Send:   w.send,
		Exit:   func() { close(w.exited) },
	})
	w.connect()
	t.Cleanup(func() {
		if err := w.service.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
		w.pod.die(context.Canceled)
		w.pod.work.Wait()
	})
	return w
}

func (w *world) connect() {
	w.t.Helper()
	server, err := ttrpc.NewServer()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.service.RegisterTTRPC(server); err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(w.dir, "shim.sock"))
	if err != nil {
		w.t.Fatal(err)
	}
	go func() { _ = server.Serve(context.Background(), l) }()
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	client := ttrpc.NewClient(conn)
	w.task, w.older, w.sandbox = taskv3.NewTTRPCTaskClient(client), taskv2.NewTTRPCTaskClient(client), sandboxapi.NewTTRPCSandboxClient(client)
	w.t.Cleanup(func() {
		client.Close()
		server.Close()
	})
}

func (w *world) send(_ context.Context, _ string, e Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		if err := w.refuse(e); err != nil {
			return err
		}
	}
	w.told = append(w.told, e)
	select {
	case w.came <- struct{}{}:
	default:
	}
	return nil
}

// bundle makes a bundle whose container runs a program.
func (w *world) bundle(id, program string) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, "bundles", id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	oci := specs.Spec{
		Process: &specs.Process{Args: []string{program}}, Annotations: map[string]string{"io.kubernetes.cri.sandbox-id": podID},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.NetworkNamespace, Path: "/run/netns/x"}}},
	}
	if id == podID {
		oci.Annotations["io.kubernetes.cri.container-type"] = "sandbox"
	}
	text, err := json.Marshal(oci)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

func (w *world) create(id, program string, io stdio) {
	w.t.Helper()
	_, err := w.task.Create(w.ctx, &taskv3.CreateTaskRequest{
		ID: id, Bundle: w.bundle(id, program), Stdin: io.stdin, Stdout: io.stdout, Stderr: io.stderr, Terminal: io.terminal,
	})
	w.ok(err)
}

func (w *world) start(id, exec string) {
	w.t.Helper()
	answer, err := w.task.Start(w.ctx, &taskv3.StartRequest{ID: id, ExecID: exec})
	w.ok(err)
	if answer.Pid != 4711 {
		w.t.Fatalf("start: pid got %d, want the machine's", answer.Pid)
	}
}

func (w *world) exec(id, exec, program string, io stdio) {
	w.t.Helper()
	text, err := json.Marshal(specs.Process{Args: []string{program}})
	w.ok(err)
	_, err = w.task.Exec(w.ctx, &taskv3.ExecProcessRequest{
		ID: id, ExecID: exec, Spec: &anypb.Any{Value: text}, Stdin: io.stdin, Stdout: io.stdout, Stderr: io.stderr, Terminal: io.terminal,
	})
	w.ok(err)
}

func (w *world) wait(id, exec string) uint32 {
	w.t.Helper()
	answer, err := w.task.Wait(w.ctx, &taskv3.WaitRequest{ID: id, ExecID: exec})
	w.ok(err)
	if answer.ExitedAt == nil {
		w.t.Fatalf("wait for %s %s: no time of exit", id, exec)
	}
	return answer.ExitStatus
}

func (w *world) remove(id, exec string) *taskv3.DeleteResponse {
	w.t.Helper()
	answer, err := w.task.Delete(w.ctx, &taskv3.DeleteRequest{ID: id, ExecID: exec})
	w.ok(err)
	return answer
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// startPod runs the sandbox container.
func (w *world) startPod() {
	w.t.Helper()
	w.create(podID, "pause", stdio{})
	w.start(podID, "")
}

// events waits for n events and returns their names.
func (w *world) events(n int) []string {
	w.t.Helper()
	for {
		w.mu.Lock()
		told := slices.Clone(w.told)
		w.mu.Unlock()
		if len(told) >= n {
			names := make([]string, len(told))
			for i, e := range told {
				names[i] = nameOf(e)
			}
			return names
		}
		select {
		case <-w.came:
		case <-w.ctx.Done():
			w.t.Fatalf("got %d events, want %d", len(told), n)
		}
	}
}

func nameOf(e Event) string {
	switch e := e.(type) {
	case *events.TaskCreate:
		return "create " + e.ContainerID
	case *events.TaskStart:
		return "start " + e.ContainerID
	case *events.TaskExecAdded:
		return "added " + e.ExecID
	case *events.TaskExecStarted:
		return "exec " + e.ExecID
	case *events.TaskExit:
		return "exit " + e.ID
	case *events.TaskDelete:
		return "delete " + e.ContainerID
	case *events.TaskPaused:
		return "paused " + e.ContainerID
	case *events.TaskResumed:
		return "resumed " + e.ContainerID
	case *events.TaskOOM:
		return "oom " + e.ContainerID
	}
	return topicOf(e)
}

// makeFIFO makes a FIFO and returns its path.
func (w *world) makeFIFO(name string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	w.ok(syscall.Mkfifo(path, 0o600))
	return path
}

// reader opens a FIFO as containerd's clients do, before there is a writer.
func (w *world) reader(path string) *os.File {
	w.t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	w.ok(err)
	w.t.Cleanup(func() { f.Close() })
	return f
}
