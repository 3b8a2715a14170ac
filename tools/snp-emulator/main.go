// Command snp-emulator is a software SEV-SNP processor for development machines. As /init of the development image it puts the kernel's
// two report interfaces in place and then becomes the agent; see package snp/emulator for what it is worth (nothing, by design).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// agentPath is what runs after the emulator when it was started as "init".
const agentPath = "/sbin/cloister-agent"

const usage = `usage: snp-emulator --then PROGRAM [ARG...]
       snp-emulator serve --tee FILE [--cuse /dev/cuse] [--tsm DIR]

The first form is the init of the development image (and what it does when its name is "init", with
` + agentPath + `): it mounts proc, sys and dev, loads modules, finds the disk with serial cloister-tee, starts
the second form as a child, waits until both interfaces answer, and becomes PROGRAM.

The second form serves the interfaces until it is stopped. On a machine without CUSE:

    cloister dev tee init
    snp-emulator serve --tee tee.img --tsm /run/tsm
`

func main() {
	os.Exit(run(os.Args, os.Stderr))
}

func run(argv []string, stderr io.Writer) int {
	err := dispatch(argv, stderr)
	var bad *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &bad):
		fmt.Fprintf(stderr, "snp-emulator: %v\n%s", err, usage)
		return 2
	}
	fmt.Fprintln(stderr, "snp-emulator: "+err.Error())
	return 1
}

type usageError struct{ error }

func dispatch(argv []string, stderr io.Writer) error {
	args := argv[1:]
	switch {
	case filepath.Base(argv[0]) == "init":
		// The kernel hands init the words of its command line it does not know; they are the host's and mean nothing here.
		return initThen(context.Background(), []string{agentPath}, stderr)
	case len(args) >= 2 && args[0] == "--then":
		return initThen(context.Background(), args[1:], stderr)
	case len(args) >= 1 && args[0] == "serve":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return serve(ctx, args[1:])
	case len(args) == 1 && (args[0] == "-h" || args[0] == "--help"):
		fmt.Fprint(stderr, usage)
		return nil
	}
	return &usageError{errors.New("got no known form of arguments")}
}

// serveFlags are the arguments of the serving process.
type serveFlags struct {
	tee, cuse, tsm, device string
	ready, order           int
}

func (f *serveFlags) parse(args []string) error {
	set := flag.NewFlagSet("serve", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&f.tee, "tee", "", "disk or file with the parameters")
	set.StringVar(&f.cuse, "cuse", "", "the kernel's CUSE device; empty: no character device")
	set.StringVar(&f.device, "device", "sev-guest", "name of the character device")
	set.StringVar(&f.tsm, "tsm", "", "directory to mount the configfs-tsm tree over; empty: none")
	set.IntVar(&f.order, "order-fd", -1, "descriptor to read --tee from, as a line; closed instead: do not serve")
	set.IntVar(&f.ready, "ready-fd", -1, "descriptor to write a line to once the interfaces are served")
	if err := set.Parse(args); err != nil {
		return &usageError{err}
	}
	if (f.tee == "") == (f.order < 0) || f.cuse == "" && f.tsm == "" || set.NArg() != 0 {
		return &usageError{errors.New("serve: want --tee and one of --cuse and --tsm")}
	}
	return nil
}
