package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/run"
)

func TestCheckOverVirtioSerial(t *testing.T) {
	m := shared(t)
	if err := m.Client().Check(m.ctx); err != nil {
		t.Fatal(err)
	}
	version, err := m.Client().Health.Version(m.ctx, &api.CheckRequest{})
	if err != nil || version.AgentVersion == "" {
		t.Errorf("version got %v, %v", version, err)
	}
}

func TestContainerRunsAndReports(t *testing.T) {
	m := shared(t)
	sum := fmt.Sprintf("%x  /data/blob\n", sha256.Sum256(mustImage(t).blob))
	for _, c := range []struct {
		name, stdout, stderr string
		code                 int
	}{
		{"echo", "hello world\n", "", 0},
		{"exit", "", "", 7},
		{"hash", sum, "", 0},
		// The top layer's file hides the base's, its hard link keeps the base's content.
		{"read", "/data/replaced: top\n/data/hard: base\n", "", 0},
		{"gone", "", "workload: open /data/gone: no such file or directory\n", 1},
		{"write", "", "", 0},
		{"two-layers", "two\n", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := m.in(t)
			stdout, stderr, code := m.run(fixture(t, c.name))
			if stdout != c.stdout || stderr != c.stderr || code != c.code {
				t.Errorf("got %q, %q, %d, want %q, %q, %d", stdout, stderr, code, c.stdout, c.stderr, c.code)
			}
		})
	}
}

// TestEnvironment: what the policy allowed, and what ACI's agents and every runtime add themselves.
func TestEnvironment(t *testing.T) {
	m := shared(t)
	stdout, _, code := m.run(fixture(t, "env"))
	var host []string
	for line := range strings.Lines(stdout) {
		if !strings.HasPrefix(line, "UVM_SECURITY_CONTEXT_DIR=") && line != "HOME=/\n" {
			host = append(host, line)
		}
	}
	if !slices.Equal(host, []string{pathEnv + "\n", "LISTED=yes\n"}) || code != 0 {
		t.Errorf("got %q and status %d", host, code)
	}
}

// TestSecurityContext: a container without grants finds the policy that HOST_DATA binds, and cannot change it for the others.
func TestSecurityContext(t *testing.T) {
	m := shared(t)
	policy, err := sharedPolicy()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x\ntrue\ntrue\n", sha256.Sum256(policy))
	for range 2 {
		if stdout, stderr, code := m.run(fixture(t, "context")); stdout != want || code != 0 {
			t.Errorf("got %q, %q and status %d, want %q", stdout, stderr, code, want)
		}
	}
}

func TestLongOutputArrivesWhole(t *testing.T) {
	m := shared(t)
	stdout, _, code := m.run(fixture(t, "spam"))
	if len(stdout) != 3000000 || code != 0 || strings.Trim(stdout, "x\n") != "" {
		t.Errorf("got %d bytes and status %d, want 3000000 and 0", len(stdout), code)
	}
}

func TestInputReachesTheContainer(t *testing.T) {
	m := shared(t)
	c := m.started(fixture(t, "cat"))
	input := strings.Repeat("line of input\n", 10000)
	sent := make(chan error, 1)
	go func() { sent <- m.Client().CopyInput(m.ctx, run.Process{Container: c.ID}, strings.NewReader(input)) }()
	stdout, _, code := m.finish(c)
	if err := <-sent; err != nil {
		t.Errorf("send input: %v", err)
	}
	if stdout != input || code != 0 {
		t.Errorf("got %d bytes and status %d, want %d and 0", len(stdout), code, len(input))
	}
}

