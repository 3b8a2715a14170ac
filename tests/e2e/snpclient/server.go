package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// server is the software processor behind the kernel's interfaces, as the image's own /init serves it.
type server struct{ cmd *exec.Cmd }

func serve(params string) (*server, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("/init", "serve", "--tee", params, "--cuse", "/dev/cuse", "--tsm", "/sys/kernel/config", "--ready-fd", "3")
	cmd.Args[0] = "snp-emulator"
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, []*os.File{w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("processor of %s: got %q: %w", params, line, errors.Join(err, cmd.Wait()))
	}
	return &server{cmd}, nil
}

// stop takes the interfaces away; what a client left open or behind must not keep them.
func (s *server) stop() error {
	if s == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(unix.SIGTERM); err != nil {
		return err
	}
	return s.cmd.Wait()
}
