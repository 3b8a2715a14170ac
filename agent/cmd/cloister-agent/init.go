package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/boot"
	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/snp"
)

// initdataError is an initdata disk that cannot be bound: fatal, with a sentence of its own on the console.
type initdataError struct{ err error }

func (e *initdataError) Error() string { return "initdata: " + e.err.Error() }
func (e *initdataError) Unwrap() error { return e.err }

// runInit is PID 1: boot, serve, and end the machine when that ends. It does not return.
func runInit() {
	ctx := context.Background()
	system, err := boot.Run(ctx, boot.DefaultConfig())
	if err == nil {
		defer system.PowerOffOnPanic()
		err = serveAsInit(ctx, system)
	}
	if err != nil {
		// Standard error is /dev/null unless the measured command line says cloister.crash_console.
		fmt.Fprintln(os.Stderr, "cloister-agent: "+err.Error())
	}
	if err != nil && system != nil {
		system.Console.Say(fatalOf(err))
	}
	_ = system.PowerOff()
	os.Exit(1) // the kernel refused to power off; it panics when PID 1 ends, and the command line makes that the end
}

func fatalOf(err error) boot.Message {
	var ie *initdataError
	switch {
	case errors.As(err, &ie):
		return boot.FatalInitdata
	case errors.Is(err, errTransport):
		return boot.FatalTransport
	case errors.Is(err, snp.ErrLevel):
		return boot.FatalLevel
	case errors.Is(err, errDevice):
		return boot.FatalDevice
	}
	return boot.FatalInternal
}

func serveAsInit(ctx context.Context, system *boot.System) error {
	var a *agent
	a, err := assemble(settings{
		pid1: true, strict: system.Parameters.StrictAPI, crun: "/usr/bin/crun",
		reaper: container.NewReaper(system.Reaper), program: system.Reaper.Run, modules: system.Modules.Load,
		bound: func(logging bool) {
			system.Console.Say(boot.MessagePolicyBound)
			system.Console.Silence()
			if logging {
				a.logToConsole()
			}
		},
	})
	if err != nil {
		return err
	}
	open, err := openers(system.Parameters.ServerAddr)
	if err != nil {
		return err
	}
	system.Console.Say(boot.MessageServing)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		// The first answer comes before everything that it does not need: nothing can be asked of the rest before that.
		select {
		case <-a.asked:
		case <-ctx.Done():
			return nil
		}
		err := a.complete(ctx)
		if err == nil && a.device == nil {
			system.Console.Say(boot.MessageNoTEE)
		}
		return err
	})
	for _, o := range open {
		group.Go(func() error { return a.serveOn(ctx, o) })
	}
	// What fails ends the machine: nobody may stay behind in Accept.
	stop := context.AfterFunc(ctx, func() { a.server.Close() })
	defer stop()
	return group.Wait()
}

// logToConsole shows the journal on the console from now on: the policy allows runtime logging.
func (a *agent) logToConsole() {
	fd, err := unix.Open("/dev/console", unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		a.log.Warn("the console cannot be opened; the journal is read by request only")
		return
	}
	a.journal.Forward(consoleWriter(fd))
}

// consoleWriter drops what the console does not take at once: the host decides how fast it is read, and must not be able to stop the agent by that.
type consoleWriter int

func (w consoleWriter) Write(p []byte) (int, error) {
	n, err := unix.Write(int(w), p)
	if err != nil {
		return 0, err
	}
	return n, nil
}

// runProcess is the agent as an ordinary process.
func runProcess(ctx context.Context, f flags) error {
	if f.insecure && snp.Present() {
		return errors.New("--insecure-no-tee is refused: this machine has an SNP report device")
	}
	reaper, err := boot.NewReaper()
	if err != nil {
		return err
	}
	a, err := assemble(settings{insecure: f.insecure, prefix: f.prefix, crun: f.crun, reaper: container.NewReaper(reaper)})
	if err != nil {
		return err
	}
	open, err := openers(f.listen)
	if err != nil {
		return err
	}
	if f.insecure {
		fmt.Fprintln(os.Stderr, "cloister-agent: running without a TEE: nothing here is confidential")
	}
	if err := a.complete(ctx); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { a.server.Close() })
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	for _, o := range open {
		group.Go(func() error { return a.serveOn(ctx, o) })
	}
	return group.Wait()
}
