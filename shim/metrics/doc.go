// Package metrics counts what one shim does and serves it as Prometheus text on a Unix socket of its pod; Gather merges the sockets of a node into one
// scrape, with a label that says which pod each value is of.
//
// It is host side: nothing in the guest trusts a number of it, and it asks the guest nothing. Labels come from closed sets (methods of the agent's API,
// status codes, enforcement points); what does not look like one is counted as "other". Gather bounds what it takes of a socket in size and time: a shim that
// hangs or babbles costs its own numbers, not the node's.
package metrics
