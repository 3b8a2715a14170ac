// Command cloister-snapshotter is the daemon that containerd loads as two proxy plugins, a snapshotter and a differ: pulled layers become verity disks
// as they are unpacked (package shim/snapshotter). README.md has containerd's configuration for it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := newCommand()
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cloister-snapshotter:", err)
		os.Exit(1)
	}
}
