package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// daemon is a process of the node that runs until it is stopped.
type daemon struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // of Wait; valid after done
}

// daemonTimeout is how long a daemon may take to begin and to end.
const daemonTimeout = time.Minute

func (n *Node) daemon(name, program string, args ...string) (*daemon, error) {
	d := &daemon{name: name, log: filepath.Join(n.Dir, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	d.cmd = exec.Command(program, args...)
	d.cmd.Stdout, d.cmd.Stderr = out, out
	d.cmd.Env = append(os.Environ(), n.mark, "CLOISTER_NODE_CONFIG="+filepath.Join(n.Dir, "node.toml"),
		"PATH="+strings.Join([]string{n.programs.Ours, n.programs.Others, "/usr/sbin", "/usr/bin", "/sbin", "/bin"}, ":"))
	// A group of its own: Ctrl-C is for the tests, which then end the daemon in order.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.done)
	}()
	return d, nil
}

// await asks until the daemon answers. Nothing tells when a daemon that does not speak to systemd is ready, so it is asked again and again.
func (d *daemon) await(ctx context.Context, what string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	err := ready(ctx)
	for err != nil {
		select {
		case <-tick.C:
			if last := ready(ctx); last == nil || ctx.Err() == nil {
				err = last
			}
		case <-d.done:
			return fmt.Errorf("%s ended: %w\n%s", d.name, d.err, d.tail())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s of %s: %w\n%s", what, d.name, err, d.tail())
		}
	}
	return nil
}

// kill ends it as a crash would.
func (d *daemon) kill() error {
	err := d.cmd.Process.Kill()
	<-d.done
	return ignoreDone(err)
}

// stop asks it to end, and kills it when it does not.
func (d *daemon) stop(ctx context.Context) error {
	if err := ignoreDone(d.cmd.Process.Signal(syscall.SIGTERM)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s did not end in time", d.name), d.kill())
	}
}

func ignoreDone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func (d *daemon) tail() string {
	data, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	return lastBytes(string(data))
}
