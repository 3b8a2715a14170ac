package boot

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Config says what Run may differ in.
type Config struct {
	// Modules are loaded before Run returns, side by side; of Optional those the image has.
	Modules  []string
	Optional []string
}

// DefaultConfig loads what the first answer over virtio-serial needs, and nothing else.
func DefaultConfig() Config {
	return Config{Modules: []string{"virtio_pci", "virtio_console"}}
}

// System is a machine that has booted.
type System struct {
	Parameters Parameters
	Console    *Console
	Reaper     *Reaper
	Modules    *Modules

	config Config
	loaded chan error // the boot modules
	undo   []func() error
}

// step is one duty of PID 1.
type step struct {
	name  string
	say   Message // shown before; MessageStarting shows nothing again
	fatal Message // shown when it fails
	do    func(context.Context, *System) (undo func() error, err error)
}

// steps in the order in which they run.
var steps = []step{
	{"kernel file systems", MessageStarting, FatalBoot, stepKernelMounts},
	{"console", MessageStarting, FatalBoot, stepConsole},
	{"parameters", MessageStarting, FatalParameter, stepParameters},
	{"standard streams", MessageStarting, FatalBoot, stepStreams},
	{"start loading modules", MessageModules, FatalBoot, stepStartModules},
	{"settings", MessageStarting, FatalBoot, stepSettings},
	{"root", MessageRoot, FatalBoot, stepRoot},
	{"file systems", MessageMounts, FatalBoot, stepDataMounts},
	{"cgroup controllers", MessageStarting, FatalBoot, stepControllers},
	{"reaper", MessageStarting, FatalBoot, stepReaper},
	{"modules", MessageStarting, FatalBoot, stepAwaitModules},
}

// Run does the duties of PID 1 up to the point where the agent can serve. When a step fails the ones before it are undone; the caller is left
// to power off.
func Run(ctx context.Context, config Config) (*System, error) {
	s := &System{config: config}
	if err := s.run(ctx, steps); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *System) run(ctx context.Context, steps []step) error {
	for _, step := range steps {
		if step.say != MessageStarting {
			s.Console.Say(step.say)
		}
		undo, err := step.do(ctx, s)
		if err != nil {
			s.Console.Say(step.fatal)
			return errors.Join(fmt.Errorf("boot step %q: %w", step.name, err), s.rollback())
		}
		if undo != nil {
			s.undo = append(s.undo, undo)
		}
	}
	return nil
}

func (s *System) rollback() error {
	var errs []error
	for i := len(s.undo) - 1; i >= 0; i-- {
		errs = append(errs, s.undo[i]())
	}
	s.undo = nil
	return errors.Join(errs...)
}

func stepKernelMounts(context.Context, *System) (func() error, error) {
	unix.Umask(0o022)
	return mountAll(kernelMounts)
}

func stepConsole(_ context.Context, s *System) (func() error, error) {
	c, err := openConsole("/dev/console")
	if err != nil {
		return nil, err
	}
	s.Console = c
	c.Say(MessageStarting)
	return nil, nil
}

func stepParameters(_ context.Context, s *System) (func() error, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	s.Parameters, err = ParseCmdline(string(line))
	return nil, err
}

// stepStreams turns the standard streams away from the console. A Go panic, or a library that prints, would show the host what it holds.
func stepStreams(_ context.Context, s *System) (func() error, error) {
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/null", Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	streams := []int{0, 1, 2}
	if s.Parameters.CrashConsole {
		streams = streams[:2]
	}
	for _, to := range streams {
		if err := unix.Dup3(fd, to, 0); err != nil {
			return nil, os.NewSyscallError("dup3", err)
		}
	}
	return nil, nil
}

// stepStartModules begins early: loading takes longer than all other steps together, and they do not need it.
func stepStartModules(ctx context.Context, s *System) (func() error, error) {
	dir, err := modulesDir()
	if err != nil {
		return nil, err
	}
	s.Modules, err = NewModules(dir)
	if err != nil {
		return nil, err
	}
	install(s.Modules)
	names := append([]string(nil), s.config.Modules...)
	for _, name := range s.config.Optional {
		if s.Modules.Has(name) {
			names = append(names, name)
		}
	}
	s.loaded = make(chan error, 1)
	go func() { s.loaded <- s.Modules.Load(ctx, names...) }()
	return nil, nil
}

func stepAwaitModules(_ context.Context, s *System) (func() error, error) {
	return nil, <-s.loaded
}

func stepSettings(context.Context, *System) (func() error, error) {
	return nil, applySettings("/proc/sys")
}

func stepRoot(context.Context, *System) (func() error, error) { return nil, leaveInitramfs() }

func stepDataMounts(context.Context, *System) (func() error, error) { return mountAll(dataMounts) }

func stepControllers(context.Context, *System) (func() error, error) {
	return nil, enableControllers("/sys/fs/cgroup")
}

func stepReaper(_ context.Context, s *System) (func() error, error) {
	r, err := NewReaper()
	if err != nil {
		return nil, err
	}
	s.Reaper = r
	return func() error { r.Close(); return nil }, nil
}

// PowerOff ends the VM. It returns only if the kernel refused.
func (s *System) PowerOff() error {
	if s != nil {
		s.Console.Say(MessagePowerOff)
	}
	return PowerOff()
}

// PowerOff ends the machine, without a word. Nothing is written back: what a VM holds ends with it.
func PowerOff() error {
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	if err == nil {
		return nil
	}
	return fmt.Errorf("power off: %w", err)
}

// PowerOffOnPanic, deferred, ends the machine when its goroutine panics. A panic anywhere else ends PID 1, upon which the kernel panics and, as
// the command line says, ends the machine too.
func (s *System) PowerOffOnPanic() {
	if r := recover(); r != nil {
		s.Console.Say(FatalInternal)
		_ = PowerOff()
		panic(r)
	}
}
