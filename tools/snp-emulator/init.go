package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
)

const (
	readyLine   = "ready\n"
	startLine   = "start\n"
	cuseDevice  = "/dev/cuse"
	configfsDir = "/sys/kernel/config"
	// patience bounds the wait for an interface: long for a slow emulated machine, short enough for its owner to see the reason.
	patience = 60 * time.Second
)

// initThen makes the machine look like an SNP guest and becomes program. It keeps its process id: as PID 1 it hands PID 1 on.
func initThen(ctx context.Context, program []string, stderr io.Writer) error {
	err := prepare(ctx, stderr)
	if err == nil {
		err = syscall.Exec(program[0], program, os.Environ())
		err = fmt.Errorf("exec %q: %w", program[0], err)
	}
	if os.Getpid() == 1 {
		// Without an interface there is nothing to go on with, and an init that returns is a kernel panic: say why and switch off.
		fmt.Fprintln(stderr, "snp-emulator: "+err.Error())
		return errors.Join(err, unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
	}
	return err
}

func prepare(ctx context.Context, stderr io.Writer) error {
	for _, m := range []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := mount(m.kind, m.dir); err != nil {
			return err
		}
	}
	// The server starts up (a good part of the time under emulation) while the modules load; it is told of the disk when there is one.
	child, err := startServer()
	if err != nil {
		return err
	}
	defer child.close()
	if err := loadModules(); err != nil {
		return err
	}
	disk, err := emulator.FindTEEDisk("/sys/block")
	if errors.Is(err, emulator.ErrNoTEEDisk) {
		// The machine was not asked to emulate anything. Production code will find no device, and refuse.
		fmt.Fprintln(stderr, "snp-emulator: "+err.Error()+": going on without an SNP device")
		return child.dismiss()
	}
	if err != nil {
		return err
	}
	disk = filepath.Join("/dev", disk)
	params, err := readParams(disk)
	if err != nil {
		return err
	}
	if err := child.serve(disk); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := probe(ctx, params); err != nil {
		return err
	}
	return child.start()
}

// mount mounts a kernel file system; one that is there already is as good.
func mount(kind, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(kind, dir, kind, unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount %q: %w", dir, err)
	}
	return nil
}

// loadModules loads what the disk and the interfaces need, both chains at once. A module that is not in the image may be built in; whether the
// interface is there shows when it is used.
func loadModules() error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	mods, err := readModules(filepath.Join("/usr/lib/modules", unix.ByteSliceToString(uts.Release[:])))
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, chain := range [][]string{{"virtio_pci", "virtio_blk"}, {"fuse", "cuse", "configfs"}} {
		g.Go(func() error {
			for _, name := range chain {
				if err := mods.load(name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// server is the device server: this program once more, as a child. It is PID 1's child and stays so; it keeps the old root directory when the
// agent moves to a new one, which is all it needs.
type server struct {
	process *os.Process
	order   *os.File      // what it is told: the disk's path, then startLine
	answer  *os.File      // what it says: readyLine after each
	lines   *bufio.Reader // of answer
}

func startServer() (_ *server, err error) {
	orderR, orderW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orderR.Close()
	answerR, answerW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, orderW.Close())
	}
	defer answerW.Close()
	argv := []string{"snp-emulator", "serve", "--cuse", cuseDevice, "--tsm", configfsDir, "--ready-fd", "3", "--order-fd", "4"}
	child, err := os.StartProcess("/proc/self/exe", argv, &os.ProcAttr{
		Dir:   "/",
		Files: []*os.File{nil, os.Stdout, os.Stderr, answerW, orderR},
		Sys:   &syscall.SysProcAttr{Setsid: true}, // no signal meant for the agent's group reaches it
	})
	s := &server{process: child, order: orderW, answer: answerR, lines: bufio.NewReader(answerR)}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("start the device server: %w", err)
	}
	spare(child.Pid)
	return s, nil
}

func (s *server) close() {
	s.order.Close()
	s.answer.Close()
}

// serve names the disk and returns when the interfaces are served.
func (s *server) serve(disk string) error { return s.say(disk + "\n") }

// start lets the fault script begin, and leaves the server to itself.
func (s *server) start() error {
	if err := s.say(startLine); err != nil {
		return err
	}
	return s.process.Release()
}

func (s *server) say(line string) error {
	if _, err := s.order.WriteString(line); err != nil {
		return fmt.Errorf("start the device server: %w: it ended, see its message above", err)
	}
	answer, err := s.lines.ReadString('\n')
	if err != nil || answer != readyLine {
		return fmt.Errorf("start the device server: got %q, want %q: it ended, see its message above: %w", answer, readyLine, err)
	}
	return nil
}

// dismiss lets the server end without having served, and leaves no zombie to the agent.
func (s *server) dismiss() error {
	s.order.Close()
	_, err := s.process.Wait()
	return err
}

// spare keeps the OOM killer away: in a real machine nothing can kill the firmware. Without the right to do so it goes on unspared.
func spare(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("-1000"), 0)
}

// probe tries the interfaces that are served, as the agent will: a report from the device, an entry in the tree.
func probe(ctx context.Context, params emulator.TEEParams) error {
	if params.Serves(emulator.IoctlOnly) {
		dev, err := snp.Open(ctx, snp.OpenOptions{TSMRoot: "/nonexistent", VMPL: params.VMPLFloor})
		if err != nil {
			return fmt.Errorf("probe: %w", err)
		}
		_, err = dev.Report(ctx, [64]byte{})
		if err := errors.Join(err, dev.Close()); err != nil {
			return fmt.Errorf("probe %s: %w", dev, err)
		}
	}
	if !params.Serves(emulator.ConfigfsOnly) {
		return nil
	}
	if _, err := snp.Open(ctx, snp.OpenOptions{DevicePath: "/nonexistent", VMPL: params.VMPLFloor}); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}
