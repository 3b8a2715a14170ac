// Package trace sends spans of the shim's work to an OpenTelemetry collector: containerd's calls to the shim, and the shim's calls to the agent, joined by the
// traceparent that containerd sends in ttrpc's metadata. It is off unless the node's configuration names an endpoint.
//
// Spans carry methods, status codes and refusals, never arguments, environment or output. The traceparent goes on to the agent, which has no use for it
// and ignores it: metadata is the host's word like every other byte, and no decision reads it.
package trace
