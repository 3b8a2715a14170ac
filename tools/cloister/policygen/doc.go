// Package policygen writes the ACI policy of a pod: the Rego text whose SHA-256 becomes HOST_DATA.
//
// The text allows the resolved containers and nothing else: exact commands, environment, working directories, users,
// capabilities and mounts, the layers by their dm-verity roots, and only the commands that the document itself names for
// execution. Everything the document leaves open is closed here. The framework that the text delegates to is the agent's
// and is measured with it; see the policy contract, section 3.
//
// The same containers give the same bytes on every machine: no time, path or random value enters, and lists keep the order
// of the document.
package policygen
