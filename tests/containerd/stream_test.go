package containerd_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// terminal is a shell on a terminal of another size than any default.
var terminal = shell("stty size 2>/dev/null; tty; read word; echo got $word; exit 5")

// TestStreams uses CRI's streaming server as kubectl does: exec with and without a terminal, attach, exit codes.
func TestStreams(t *testing.T) {
	n := shared(t)
	words := shell("cat; echo err >&2; exit 9")
	spec := allow(t, newPod("streams", container("main", "work", shell("while read l; do echo main: $l; done; echo end; exit 4")...)), "main", terminal, words, []string{"/usr/bin/cat"})
	spec.Spec.Containers[0].Stdin = true
	spec.Spec.Containers[0].StdinOnce = true
	p := n.run(n.policed(spec), bed.HandlerCloister)

	t.Run("exec", func(t *testing.T) {
		var out, errOut bytes.Buffer
		code, err := p.Exec(n.ctx, "main", bed.Streams{Stdin: strings.NewReader("from stdin\n"), Stdout: &out, Stderr: &errOut}, words...)
		if err != nil || code != 9 || out.String() != "from stdin\n" || errOut.String() != "err\n" {
			t.Errorf("got code %d, %v, %q and %q", code, err, out.String(), errOut.String())
		}
	})
	t.Run("exec-terminal", func(t *testing.T) {
		var out bytes.Buffer
		code, err := p.Exec(n.ctx, "main", bed.Streams{Stdin: strings.NewReader("word\n"), Stdout: &out, TTY: true, Sizes: &oneSize{Width: 91, Height: 37}}, terminal...)
		if err != nil || code != 5 {
			t.Errorf("got code %d, %v: %q", code, err, out.String())
		}
		for _, want := range []string{"/dev/pts/", "got word\r\n"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("got %q, want it to have %q", out.String(), want)
			}
		}
	})
	t.Run("exec-stdin-1MiB", func(t *testing.T) { p.wantEcho(t, 1<<20) })
	t.Run("attach", func(t *testing.T) { p.attach(t) })
	p.wantExit("main", 4, "Error")
	wantLog(t, p.Pod, "main", "main: one", "main: two", "end")
}

// oneSize is a terminal that never changes.
type oneSize remotecommand.TerminalSize

func (s *oneSize) Next() *remotecommand.TerminalSize {
	if s.Width == 0 {
		return nil
	}
	size := remotecommand.TerminalSize(*s)
	*s = oneSize{}
	return &size
}

// attach writes two lines and the end to the first process, and reads what it says to each before the next is written.
func (p *pod) attach(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.n.ctx, time.Minute)
	defer cancel()
	in, input := io.Pipe()
	output, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := p.Attach(ctx, "main", bed.Streams{Stdin: in, Stdout: out})
		done <- errors.Join(err, out.CloseWithError(err))
	}()
	lines := bufio.NewScanner(output)
	for _, word := range []string{"one", "two"} {
		if _, err := io.WriteString(input, word+"\n"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != "main: "+word {
			t.Fatalf("got %q, %v, want the answer to %q", lines.Text(), lines.Err(), word)
		}
	}
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() || lines.Text() != "end" {
		t.Errorf("got %q, %v, want the last line", lines.Text(), lines.Err())
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// wantEcho sends bytes through cat and compares hashes.
func (p *pod) wantEcho(t *testing.T, size int64) {
	t.Helper()
	sent, got := sha256.New(), sha256.New()
	source := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), sent)
	counted := &counter{}
	code, err := p.Exec(p.n.ctx, "main", bed.Streams{Stdin: source, Stdout: io.MultiWriter(got, counted)}, "/usr/bin/cat")
	if err != nil || code != 0 {
		t.Fatalf("got code %d, %v", code, err)
	}
	if counted.n != size || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Errorf("got %d bytes with hash %x, want %d with %x", counted.n, got.Sum(nil), size, sent.Sum(nil))
	}
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func wantLog(t *testing.T, p *bed.Pod, container string, want ...string) {
	t.Helper()
	lines, err := p.Log(container)
	if err != nil {
		t.Error(err)
		return
	}
	var got []string
	for _, l := range lines {
		got = append(got, l.Text)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("log of %q: got %q, want %q", container, got, want)
	}
}

// TestFullStdin100MiB sends 100 MiB through cat.
func TestFullStdin100MiB(t *testing.T) {
	n := shared(t)
	p := n.run(n.policed(simplePod(t, "stdin", []string{"/usr/bin/cat"})), bed.HandlerCloister)
	p.wantEcho(t, 100<<20)
}

// TestOutputOrder writes 10,000 lines to stdout and stderr in turn: each stream arrives whole and in order, in the log and through exec.
func TestOutputOrder(t *testing.T) {
	const lines = 10_000
	script := shell(fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo $i; i=$((i+1)); echo $i >&2; i=$((i+1)); done", lines))
	n := shared(t)
	p := n.run(n.policed(allow(t, newPod("order", container("main", "work", script...), container("idle", "work", "/usr/bin/sleep", "100000")), "idle", script)), bed.HandlerCloister)
	p.wantExit("main", 0, "Completed")
	log, err := p.Log("main")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, l := range log {
		got[l.Stream] = append(got[l.Stream], l.Text)
	}
	wantNumbers(t, "log, stdout", got["stdout"], 0, lines)
	wantNumbers(t, "log, stderr", got["stderr"], 1, lines)

	var out, errOut bytes.Buffer
	code, err := p.Exec(n.ctx, "idle", bed.Streams{Stdout: &out, Stderr: &errOut}, script...)
	if err != nil || code != 0 {
		t.Fatalf("exec: got code %d, %v", code, err)
	}
	wantNumbers(t, "exec, stdout", strings.Fields(out.String()), 0, lines)
	wantNumbers(t, "exec, stderr", strings.Fields(errOut.String()), 1, lines)
}

// wantNumbers checks that lines count from a number in steps of two.
func wantNumbers(t *testing.T, what string, got []string, from, to int) {
	t.Helper()
	if len(got) != (to-from+1)/2 {
		t.Errorf("%s: got %d lines, want %d", what, len(got), (to-from+1)/2)
		return
	}
	for i, text := range got {
		if want := fmt.Sprint(from + 2*i); text != want {
			t.Errorf("%s: line %d: got %q, want %q", what, i, text, want)
			return
		}
	}
}

// TestExits are codes, signals and memory that runs out, as CRI reports them.
func TestExits(t *testing.T) {
	n := shared(t)
	hog := container("hog", "work", "/usr/bin/w", "hog", "256")
	p := n.run(n.policed(newPod("exits", container("code", "work", shell("echo bye >/dev/termination-log && exit 42")...), container("asked", "work", shell("trap 'exit 12' TERM; while :; do sleep 0.1; done")...),
		container("asleep", "work", "/usr/bin/sleep", "100000"), hog)), bed.HandlerCloister)
	p.wantExit("code", 42, "Error")
	p.wantExit("hog", 137, "OOMKilled")
	for name, patience := range map[string]int64{"asleep": 0, "asked": 30} {
		if err := n.Runtime.StopContainer(n.ctx, p.Created[name], patience); err != nil {
			t.Error(err)
		}
	}
	p.wantExit("asked", 12, "Error")
	p.wantExit("asleep", 137, "Error")
}
