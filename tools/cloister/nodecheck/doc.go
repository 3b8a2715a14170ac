// Package nodecheck finds out what a node can do for confidential pods: each line says what was looked at, what was found, what follows from it and
// what to do. It looks, and changes nothing but what is gone again when it returns: a probe VM and a network namespace of its own.
//
// Its word is for the operator. A pod's owner trusts the evidence of the guest instead, whatever a node says of itself.
package nodecheck
