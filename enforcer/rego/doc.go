// Package rego judges with the Rego engine: the policy's own rules and the framework's, one prepared query a point, in one
// immutable state.
//
// The policy's text is trusted only as far as its digest was compared with HOST_DATA; the inputs' strings are the host's. What fails
// closed: a missing rule, a rule that answers something else than it should, an evaluation error, a panic in the engine, a
// deadline, an unknown metadata operation, a commit on top of a state the decision was not made in. Rules have no builtin that
// reaches the network, the clock, the environment, a file or a random source, so the same text and the same requests give the
// same answers everywhere.
package rego
