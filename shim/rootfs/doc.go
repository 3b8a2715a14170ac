// Package rootfs says what a container's root file system is made of on the host: an ordered list of layer disks, read from the mounts that
// containerd hands to a shim. It knows two snapshotters: ours, whose mounts point at a directory with a layers.json beside it, and containerd's own
// erofs snapshotter with dm-verity layers.
//
// Nothing here is trusted by the guest: the agent computes each disk's root hash itself.
package rootfs
