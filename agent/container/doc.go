// Package container turns a host's create request into an OCI runtime specification and drives crun with it.
//
// The host controls every byte of the request. Parse reads it against an allow-list: a field is judged by the policy, taken
// after a range check, replaced by the agent's own value, ignored, or refused; there is no sixth case (Fields holds the
// table, and a test walks the wire message against it). Nothing of the request reaches crun except through Request.
//
// The package trusts crun and the kernel. It fails closed: an unknown field, mount or sysctl is an error, never dropped.
// No error text holds an argument, an environment value or a file's content: error texts travel to the host.
package container
