package progress

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a time that the test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func bars(terminal bool) (*Bars, *bytes.Buffer, *clock) {
	var out bytes.Buffer
	c := &clock{at: time.Unix(1700000000, 0)}
	b := New(&out, terminal)
	b.now = c.now
	return b, &out, c
}

func TestPlainLines(t *testing.T) {
	b, out, c := bars(false)
	task := b.Task("layer \x1b[2J1", 100<<20)
	for range 12 {
		c.pass(time.Second)
		task.Add(8 << 20)
	}
	task.Done()
	task.Done()
	want := "layer ?[2J1: 40.0 MiB of 100.0 MiB, 7.5 s left\n" +
		"layer ?[2J1: 80.0 MiB of 100.0 MiB, 2.5 s left\n" +
		"layer ?[2J1: 96.0 MiB in 12 s (8.0 MiB/s)\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestTerminal(t *testing.T) {
	b, out, c := bars(true)
	one, two := b.Task("one", 1000), b.Task("two", 0)
	c.pass(time.Second)
	one.Set(250)
	picture := out.Len()
	if one.Set(260); out.Len() != picture {
		t.Error("drawn again at once")
	}
	c.pass(time.Second)
	two.Add(2048)
	one.Done()
	two.Done()
	for _, want := range []string{"one                    [=====               ] 250 B of 1000 B, 3.0 s left", "\x1b[2A\x1b[J", "two                    [                    ] 2.0 KiB", "one: 260 B in 2.0 s (130 B/s)\n", "two: 2.0 KiB in 2.0 s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %q, want %q in it", out, want)
		}
	}
	rest := out.String()[strings.LastIndex(out.String(), "\x1b[J"):]
	if strings.Contains(rest, "[ ") {
		t.Errorf("got %q after the last picture, want the summary only", rest)
	}
	for line := range strings.Lines(out.String()) {
		if len([]rune(line)) > width+10 {
			t.Errorf("line %q is too long", line)
		}
	}
}

func TestReader(t *testing.T) {
	b, out, _ := bars(false)
	r := b.Reader("stream", 3, strings.NewReader("abc"))
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "abc" {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if want := "stream: 3 B in 0.0 s\n"; out.String() != want {
		t.Errorf("got %q, want %q once", out, want)
	}
}

// broken is a terminal that went away.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestWriterThatFails(t *testing.T) {
	got, err := io.ReadAll(New(broken{}, true).Reader("a", 1, strings.NewReader("x")))
	if err != nil || string(got) != "x" {
		t.Errorf("got %q, %v, want what is watched to go on", got, err)
	}
}

func TestManyAtOnce(t *testing.T) {
	b, out, c := bars(true)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			task := b.Task("t", 1000)
			for range 100 {
				c.pass(time.Millisecond)
				task.Add(10)
			}
			task.Done()
		})
	}
	wg.Wait()
	if got := strings.Count(out.String(), "t: 1000 B in"); got != 8 || len(b.active) != 0 {
		t.Errorf("got %d summaries and %d tasks left, want 8 and none", got, len(b.active))
	}
}

func TestFigures(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 3 << 29: "1.5 GiB", 1 << 62: "4096.0 PiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{400 * time.Millisecond: "0.4 s", 42 * time.Second: "42 s", 200 * time.Second: "3 min 20 s", 125 * time.Minute: "2 h 5 min"} {
		if got := duration(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
