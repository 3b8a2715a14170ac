package task

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
)

const lines = 10_000

// talk writes numbered lines to both outputs in turn.
func talk(_ context.Context, p *fakeProcess) uint32 {
	for i := range lines {
		for _, w := range []io.Writer{p.outW, p.errW} {
			if _, err := fmt.Fprintf(w, "line %d\n", i); err != nil {
				return 1
			}
		}
	}
	return 0
}

func checkLines(t *testing.T, name string, r io.Reader) {
	scan := bufio.NewScanner(r)
	n := 0
	for ; scan.Scan(); n++ {
		if want := fmt.Sprintf("line %d", n); scan.Text() != want {
			t.Errorf("%s: got %q, want %q", name, scan.Text(), want)
			return
		}
	}
	if n != lines {
		t.Errorf("%s: got %d lines, want %d", name, n, lines)
	}
}

func TestOutputKeepsOrder(t *testing.T) {
	w := newWorld(t)
	w.pod.programs = map[string]program{"talk": talk, "pause": programs["pause"]}
	w.startPod()
	out, errs := w.makeFIFO("out"), w.makeFIFO("err")
	stdout, stderr := w.reader(out), w.reader(errs)
	w.create("c", "talk", stdio{stdout: out, stderr: errs})
	var read sync.WaitGroup
	read.Go(func() { checkLines(t, "stdout", stdout) })
	read.Go(func() { checkLines(t, "stderr", stderr) })
	w.start("c", "")
	if got := w.wait("c", ""); got != 0 {
		t.Errorf("status got %d, want 0", got)
	}
	read.Wait() // both ended: the writers have closed
}

func TestStdinArrivesWhole(t *testing.T) {
	w := newWorld(t)
	w.startPod()
	in, out := w.makeFIFO("in"), w.makeFIFO("out")
	stdout := w.reader(out)
	w.create("c", "cat", stdio{stdin: in, stdout: out})
	w.start("c", "")
	const size = 100 << 20
	hash := make(chan string, 1)
	go func() {
		h := sha256.New()
		n, err := io.Copy(h, stdout)
		hash <- fmt.Sprintf("%d bytes, %v, %x", n, err, h.Sum(nil))
	}()
	stdin, err := os.OpenFile(in, os.O_WRONLY, 0)
	w.ok(err)
	sent := sha256.New()
	_, err = io.Copy(io.MultiWriter(stdin, sent), io.LimitReader(rand.NewChaCha8([32]byte{1}), size))
	w.ok(err)
	// CloseIO comes before the last bytes were read, and before the client closes: neither loses any.
	_, err = w.task.CloseIO(w.ctx, &taskv3.CloseIORequest{ID: "c", Stdin: true})
	w.ok(err)
	w.ok(stdin.Close())
	if want, got := fmt.Sprintf("%d bytes, <nil>, %x", size, sent.Sum(nil)), <-hash; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := w.wait("c", ""); got != 0 {
		t.Errorf("status got %d, want 0", got)
	}
}

// A client that goes away ends nothing, another one may come: standard input ends with CloseIO alone.
func TestReattach(t *testing.T) {
	w := newWorld(t)
	w.startPod()
	in, out := w.makeFIFO("in"), w.makeFIFO("out")
	first := w.reader(out)
	w.create("c", "cat", stdio{stdin: in, stdout: out})
	w.start("c", "")
	for i, stdout := range []*os.File{first, w.reader(out)} {
		stdin, err := os.OpenFile(in, os.O_WRONLY, 0)
		w.ok(err)
		want := fmt.Sprintf("client %d\n", i)
		_, err = io.WriteString(stdin, want)
		w.ok(err)
		w.ok(stdin.Close())
		got := make([]byte, len(want))
		_, err = io.ReadFull(stdout, got)
		w.ok(err)
		if string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if i == 0 {
			w.ok(stdout.Close()) // between the two clients the shim holds both ends
		}
	}
	_, err := w.task.CloseIO(w.ctx, &taskv3.CloseIORequest{ID: "c", Stdin: true})
	w.ok(err)
	if got := w.wait("c", ""); got != 0 {
		t.Errorf("status got %d, want 0", got)
	}
}

// Who does not read his output holds up himself, and nobody else.
func TestSlowReader(t *testing.T) {
	w := newWorld(t)
	w.pod.programs = map[string]program{"talk": talk, "pause": programs["pause"], "true": programs["true"]}
	w.startPod()
	stuck := w.makeFIFO("stuck")
	slow := w.reader(stuck)
	w.create("c", "talk", stdio{stdout: stuck})
	w.start("c", "")
	w.create("d", "true", stdio{})
	w.start("d", "")
	w.wait("d", "")
	w.remove("d", "")
	state, err := w.task.State(w.ctx, &taskv3.StateRequest{ID: "c"})
	w.ok(err)
	if state.ExitedAt != nil {
		t.Error("the talker has ended, want it to wait for its reader")
	}
	checkLines(t, "stdout", slow)
	w.wait("c", "")
}

