// Package rpc is the agent's face: Kata's agent API, the health service and our own, over ttrpc.
//
// The host controls everything that arrives. Each call passes the same gate in the same order: the row of its method, the size
// and form of its message (unknown fields are refused), the form of its values, and only then the sandbox, which asks the
// policy. A handler holds no state of its own and does nothing before that.
package rpc
