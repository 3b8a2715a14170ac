// Command containerd-shim-cloister-v2 is what containerd starts for the runtime io.containerd.cloister.v2: one process a pod, which holds the pod's virtual
// machine and answers containerd's task and sandbox APIs.
//
// containerd runs it with `start` (which leaves the serving process behind and prints its address), `delete` (which cleans up after one that died) and `-info`.
// Built with the tags no_grpc and grpcnotrace it has no gRPC in it, which nobody here speaks: four megabytes of resident memory a pod.
//
// `start` speaks the bootstrap protocol of containerd 2.3 and later when that was spoken to it, else the one of before.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/pkg/shim"
)

// runtimeName is containerd's name of the runtime.
const runtimeName = "io.containerd.cloister.v2"

func main() {
	ctx := context.Background()
	m := manager{}
	if old, input := spokenTo(os.Args[1:], os.Stdin); old != nil {
		if err := old.start(ctx, m, input, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %s", runtimeName, err)
			os.Exit(1)
		}
		return
	}
	registerService()
	// The machine is an ordinary child that somebody waits for; nothing else is ever ours to reap.
	shim.RunShim(ctx, m, func(c *shim.Config) { c.NoReaper, c.NoSubreaper = true, true })
}
