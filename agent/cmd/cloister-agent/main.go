// Command cloister-agent is the guest daemon: PID 1 of the utility VM, or an ordinary process for tests.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/cloister-cc/cloister/agent/memory"
)

// version is set at build time.
var version = "0.1.0"

func main() {
	memory.Setup()
	if os.Getpid() == 1 {
		runInit()
		return
	}
	cfg, err := parseFlags(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "cloister-agent: "+err.Error())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := runProcess(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, "cloister-agent: "+err.Error())
		os.Exit(1)
	}
}