func TestSignalEndsContainer(t *testing.T) {
	m := shared(t)
	c := m.started(fixture(t, "sleep"))
	m.waitLine(run.Process{Container: c.ID}, "ready")
	if err := m.Kill(m.ctx, c, uint32(unix.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	stdout, _, code := m.finish(c)
	if !strings.Contains(stdout, "terminated") || code != 0 {
		t.Errorf("got %q and status %d, want a clean end", stdout, code)
	}
}

func TestKillEndsContainer(t *testing.T) {
	m := shared(t)
	c := m.started(fixture(t, "sleep"))
	m.waitLine(run.Process{Container: c.ID}, "ready")
	if _, err := m.Client().SignalProcess(m.ctx, &api.SignalProcessRequest{ContainerId: c.ID, Signal: uint32(unix.SIGKILL)}); err != nil {
		t.Fatal(err)
	}
	if _, _, code := m.finish(c); code != 137 {
		t.Errorf("status got %d, want 137", code)
	}
}

func TestRemoveEndsRunningContainer(t *testing.T) {
	m := shared(t)
	c := m.started(fixture(t, "sleep"))
	m.waitLine(run.Process{Container: c.ID}, "ready")
	m.remove(c)
}

func TestCreatedContainerThatNeverStarts(t *testing.T) {
	m := shared(t)
	c := m.create(fixture(t, "sleep"))
	m.remove(c)
}

func TestExec(t *testing.T) {
	m := shared(t)
	c := m.started(fixture(t, "sleep"))
	m.waitLine(run.Process{Container: c.ID}, "ready")
	process := func(args ...string) *api.Process {
		p := c.OCI(pod.Names{SandboxID: m.ID(), ContainerID: c.ID}).Process
		p.Args = append([]string{"/bin/w"}, args...)
		return p
	}
	exec := func(t *testing.T, p *api.Process, stdin string) (string, int, error) {
		t.Helper()
		var out bytes.Buffer
		code, err := m.Client().Exec(m.ctx, c.ID, p, run.ProcessIO{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &out})
		return out.String(), code, err
	}
	t.Run("listed", func(t *testing.T) {
		if out, code, err := exec(t, process("echo", "from", "exec"), ""); out != "from exec\n" || code != 0 || err != nil {
			t.Errorf("got %q, %d, %v", out, code, err)
		}
	})
	t.Run("exit-code", func(t *testing.T) {
		if _, code, err := exec(t, process("exit", "9"), ""); code != 9 || err != nil {
			t.Errorf("got %d, %v, want 9", code, err)
		}
	})
	t.Run("input", func(t *testing.T) {
		if out, code, err := exec(t, process("cat"), "typed"); out != "typed" || code != 0 || err != nil {
			t.Errorf("got %q, %d, %v", out, code, err)
		}
	})
	for _, c := range []struct {
		name   string
		change func(*api.Process)
		word   string
	}{
		{"not-listed", func(p *api.Process) { p.Args = []string{"/bin/w", "env"} }, "command"},
		{"argument-more", func(p *api.Process) { p.Args = append(p.Args, "more") }, "command"},
		{"other-user", func(p *api.Process) { p.User = &api.User{UID: 1000, GID: 1000} }, "user"},
		{"other-directory", func(p *api.Process) { p.Cwd = "/tmp" }, "working"},
		{"more-capabilities", func(p *api.Process) { p.Capabilities.Effective = append(p.Capabilities.Effective, "CAP_SYS_ADMIN") }, "capabilities"},
		{"variable-more", func(p *api.Process) { p.Env = append(p.Env, "LD_PRELOAD=/data/x.so") }, "env"},
		{"new-privileges", func(p *api.Process) { p.NoNewPrivileges = false }, "oNewPrivileges"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := process("echo", "from", "exec")
			c.change(p)
			out, _, err := exec(t, p, "")
			wantRefusal(t, err, "ExecProcessRequest", "exec_in_container", c.word)
			if out != "" {
				t.Errorf("output got %q", out)
			}
		})
	}
}

func TestSignalPolicy(t *testing.T) {
	m := shared(t)
	c := m.started(fixture(t, "sleep"))
	m.waitLine(run.Process{Container: c.ID}, "ready")
	wantRefusal(t, m.Kill(m.ctx, c, uint32(unix.SIGSEGV)), "signal_container_process")
	_, err := m.Client().SignalProcess(m.ctx, &api.SignalProcessRequest{ContainerId: c.ID, Signal: 65})
	wantCode(t, err, codes.InvalidArgument, "signal")
}

// view is what the workload's inspect mode prints.
type view struct {
	Args     []string          `json:"args"`
	Cwd      string            `json:"cwd"`
	UID      int               `json:"uid"`
	GID      int               `json:"gid"`
	Groups   []int             `json:"groups"`
	Umask    int               `json:"umask"`
	PID      int               `json:"pid"`
	Hostname string            `json:"hostname"`
	Status   map[string]string `json:"status"`
	Mounts   []struct {
		Target, Type, Options string
	} `json:"mounts"`
	Namespaces map[string]string `json:"namespaces"`
	Devices    []string          `json:"devices"`
	Resolv     string            `json:"resolv"`
	Hosts      string            `json:"hosts"`
}

// inspect starts a created container and reads what it says of itself.
func (m *machine) inspect(c *run.Container) view {
	m.t.Helper()
	if err := m.StartContainer(m.ctx, c); err != nil {
		m.t.Fatal(err)
	}
	stdout, stderr, code := m.finish(c)
	var v view
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != 0 {
		m.t.Fatalf("inspect: %v, status %d: %s%s", err, code, stdout, stderr)
	}
	return v
}

func TestConfinement(t *testing.T) {
	m := shared(t)
	// Both exist before either ends: the kernel gives the numbers of ended namespaces to new ones.
	a, b := m.create(fixture(t, "inspect")), m.create(fixture(t, "user"))
	root, user := m.inspect(a), m.inspect(b)
	t.Run("user", func(t *testing.T) {
		slices.Sort(user.Groups)
		if user.UID != 1000 || user.GID != 1000 || !slices.Equal(slices.Compact(user.Groups), []int{1000, 2000}) || user.Cwd != "/data" {
			t.Errorf("got uid %d, gid %d, groups %v in %q", user.UID, user.GID, user.Groups, user.Cwd)
		}
	})
	t.Run("capabilities", func(t *testing.T) {
		// CHOWN 0, KILL 5, SETGID 6, SETUID 7, NET_BIND_SERVICE 10.
		const want, none = "00000000000004e1", "0000000000000000"
		for _, set := range []string{"CapBnd", "CapEff", "CapPrm"} {
			if root.Status[set] != want || user.Status[set] != none {
				t.Errorf("%s got %s and %s, want %s and %s", set, root.Status[set], user.Status[set], want, none)
			}
		}
		if root.Status["CapInh"] != none || root.Status["CapAmb"] != none || root.Status["NoNewPrivs"] != "1" {
			t.Errorf("got %v", root.Status)
		}
	})
	t.Run("namespaces", func(t *testing.T) {
		for _, name := range []string{"mnt", "pid", "cgroup"} {
			if root.Namespaces[name] == user.Namespaces[name] || root.Namespaces[name] == "" {
				t.Errorf("%s: two containers got %q and %q, want two", name, root.Namespaces[name], user.Namespaces[name])
			}
		}
		for _, name := range []string{"ipc", "uts", "net"} {
			if root.Namespaces[name] != user.Namespaces[name] {
				t.Errorf("%s: two containers of the pod got %q and %q, want one", name, root.Namespaces[name], user.Namespaces[name])
			}
		}
		if root.PID != 1 {
			t.Errorf("process id got %d, want 1", root.PID)
		}
	})
	t.Run("mounts", func(t *testing.T) {
		checkMounts(t, root, "rw")
		checkMounts(t, user, "ro")
	})
	t.Run("devices", func(t *testing.T) {
		for _, d := range root.Devices {
			if strings.HasPrefix(d, "sd") || strings.HasPrefix(d, "vport") || strings.HasPrefix(d, "dm-") || strings.HasPrefix(d, "vd") || d == "mem" {
				t.Errorf("device %q is in the container", d)
			}
		}
	})
	t.Run("names", func(t *testing.T) {
		if root.Hostname != "e2e" || !strings.Contains(root.Hosts, "e2e") || !strings.Contains(root.Hosts, "10.0.2.9\telsewhere") || !strings.Contains(root.Resolv, "10.0.2.3") {
			t.Errorf("got host name %q, hosts %q, resolv.conf %q", root.Hostname, root.Hosts, root.Resolv)
		}
		if root.Umask != 0o022 {
			t.Errorf("umask got %o, want 022", root.Umask)
		}
	})
}

func checkMounts(t *testing.T, v view, rootMode string) {
	t.Helper()
	for _, m := range v.Mounts {
		options := strings.Split(m.Options, ",")
		switch {
		case m.Target == "/":
			if m.Type != "overlay" || !slices.Contains(options, rootMode) {
				t.Errorf("root got %s %s, want overlay %s", m.Type, m.Options, rootMode)
			}
		case m.Target == "/sys", m.Target == "/sys/fs/cgroup", m.Target == "/proc/sys", m.Target == "/proc/sysrq-trigger":
			if !slices.Contains(options, "ro") {
				t.Errorf("%s got %s, want it read-only", m.Target, m.Options)
			}
		case strings.HasPrefix(m.Target, "/run/"), strings.HasPrefix(m.Target, "/newroot"):
			t.Errorf("the guest's %s is in the container", m.Target)
		}
	}
}

// masked says whether something is mounted over a path, which is how a path is hidden.
func masked(v view, path string) bool {
	for _, m := range v.Mounts {
		if m.Target == path {
			return true
		}
	}
	return false
}

func TestContainerCannotReachOut(t *testing.T) {
	m := shared(t)
	stdout, _, code := m.run(fixture(t, "try"))
	if code != 0 {
		t.Fatalf("status got %d: %s", code, stdout)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(lines) != len(attempts) {
		t.Fatalf("got %d answers, want %d: %q", len(lines), len(attempts), stdout)
	}
	for _, line := range lines {
		if name, result, _ := strings.Cut(line, " "); result == "ok" {
			t.Errorf("attempt %q succeeded", name)
		}
	}
}

func TestContainersOfOnePodShareTheNetwork(t *testing.T) {
	m := shared(t)
	server := m.started(fixture(t, "serve"))
	m.waitLine(run.Process{Container: server.ID}, "ready")
	stdout, stderr, code := m.run(fixture(t, "get"))
	if !strings.HasSuffix(stdout, "a page\n") || stderr != "" || code != 0 {
		t.Errorf("got %q, %q, %d", stdout, stderr, code)
	}
}

func TestOOMKillIsReported(t *testing.T) {
	m := shared(t)
	event := make(chan *api.OOMEvent, 1)
	failed := make(chan error, 1)
	go func() {
		e, err := m.Client().GetOOMEvent(m.ctx, &api.GetOOMEventRequest{})
		if err != nil {
			failed <- err
			return
		}
		event <- e
	}()
	c := m.started(fixture(t, "hog"))
	id := c.ID
	if _, _, code := m.finish(c); code != 137 {
		t.Errorf("status got %d, want 137", code)
	}
	select {
	case e := <-event:
		if e.ContainerId != id {
			t.Errorf("event got container %q, want %q", e.ContainerId, id)
		}
	case err := <-failed:
		t.Fatal(err)
	case <-m.ctx.Done():
		t.Fatal("no event")
	}
}

func TestTwoContainersShareTheirLayers(t *testing.T) {
	m := shared(t)
	a := m.started(fixture(t, "sleep"))
	before := m.held()
	b := m.started(fixture(t, "sleep"))
	if h := m.held(); h.Devices != before.Devices || h.Mapped != before.Mapped {
		t.Errorf("devices got %+v after %+v: a disk of two containers is mounted once", h, before)
	}
	m.remove(a)
	m.waitLine(run.Process{Container: b.ID}, "ready")
	m.remove(b)
}

func TestStats(t *testing.T) {
	m := shared(t)
	c := m.started(fixture(t, "sleep"))
	m.waitLine(run.Process{Container: c.ID}, "ready")
	stats, err := m.Client().StatsContainer(m.ctx, &api.StatsContainerRequest{ContainerId: c.ID})
	if err != nil {
		t.Fatal(err)
	}
	if stats.CgroupStats.GetMemoryStats().GetUsage().GetUsage() == 0 || stats.CgroupStats.GetPidsStats().GetCurrent() == 0 {
		t.Errorf("got %v, want memory and processes", stats)
	}
}

// in makes the machine report to a subtest.
func (m *machine) in(t *testing.T) *machine {
	c := *m
	c.t = t
	return &c
}
