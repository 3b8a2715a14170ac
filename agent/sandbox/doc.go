// Package sandbox holds the pod: its containers, their processes, mounts and devices, and the one queue in which everything
// that changes them is done.
//
// A request is a plan of steps, each decide, act, commit, with its undo pushed before the next begins (docs/architecture.md). A
// refusal at any step undoes the earlier ones in reverse, the kernel's state and the policy's alike. When an undo or an
// unmount fails so that the kernel's state is not known, the sandbox is poisoned: it goes on serving reads and refuses every
// further change, and says why.
//
// The host controls ids, order and timing, and the content of every disk. It names no path: all names are made here
// (names.go), and host words only link parts of one request.
package sandbox
