// Command resident-reference loads the policy in a file into the reference and prints how much memory the process
// then holds. Nothing but the reference is in it.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"runtime"

	"github.com/Microsoft/hcsshim/pkg/securitypolicy"

	"github.com/cloister-cc/cloister/tests/reference/resident"
)

func main() {
	policy, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail(err)
	}
	encoded := base64.StdEncoding.EncodeToString(policy)
	policy = nil
	e, err := securitypolicy.CreateSecurityPolicyEnforcer("rego", encoded, nil, nil, 3*1024)
	if err != nil {
		fail(err)
	}
	encoded = ""
	if err := resident.Print(); err != nil {
		fail(err)
	}
	runtime.KeepAlive(e)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "resident-reference:", err)
	os.Exit(1)
}
