package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// loggerGrace is how long a log driver may take to end after its last output.
const loggerGrace = 10 * time.Second

// logger is a running log driver (containerd's runtime v2 document, "Logging"): descriptors 3 and 4 are the process's output, it closes 5 when it is ready.
type logger struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File // writing ends
	ended          chan struct{}
	once           sync.Once
}

// startLogger runs the driver that u names and waits until it is ready. The query's keys and values are its arguments.
func startLogger(ctx context.Context, u *url.URL, namespace, id string) (_ *logger, err error) {
	var theirs, ours []*os.File
	defer func() {
		closeAll(theirs)
		if err != nil {
			closeAll(ours)
		}
	}()
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		theirs, ours = append(theirs, r), append(ours, w)
	}
	ready, wait, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	theirs = append(theirs, wait)

	cmd := exec.Command(u.Path, loggerArgs(u)...)
	cmd.Env = append(os.Environ(), "CONTAINER_ID="+id, "CONTAINER_NAMESPACE="+namespace)
	cmd.ExtraFiles = theirs
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l := &logger{cmd: cmd, stdout: ours[0], stderr: ours[1], ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // its status concerns nobody: the process runs on
		close(l.ended)
	}()
	closeAll(theirs)
	theirs = nil
	if err := awaitReady(ctx, ready, u.Scheme == "binary-v2"); err != nil {
		_ = cmd.Process.Kill()
		<-l.ended
		return nil, err
	}
	return l, nil
}

// loggerArgs are the query's keys, each followed by its first value, in the order of the names: an URI's query has none of its own.
func loggerArgs(u *url.URL) []string {
	var args []string
	values := u.Query()
	for _, k := range slices.Sorted(maps.Keys(values)) {
		args = append(args, k)
		if v := values.Get(k); v != "" {
			args = append(args, v)
		}
	}
	return args
}

func awaitReady(ctx context.Context, ready *os.File, word bool) error {
	stop := context.AfterFunc(ctx, func() { _ = ready.Close() })
	defer stop()
	n, err := ready.Read(make([]byte, 1))
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("wait for it to be ready: %w", context.Cause(ctx))
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("wait for it to be ready: %w", err)
	case n == 0 && word:
		return errors.New("it ended before it was ready")
	}
	return nil
}

// end closes the driver's input and sees to it that it ends, without waiting for that.
func (l *logger) end() {
	l.once.Do(func() {
		closeAll([]*os.File{l.stdout, l.stderr})
		go func() {
			late := time.NewTimer(loggerGrace)
			defer late.Stop()
			select {
			case <-l.ended:
			case <-late.C:
				_ = l.cmd.Process.Kill()
				<-l.ended
			}
		}()
	})
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
