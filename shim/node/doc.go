// Package node is the configuration of one node: what the containerd shim boots pods with, and what it refuses. One TOML file, by default
// /etc/cloister/node.toml; a file that is not there means the defaults.
//
// The node's operator writes it. Nothing in it can loosen what a pod's policy allows: the guest trusts none of it. A key that nobody knows, or a value
// out of its range, is an error that names it.
package node
