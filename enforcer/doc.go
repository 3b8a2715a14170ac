// Package enforcer answers whether a policy allows what the host asked for. Policy in, decision out; no operating system
// access, so it can be used as a library and tested without a virtual machine.
//
// What is trusted: the policy text (its digest is bound to HOST_DATA before Load is called), the framework in package aci
// (part of the measured agent), and the names the agent made itself (targets, regular expressions, directories).
//
// What the host controls: most strings in an Input, their number and length, the order of requests, and whether the act
// that follows a decision fails. So a decision changes nothing; its state change is pending until Commit, and the undo that
// Commit returns takes back exactly that change.
//
// What fails closed: a missing rule, a rule that answers something else than it should, an evaluation error, a panic in
// the engine, a deadline, an unknown metadata operation, a commit on top of a state the decision was not made in, an undo
// that cannot be done. Rules have no builtin that reaches the network, the clock, the environment, a file or a random
// source, so the same text and the same requests give the same answers everywhere.
package enforcer