// An exit is told although its output is not taken, after a while, and a delete ends the writing.
func TestStalledReaderDoesNotHoldExit(t *testing.T) {
	st := &streams{stdout: &output{w: io.Discard}, stderr: &output{w: io.Discard}}
	c := &copies{streams: st, out: make(chan struct{})}
	c.drain(t.Context(), time.Millisecond, time.Minute) // returns though out stays open
}

func TestFileOutput(t *testing.T) {
	w := newWorld(t)
	w.pod.programs = map[string]program{"talk": talk, "pause": programs["pause"]}
	w.startPod()
	path := filepath.Join(w.dir, "logs", "c.log")
	uri := "file://" + path
	w.create("c", "talk", stdio{stdout: uri, stderr: uri})
	w.start("c", "")
	w.wait("c", "")
	w.remove("c", "")
	text, err := os.ReadFile(path)
	w.ok(err)
	if got := bytes.Count(text, []byte("\n")); got != 2*lines {
		t.Errorf("got %d lines, want %d", got, 2*lines)
	}
}

func TestLogDriver(t *testing.T) {
	w := newWorld(t)
	w.pod.programs = map[string]program{"talk": talk, "pause": programs["pause"]}
	w.startPod()
	driver := filepath.Join(w.dir, "driver")
	script := "#!/bin/sh\nprintf x >&5\nexec 5>&-\ncat <&4 >$2.err &\ncat <&3 >$2.$CONTAINER_NAMESPACE.$CONTAINER_ID\nwait\n: >$2.done\n"
	w.ok(os.WriteFile(driver, []byte(script), 0o700))
	to := filepath.Join(w.dir, "log")
	for _, scheme := range []string{"binary", "binary-v2"} {
		id := "c-" + scheme
		uri := scheme + "://" + driver + "?to=" + to + "-" + scheme
		w.create(id, "talk", stdio{stdout: uri, stderr: uri})
		w.start(id, "")
		w.wait(id, "")
		logger := w.service.containers[id].init.open()
		_ = logger
		w.remove(id, "")
		awaitFile(t, to+"-"+scheme+".done")
		f, err := os.Open(to + "-" + scheme + ".ns." + id)
		w.ok(err)
		checkLines(t, scheme, f)
		f.Close()
	}
	_, err := w.task.Create(w.ctx, &taskv3.CreateTaskRequest{ID: "bad", Bundle: w.bundle("bad", "talk"), Stdout: "binary-v2:///bin/true"})
	if err == nil || !strings.Contains(err.Error(), "before it was ready") {
		t.Errorf("create with a driver that ends: got %v", err)
	}
	_, err = w.task.Create(w.ctx, &taskv3.CreateTaskRequest{ID: "worse", Bundle: w.bundle("worse", "talk"), Stdout: "ftp://x"})
	if err == nil || !strings.Contains(err.Error(), `got scheme "ftp"`) {
		t.Errorf("create with a scheme that nobody knows: got %v", err)
	}
}

// awaitFile waits until a file is there.
func awaitFile(t *testing.T, path string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); ; {
		if _, err := os.Stat(path); err == nil {
			return
		} else if !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no %s", path)
		}
	}
}

// A create whose reader never comes ends with its context.
func TestOpenStreamsHonoursContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if st, err := openStreams(ctx, "ns", "c", stdio{stdout: path}); err == nil {
		st.close()
		t.Error("got no error, want the context's")
	}
}

// The call that opened standard input ends at once; input must not end with it.
func TestInputOutlivesItsCall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		ctx, cancel := context.WithCancel(t.Context())
		st := &streams{}
		err := st.openInput(ctx, path)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if err := st.closeInput(); err != nil {
			t.Fatal(err)
		}
		if n, err := st.stdin.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Fatalf("read got %d bytes, %v, want the end", n, err)
		}
		st.close()
	}
}

// What a client writes is not taken before the start: it learns that it may close input only when the create has returned.
func TestStdinWaitsForStart(t *testing.T) {
	w := newWorld(t)
	w.startPod()
	in := w.makeFIFO("in")
	w.create("c", "cat", stdio{stdin: in})
	if f, err := os.OpenFile(in, os.O_WRONLY|syscall.O_NONBLOCK, 0); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("open before the start: got %v, want nobody to read", err)
		f.Close()
	}
	_, err := w.task.CloseIO(w.ctx, &taskv3.CloseIORequest{ID: "c", Stdin: true})
	w.ok(err)
	w.start("c", "") // and input ends at once: nobody wrote, and CloseIO came first
	if got := w.wait("c", ""); got != 0 {
		t.Errorf("status got %d, want 0", got)
	}
}

// A guest that goes on writing after its process has ended does not put off the word of that.
func TestDrainHasLimit(t *testing.T) {
	c := &copies{streams: &streams{stdout: &output{w: io.Discard}, stderr: &output{w: io.Discard}}, out: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for ctx.Err() == nil {
			_, _ = c.streams.stdout.Write([]byte{0})
			runtime.Gosched()
		}
	})
	c.drain(t.Context(), 10*time.Millisecond, 100*time.Millisecond)
	cancel()
	writer.Wait()
}
