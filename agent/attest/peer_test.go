package attest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helperEnv makes the test binary a process of a container.
const helperEnv = "CLOISTER_ATTEST_HELPER"

// helper is that process. "wait" ends with its standard input. "connect ADDRESS" connects, says so, and does what the lines of its input say: "get PATH" asks
// and prints the answer, "hand" gives the connection's descriptor away on descriptor 3.
func helper(role string) int {
	in := bufio.NewScanner(os.Stdin)
	if role == "wait" {
		fmt.Println("ready")
		for in.Scan() {
		}
		return 0
	}
	if rest, ok := strings.CutPrefix(role, "inject "); ok {
		return inject(rest)
	}
	network, address, _ := strings.Cut(strings.TrimPrefix(role, "connect "), " ")
	dialer := net.Dialer{}
	if local, rest, ok := strings.Cut(address, " from "); ok {
		dialer.LocalAddr, address = &net.TCPAddr{IP: net.ParseIP(rest)}, local
	}
	conn, err := dialer.Dial(network, address)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("connected")
	answers := bufio.NewReader(conn)
	for in.Scan() {
		switch command, arg, _ := strings.Cut(in.Text(), " "); command {
		case "get":
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", arg)
			line, err := answers.ReadString('\n')
			fmt.Println(strings.TrimSpace(line), err)
		case "hand":
			raw, err := conn.(syscall.Conn).SyscallConn()
			if err == nil {
				err = errors.Join(raw.Control(func(fd uintptr) { err = unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(fd)), nil, 0) }), err)
			}
			fmt.Println("handed", err)
		}
	}
	return 0
}

// process is a helper that runs.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

// startHelper starts the test binary in a role, inside a control group unless that is "", with more descriptors from 3 on.
func startHelper(t *testing.T, role, cgroup string, files ...*os.File) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+role)
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	if cgroup != "" {
		fd, err := unix.Open(cgroup, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stdout)}
	t.Cleanup(p.end)
	return p
}

func (p *process) end() {
	_ = p.stdin.Close()
	_ = p.cmd.Wait() // its pipe is gone: twice is no harm
}

// line is the process's next line of output.
func (p *process) line() string {
	p.t.Helper()
	if !p.lines.Scan() {
		p.t.Fatalf("a helper ended: %v", p.lines.Err())
	}
	return p.lines.Text()
}

func (p *process) say(format string, args ...any) string {
	p.t.Helper()
	fmt.Fprintf(p.stdin, format+"\n", args...)
	return p.line()
}

// hierarchy is this machine's unified hierarchy with control groups of the test's own.
type hierarchy struct {
	root string // where it is mounted
	path string // of the test's group, below the root
}

// cgroups makes control groups for a test, or skips and says what is missing.
func cgroups(t *testing.T, names ...string) hierarchy {
	t.Helper()
	h := hierarchy{path: fmt.Sprintf("/cloister-test-%d-%d", os.Getpid(), time.Now().UnixNano())}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		left, right, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(left); strings.HasPrefix(right, "cgroup2 ") && fields[3] == "/" {
			h.root = fields[4]
		}
	}
	if h.root == "" {
		t.Skip("no unified control group hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup")
	}
	if err := os.Mkdir(h.root+h.path, 0o755); err != nil {
		t.Skipf("control groups cannot be made here, run as root: %v", err)
	}
	t.Cleanup(func() { _ = os.Remove(h.root + h.path) })
	for _, n := range names {
		dir := h.root + h.path + "/" + n
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
	}
	return h
}

func (h hierarchy) dir(name string) string { return h.root + h.path + "/" + name }

func (h hierarchy) identity(name string) Identity {
	return Identity{Key: name, Cgroup: h.path + "/" + name}
}

// listenIn starts a broker over the real kernel with one container per name.
func listenIn(t *testing.T, h hierarchy, names ...string) (*Broker, map[string]string) {
	t.Helper()
	b := New(&fakeDevice{}, Options{})
	b.kernel = realKernel{h.root}
	t.Cleanup(b.Close)
	paths := map[string]string{}
	for _, n := range names {
		dir, err := os.MkdirTemp("", "cl") // a short one: it is part of a socket's address
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if paths[n], _, err = b.Listen(t.Context(), h.identity(n), filepath.Join(dir, "d")); err != nil {
			t.Fatal(err)
		}
	}
	return b, paths
}

// TestSocketHandedToAnotherContainer: whoever is not of the listener's container is told so, however it came by the socket.
func TestSocketHandedToAnotherContainer(t *testing.T) {
	h := cgroups(t, "giver", "receiver")
	_, paths := listenIn(t, h, "giver", "receiver")
	for _, c := range []struct{ in, at, want string }{
		{"giver", "giver", "HTTP/1.1 200 OK"},
		{"receiver", "receiver", "HTTP/1.1 200 OK"},
		{"receiver", "giver", "HTTP/1.1 403 Forbidden"},
		{"", "giver", "HTTP/1.1 403 Forbidden"}, // of no container
	} {
		cgroup := ""
		if c.in != "" {
			cgroup = h.dir(c.in)
		}
		p := startHelper(t, "connect unix "+paths[c.at], cgroup)
		if got := p.line(); got != "connected" {
			t.Fatalf("%q at the socket of %q: %s", c.in, c.at, got)
		}
		if got := p.say("get /status"); got != c.want+" <nil>" {
			t.Errorf("%q at the socket of %q: got %s, want %s", c.in, c.at, got, c.want)
		}
		p.end()
	}
}

