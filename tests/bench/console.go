package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/vm"
)

// console reads a VM's serial console through a pipe with a name, and notes when each line came: a file would have to be looked at over
// and over.
type console struct {
	dir  string
	pipe *os.File

	mu      sync.Mutex
	lines   []consoleLine
	changed chan struct{} // closed and replaced on each line
}

type consoleLine struct {
	text string
	at   time.Time
}

// saidLine is a line and when it came, from the start.
type saidLine struct {
	text string
	at   time.Duration
}

// openConsole gives the VM a directory of its own and a console there.
func (b *bench) openConsole(c *vm.Config) (*console, error) {
	dir, err := os.MkdirTemp(b.scratch, "boot-")
	if err != nil {
		return nil, err
	}
	c.Dir, c.Console = filepath.Join(dir, "vm"), filepath.Join(dir, "console")
	if err := unix.Mkfifo(c.Console, 0o600); err != nil {
		return nil, fmt.Errorf("make console: %w", err)
	}
	// Open for writing too: then the VM's opening does not wait, and there is no end before close.
	pipe, err := os.OpenFile(c.Console, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	out := &console{dir: dir, pipe: pipe, changed: make(chan struct{})}
	go out.read()
	return out, nil
}

func (c *console) read() {
	lines := bufio.NewScanner(c.pipe)
	for lines.Scan() {
		c.mu.Lock()
		c.lines = append(c.lines, consoleLine{strings.TrimSpace(lines.Text()), time.Now()})
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
	}
}

// await returns when a line came.
func (c *console) await(ctx context.Context, line string) (time.Time, error) {
	for {
		c.mu.Lock()
		for _, l := range c.lines {
			if l.text == line {
				c.mu.Unlock()
				return l.at, nil
			}
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("wait for %q on the console, which says %v: %w", line, c.said(time.Now()), ctx.Err())
		}
	}
}

func (c *console) said(begin time.Time) []saidLine {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []saidLine
	for _, l := range c.lines {
		if l.text != "" {
			out = append(out, saidLine{l.text, l.at.Sub(begin)})
		}
	}
	return out
}

func (c *console) close() {
	c.pipe.Close()
	os.RemoveAll(c.dir)
}
