package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/ttrpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/cloister-cc/cloister/shim/task"
)

// asShim makes the test's binary the shim's.
const asShim = "CLOISTER_TEST_AS_SHIM"

func TestMain(m *testing.M) {
	if os.Getenv(asShim) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// call runs the shim as containerd does, in a bundle.
func call(t *testing.T, bundle string, env []string, input []byte, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Dir, cmd.Stdin = bundle, bytes.NewReader(input)
	cmd.Env = append(os.Environ(), asShim+"=1", "TTRPC_ADDRESS="+filepath.Join(bundle, "events.sock"))
	cmd.Env = append(cmd.Env, env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, errs.String())
	}
	return out.String(), nil
}

// newBundle makes a bundle with the log FIFO that containerd reads, and names a node configuration.
func newBundle(t *testing.T, annotations map[string]string) (dir string, env []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "clshim") // short: a socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	text, err := json.Marshal(map[string]any{"annotations": annotations})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "node.toml")
	for path, content := range map[string]string{
		filepath.Join(dir, "config.json"): string(text), config: fmt.Sprintf("state_dir = %q\n", filepath.Join(dir, "pods")),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(dir, "log")
	if err := syscall.Mkfifo(log, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(log, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	return dir, []string{"CLOISTER_NODE_CONFIG=" + config}
}

func bootstrap(t *testing.T, dir, id string, options proto.Message) []byte {
	t.Helper()
	sockets := filepath.Join(dir, "sockets") // "s" in a bundle is a link of containerd's
	params := &bootapi.BootstrapParams{InstanceID: id, Namespace: "ns", ContainerdGrpcAddress: dir, SocketDir: &sockets}
	if options != nil {
		if err := params.AddExtension(options); err != nil {
			t.Fatal(err)
		}
	}
	data, err := proto.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func dial(t *testing.T, address string) *ttrpc.Client {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(address, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(conn)
	t.Cleanup(func() { client.Close() })
	return client
}

// end asks a serving shim to go and waits until it has.
func end(t *testing.T, client *ttrpc.Client, pid uint32) {
	t.Helper()
	fd, err := os.FindProcess(int(pid))
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Release()
	_, _ = taskv3.NewTTRPCTaskClient(client).Shutdown(t.Context(), &taskv3.ShutdownRequest{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := client.UserOnCloseWait(ctx); err != nil {
		t.Errorf("the shim serves on after Shutdown: %v", err)
	}
}

func TestStartBootstrap(t *testing.T) {
	dir, env := newBundle(t, nil)
	out, err := call(t, dir, env, bootstrap(t, dir, "c", nil), "-namespace", "ns", "-id", "c", "-address", dir, "start")
	if err != nil {
		t.Fatal(err)
	}
	result := &bootapi.BootstrapResult{}
	if err := proto.Unmarshal([]byte(out), result); err != nil {
		t.Fatal(err)
	}
	if result.Version != 3 || result.Protocol != "ttrpc" || !strings.HasPrefix(result.Address, "unix://"+dir+"/sockets/") {
		t.Errorf("got version %d, protocol %q, address %q", result.Version, result.Protocol, result.Address)
	}
	mounts := &types.MountCapabilities{}
	if found, err := result.FindExtension(mounts); err != nil || !found || len(mounts.Transforms) == 0 {
		t.Errorf("mount capabilities got %v, %v, %v", mounts, found, err)
	}
	client := dial(t, result.Address)
	connected, err := taskv3.NewTTRPCTaskClient(client).Connect(t.Context(), &taskv3.ConnectRequest{ID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("resident memory without a pod: %s", residentOf(t, connected.ShimPid))
	end(t, client, connected.ShimPid)
	if _, err := os.Lstat(strings.TrimPrefix(result.Address, "unix://")); !os.IsNotExist(err) {
		t.Errorf("socket after the end: got %v, want none", err)
	}
}

func residentOf(t *testing.T, pid uint32) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// Containers of one pod get one shim, and the pod's shim outlives the call that made it.
func TestStartGroupsPod(t *testing.T) {
	dir, env := newBundle(t, map[string]string{sandboxAnnotation: "pod"})
	var addresses []string
	for _, id := range []string{"pod", "c"} {
		out, err := call(t, dir, env, bootstrap(t, dir, id, nil), "-namespace", "ns", "-id", id, "-address", dir, "start")
		if err != nil {
			t.Fatal(err)
		}
		result := &bootapi.BootstrapResult{}
		if err := proto.Unmarshal([]byte(out), result); err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, result.Address)
	}
	if addresses[0] != addresses[1] {
		t.Errorf("addresses got %q, want one", addresses)
	}
	client := dial(t, addresses[0])
	connected, err := taskv3.NewTTRPCTaskClient(client).Connect(t.Context(), &taskv3.ConnectRequest{})
	if err != nil {
		t.Fatal(err)
	}
	end(t, client, connected.ShimPid)
}

// containerd 1.7 to 2.2 says which version it knows and reads JSON, 1.6 says nothing and reads the address.
func TestStartLegacy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: before 2.3 containerd names no directory for the socket, and its own belongs to root")
	}
	options, err := anypb.New(&runtimeoptions.Options{ConfigBody: []byte("vcpus = 2\n")})
	if err != nil {
		t.Fatal(err)
	}
	input, err := proto.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []string{"", "2"} {
		dir, env := newBundle(t, nil)
		if known != "" {
			env = append(env, maxVersionEnv+"="+known)
		}
		out, err := call(t, dir, env, input, "-namespace", "ns"+known, "-address", dir, "-publish-binary", "/x", "-id", "c", "start")
		if err != nil {
			t.Fatal(err)
		}
		address := out
		if known != "" {
			var told struct {
				Version           int
				Address, Protocol string
			}
			if err := json.Unmarshal([]byte(out), &told); err != nil {
				t.Fatalf("got %q: %v", out, err)
			}
			if told.Version != 2 || told.Protocol != "ttrpc" {
				t.Errorf("got %+v, want version 2", told)
			}
			address = told.Address
		}
		client := dial(t, address)
		connected, err := taskv2.NewTTRPCTaskClient(client).Connect(t.Context(), &taskv2.ConnectRequest{ID: "c"})
		if err != nil {
			t.Fatal(err)
		}
		if body, err := os.ReadFile(filepath.Join(dir, bodyFile)); err != nil || string(body) != "vcpus = 2\n" {
			t.Errorf("node configuration got %q, %v", body, err)
		}
		end(t, client, connected.ShimPid)
	}
}

// containerd's shim_cgroup comes in the options of runc.
func TestStartJoinsCgroup(t *testing.T) {
	if os.Geteuid() != 0 || cgroups.Mode() == cgroups.Unified {
		t.Skip("needs root and version 1 of control groups: here the shim would leave the test's own")
	}
	group := fmt.Sprintf("/cloister-test-%d", os.Getpid())
	made, err := cgroup1.New(cgroup1.StaticPath(group), &specs.LinuxResources{})
	if err != nil {
		t.Skipf("needs a control group: %v", err)
	}
	t.Cleanup(func() {
		if err := made.Delete(); err != nil {
			t.Error(err)
		}
	})
	dir, env := newBundle(t, nil)
	out, err := call(t, dir, env, bootstrap(t, dir, "c", &options.Options{ShimCgroup: group}), "-namespace", "ns", "-id", "c", "-address", dir, "start")
	if err != nil {
		t.Fatal(err)
	}
	result := &bootapi.BootstrapResult{}
	if err := proto.Unmarshal([]byte(out), result); err != nil {
		t.Fatal(err)
	}
	client := dial(t, result.Address)
	connected, err := taskv3.NewTTRPCTaskClient(client).Connect(t.Context(), &taskv3.ConnectRequest{})
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", connected.ShimPid))
	if err != nil || !strings.Contains(string(in), ":"+group+"\n") {
		t.Errorf("control groups got %q, %v, want %q among them", in, err, group)
	}
	end(t, client, connected.ShimPid)
	awaitGone(t, int(connected.ShimPid))
}

// awaitGone waits for the end of a process that is nobody's child here.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has ended
	}
	defer unix.Close(fd)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20_000); n != 1 {
		t.Errorf("wait for the end of process %d: %d, %v", pid, n, err)
	}
}

func TestStartRefusesBadOptions(t *testing.T) {
	dir, env := newBundle(t, nil)
	input := bootstrap(t, dir, "c", &runtimeoptions.Options{ConfigBody: []byte("nobody_knows = 1\n")})
	_, err := call(t, dir, env, input, "-namespace", "ns", "-id", "c", "-address", dir, "start")
	if err == nil || !strings.Contains(err.Error(), "nobody_knows") {
		t.Errorf("got %v, want an error that names the key", err)
	}
}

func TestDelete(t *testing.T) {
	dir, env := newBundle(t, nil)
	at := time.Now().Add(-time.Minute).Truncate(time.Second)
	for _, c := range []struct {
		name   string
		record *task.Record
		status uint32
		pid    uint32
	}{
		{"nothing was made", nil, 137, 0},
		{"running", &task.Record{Sandbox: "c", Dir: filepath.Join(dir, "gone"), PID: 7}, 137, 7},
		{"ended", &task.Record{Sandbox: "pod", Dir: filepath.Join(dir, "gone"), PID: 7, Exit: &task.ExitState{Status: 3, At: at}}, 3, 7},
	} {
		if c.record != nil {
			if err := task.WriteRecord(dir, *c.record); err != nil {
				t.Fatal(err)
			}
		}
		out, err := call(t, dir, env, nil, "-namespace", "ns", "-id", "c", "-address", dir, "-bundle", dir, "delete")
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		told := &taskv2.DeleteResponse{}
		if err := proto.Unmarshal([]byte(out), told); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if told.ExitStatus != c.status || told.Pid != c.pid || told.ExitedAt == nil || c.status == 3 && !told.ExitedAt.AsTime().Equal(at) {
			t.Errorf("%s: got %v, want status %d, pid %d", c.name, told, c.status, c.pid)
		}
	}
}

// What a shim leaves that is killed: the sockets go with the pod's own container, and not while it lives.
func TestDeleteRemovesSockets(t *testing.T) {
	dir, env := newBundle(t, nil)
	config := fmt.Sprintf("state_dir = %q\nmetrics_dir = %q\n", filepath.Join(dir, "pods"), filepath.Join(dir, "metrics"))
	if err := os.WriteFile(filepath.Join(dir, "node.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := call(t, dir, env, bootstrap(t, dir, "c", nil), "-namespace", "ns", "-id", "c", "-address", dir, "start")
	if err != nil {
		t.Fatal(err)
	}
	result := &bootapi.BootstrapResult{}
	if err := proto.Unmarshal([]byte(out), result); err != nil {
		t.Fatal(err)
	}
	connected, err := taskv3.NewTTRPCTaskClient(dial(t, result.Address)).Connect(t.Context(), &taskv3.ConnectRequest{ID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	sockets := []string{strings.TrimPrefix(result.Address, "unix://"), filepath.Join(dir, "metrics", "c.sock")}
	for _, path := range sockets {
		awaitFile(t, path)
	}
	remove := func() {
		t.Helper()
		// The node's configuration is not named to `delete` where the runtime's options name it.
		if _, err := call(t, dir, nil, nil, "-namespace", "ns", "-id", "c", "-address", dir, "-bundle", dir, "delete"); err != nil {
			t.Fatal(err)
		}
	}
	remove()
	for _, path := range sockets {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("socket of a shim that lives: %v", err)
		}
	}
	if err := unix.Kill(int(connected.ShimPid), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, int(connected.ShimPid))
	remove()
	for _, path := range sockets {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("socket of a shim that was killed: got %v, want none", err)
		}
	}
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if _, err := os.Lstat(path); err == nil {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s: is not there", path)
		}
	}
}

func TestInfo(t *testing.T) {
	dir, env := newBundle(t, nil)
	out, err := call(t, dir, env, nil, "-info")
	if err != nil {
		t.Fatal(err)
	}
	info := &types.RuntimeInfo{}
	if err := proto.Unmarshal([]byte(out), info); err != nil || info.Name != runtimeName {
		t.Errorf("got %v, %v", info, err)
	}
	options, err := anypb.New(&runtimeoptions.Options{ConfigPath: filepath.Join(dir, "nobody.toml")})
	if err != nil {
		t.Fatal(err)
	}
	input, err := proto.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := call(t, dir, env, input, "-info"); err == nil || !strings.Contains(err.Error(), "nobody.toml") {
		t.Errorf("with a configuration that is not there: got %v", err)
	}
}

// The shim has 25 MiB: what would fill them is not linked.
func TestLinksNothingHeavy(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skipf("needs the go command: %v", err)
	}
	for _, heavy := range []string{
		"github.com/open-policy-agent/", "github.com/google/go-containerregistry/", "k8s.io/", "github.com/sigstore/", "github.com/containerd/containerd/v2/client",
	} {
		for _, p := range strings.Fields(string(out)) {
			if strings.HasPrefix(p, heavy) {
				t.Errorf("links %s", p)
			}
		}
	}
}
