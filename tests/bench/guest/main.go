// Command guest stands where the agent is in a development image. It is the agent, put together as the agent is, with a port more on
// which it measures its own container starts from inside the guest: there the channel to the host does not count.
package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/agent/boot"
	"github.com/cloister-cc/cloister/agent/memory"
)

func main() {
	memory.Setup()
	system, err := boot.Run(context.Background(), boot.DefaultConfig())
	if err == nil {
		err = serve(context.Background(), system)
	}
	if err != nil {
		complain(err)
	}
	_ = system.PowerOff()
	os.Exit(1)
}

// complain says on the kernel's log, and so on the console, why there will be no measurement.
func complain(err error) {
	if f, openErr := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); openErr == nil {
		fmt.Fprintf(f, "<0>bench: %v\n", err)
		f.Close()
	}
}

func serve(ctx context.Context, system *boot.System) error {
	a, err := assemble(ctx, system)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.serveAPI(ctx) })
	group.Go(func() error { return a.answer(ctx) })
	return group.Wait()
}
