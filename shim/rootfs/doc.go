// Package rootfs says what a container's root file system is made of on the host: an ordered list of layer disks, read from the mounts that
// containerd hands to a shim. It knows two snapshotters: ours, whose mounts point at a directory with a layers.json beside it, and containerd's own
// erofs snapshotter with dm-verity layers. [Rootfs.Choose] picks the file system whose roots the pod's policy names; a layer that is missing in it is
// asked for from our snapshotter's daemon ([Daemon]).
//
// Nothing here is trusted by the guest: the agent computes each disk's root hash itself and asks the policy. So a wrong answer of this package can
// keep a container from starting, never start one that it must not. What is read is bounded and checked all the same: mounts and files of a shape
// that neither snapshotter has are errors that name what was found.
package rootfs