// peerChecks are the two ways to find a peer: with the kernel's pidfd for a connection, and without.
var peerChecks = map[string]func(fd int) (string, error){"pidfd": peerCgroup, "holder": cgroupByHolder}

// accepted is a listener's next connection.
func accepted(t *testing.T, l *net.UnixListener) *net.UnixConn {
	t.Helper()
	if err := l.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func listenUnix(t *testing.T) (*net.UnixListener, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/s", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, dir + "/s"
}

func TestPeerIsFoundEitherWay(t *testing.T) {
	h := cgroups(t, "a")
	l, path := listenUnix(t)
	p := startHelper(t, "connect unix "+path, h.dir("a"))
	p.line()
	c := accepted(t, l)
	for name, check := range peerChecks {
		t.Run(name, func(t *testing.T) {
			var got string
			err := control(c, func(fd int) (err error) { got, err = check(fd); return err })
			if err != nil || got != h.path+"/a" {
				t.Errorf("got %q, %v, want %q", got, err, h.path+"/a")
			}
		})
	}
	p.end()
	for name, check := range peerChecks {
		t.Run(name+"-after-its-end", func(t *testing.T) {
			if err := control(c, func(fd int) error { _, err := check(fd); return err }); !errors.Is(err, errPeerGone) {
				t.Errorf("got %v, want that the process has ended", err)
			}
		})
	}
}

// TestPidReuse: a process connects from one container and ends, and its number becomes that of a process in the listener's container. The number alone
// would name the wrong one. The connection lives on in a third process, so that it can still ask.
func TestPidReuse(t *testing.T) {
	h := cgroups(t, "attacker", "victim")
	if _, err := os.Stat("/proc/sys/kernel/ns_last_pid"); err != nil {
		t.Skip("this kernel cannot be told the next process number: CONFIG_CHECKPOINT_RESTORE")
	}
	l, path := listenUnix(t)
	for attempt := 1; ; attempt++ {
		c, pid := connectAndEnd(t, h, l, path)
		victim := reuse(t, h, pid)
		if victim == nil {
			if attempt == 100 {
				t.Fatalf("process number %d was not given again in %d attempts", pid, attempt)
			}
			continue
		}
		err := control(c, func(fd int) error {
			cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
			if err != nil {
				return err
			}
			// What a check by number would believe.
			if got, err := cgroupOf(int(cred.Pid)); err != nil || got != h.path+"/victim" {
				return fmt.Errorf("the case is not the one it should be: process %d is in %q, %v", cred.Pid, got, err)
			}
			for name, check := range peerChecks {
				if got, err := check(fd); err == nil {
					t.Errorf("%s: took the peer for a process of %q", name, got)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return
	}
}

// connectAndEnd has a process of the attacker connect, give the connection away and end. It returns the listener's end and the process's number.
func connectAndEnd(t *testing.T, h hierarchy, l *net.UnixListener, path string) (*net.UnixConn, int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mine, theirs := os.NewFile(uintptr(pair[0]), "mine"), os.NewFile(uintptr(pair[1]), "theirs")
	t.Cleanup(func() { mine.Close() }) // it keeps the connection alive: the descriptor is in its queue
	p := startHelper(t, "connect unix "+path, h.dir("attacker"), theirs)
	theirs.Close()
	p.line()
	c := accepted(t, l)
	if got := p.say("hand"); got != "handed <nil>" {
		t.Fatal(got)
	}
	p.end()
	return c, p.cmd.Process.Pid
}

// reuse starts a process of the victim under a number, or returns nil when the number went to another process.
func reuse(t *testing.T, h hierarchy, pid int) *process {
	t.Helper()
	if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
		t.Skipf("the next process number cannot be set here, run as root: %v", err)
	}
	p := startHelper(t, "wait", h.dir("victim"))
	p.line()
	if p.cmd.Process.Pid != pid {
		p.end()
		return nil
	}
	return p
}

func TestIdentityHolds(t *testing.T) {
	id := container("c1")
	for cgroup, want := range map[string]bool{
		"/cloister/c1": true, "/cloister/c1/init.scope": true,
		"/cloister/c10": false, "/cloister": false, "/": false, "/cloister/c2": false, "": false, "/cloister/c1 (deleted)": false,
	} {
		if got := id.holds(cgroup); got != want {
			t.Errorf("%q: got %v, want %v", cgroup, got, want)
		}
	}
}
