// Package cgroup reads and steers the control group (version 2) of one container: statistics, out-of-memory kills, kill,
// freeze and thaw. Limits are set by the container runtime from the OCI spec.
//
// The package trusts the kernel. The container may fill its group with processes and, where it has a writable mount,
// with groups below it; every operation here covers those too, because the kernel's files do. A wait ends with its
// context and is woken by the kernel: nothing here polls by the clock. What cannot be read is an error and never a zero,
// except for a controller that is not enabled, whose part of the statistics stays empty.
package cgroup
