// Command resident-ours loads the policy in a file and prints how much memory the process then holds. Nothing but
// the enforcer is in it.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/tests/reference/resident"
)

func main() {
	policy, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail(err)
	}
	e, err := enforcer.Load(context.Background(), policy, enforcer.Options{
		DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts(), PolicyLimit: enforcer.MaxPolicyLimit,
	})
	if err != nil {
		fail(err)
	}
	policy = nil
	if err := resident.Print(); err != nil {
		fail(err)
	}
	runtime.KeepAlive(e)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "resident-ours:", err)
	os.Exit(1)
}
