// Package hotplug brings processors and memory online that were plugged into the running VM.
//
// The host plugs them in and says so; it chooses the moment and no more. What is brought online is what the kernel lists, by the kernel's own files: no name and no
// number of the host's becomes part of a path. A host that announces what it did not plug in makes one request wait for its time, then fail. Waits are woken by the
// kernel's events.
package hotplug
