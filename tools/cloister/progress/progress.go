// Package progress tells a person how far long transfers are: on a terminal as bars with bytes and time left that are drawn
// again in place, elsewhere as plain lines, few enough for a log. It writes to one writer only and never fails what it watches:
// errors of that writer are ignored.
package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	redraw  = 100 * time.Millisecond // between two pictures on a terminal
	plainly = 5 * time.Second        // between two lines of one task elsewhere
	width   = 79                     // of a line; a terminal that is narrower wraps it
)

// Bars shows any number of tasks. Its methods and those of its tasks may be called from several goroutines.
type Bars struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	now      func() time.Time
	active   []*Task
	drawn    int // lines of the picture that is there
	last     time.Time
}

// New writes to w, which is a terminal or is not.
func New(w io.Writer, terminal bool) *Bars { return &Bars{w: w, terminal: terminal, now: time.Now} }

// Task is one thing that takes its time.
type Task struct {
	bars  *Bars
	name  string
	size  int64 // 0 when nobody knows
	done  int64
	begin time.Time
	told  time.Time
	ended bool
}

// Task starts one; size is its length in bytes, 0 if nobody knows. End it with Done.
func (b *Bars) Task(name string, size int64) *Task {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	t := &Task{bars: b, name: tidy(name), size: max(size, 0), begin: now, told: now}
	b.active = append(b.active, t)
	b.draw(now, false)
	return t
}

// Add counts n more bytes.
func (t *Task) Add(n int64) {
	t.bars.mu.Lock()
	defer t.bars.mu.Unlock()
	t.done += n
	t.show()
}

// Set says that n bytes are done.
func (t *Task) Set(n int64) {
	t.bars.mu.Lock()
	defer t.bars.mu.Unlock()
	t.done = n
	t.show()
}

// Done ends the task; further calls do nothing.
func (t *Task) Done() {
	b := t.bars
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	for i, other := range b.active {
		if other == t {
			b.active = append(b.active[:i], b.active[i+1:]...)
			break
		}
	}
	now := b.now()
	if b.terminal {
		b.erase()
	}
	fmt.Fprintln(b.w, t.summary(now))
	b.draw(now, true)
}

// Reader counts what is read through it. Close ends the task; the end of the stream does so too.
func (b *Bars) Reader(name string, size int64, r io.Reader) io.ReadCloser {
	return &reader{r, b.Task(name, size)}
}

type reader struct {
	r    io.Reader
	task *Task
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.task.Add(int64(n))
	if err == io.EOF {
		r.task.Done()
	}
	return n, err
}

func (r *reader) Close() error {
	r.task.Done()
	return nil
}

// show draws when it is time to.
func (t *Task) show() {
	if t.ended {
		return
	}
	b := t.bars
	now := b.now()
	if b.terminal {
		b.draw(now, false)
		return
	}
	if now.Sub(t.told) >= plainly {
		t.told = now
		fmt.Fprintln(b.w, t.line(now))
	}
}

// draw replaces the picture on a terminal.
func (b *Bars) draw(now time.Time, always bool) {
	if !b.terminal || !always && now.Sub(b.last) < redraw {
		return
	}
	b.last = now
	b.erase()
	var text strings.Builder
	for _, t := range b.active {
		text.WriteString(t.bar(now) + "\n")
	}
	b.drawn = len(b.active)
	_, _ = io.WriteString(b.w, text.String())
}

// erase takes the picture away.
func (b *Bars) erase() {
	if b.drawn > 0 {
		fmt.Fprintf(b.w, "\x1b[%dA\x1b[J", b.drawn)
		b.drawn = 0
	}
}

// bar is a task's line on a terminal.
func (t *Task) bar(now time.Time) string {
	const cells = 20
	filled := 0
	if t.size > 0 {
		filled = int(min(t.done, t.size) * cells / t.size)
	}
	picture := strings.Repeat("=", filled) + strings.Repeat(" ", cells-filled)
	line := fmt.Sprintf("%-22s [%s] %s", cut(t.name, 22), picture, t.figures(now))
	return cut(line, width)
}

// line is a task's line elsewhere.
func (t *Task) line(now time.Time) string { return t.name + ": " + t.figures(now) }

func (t *Task) figures(now time.Time) string {
	took := now.Sub(t.begin).Seconds()
	if t.size == 0 {
		return Bytes(t.done)
	}
	text := Bytes(t.done) + " of " + Bytes(t.size)
	if t.done > 0 && took > 0 && t.done < t.size {
		left := time.Duration(took / float64(t.done) * float64(t.size-t.done) * float64(time.Second))
		text += ", " + duration(left) + " left"
	}
	return text
}

func (t *Task) summary(now time.Time) string {
	took := now.Sub(t.begin)
	text := fmt.Sprintf("%s: %s in %s", t.name, Bytes(t.done), duration(took))
	if seconds := took.Seconds(); seconds >= 1 {
		text += fmt.Sprintf(" (%s/s)", Bytes(int64(float64(t.done)/seconds)))
	}
	return text
}

// Bytes writes a number of bytes for people: "17 B", "1.5 MiB".
func Bytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n), -1
	for value >= unit && prefix < 4 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[prefix])
}

// duration writes a time for people: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min".
func duration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// tidy makes a name one short line: names come from registries and archives, and a terminal obeys control characters.
func tidy(name string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
	return cut(name, 64)
}

func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
