// Package agentpolicy is the place of the Kata policy dialect (package agent_policy). This agent does not read it yet: such
// a policy is refused when it is set, with a sentence that says what is expected instead.
package agentpolicy

import "errors"

// Package is the Rego package that marks a policy of this dialect.
const Package = "agent_policy"

// ErrUnsupported refuses a policy of this dialect.
var ErrUnsupported = errors.New("this is a Kata policy (package agent_policy), which this agent does not support: " +
	"write an ACI policy (package policy), for example with `cloister policy generate`")
