// Package snapshotter is what the daemon cloister-snapshotter serves: containerd's snapshots and diff services over layers that are disks, and a
// service of its own for the shim ([Snapshotter.Disk]).
//
// # What it does
//
// A committed snapshot stands for one layer of an image, and a layer is a file: file system, dm-verity superblock, hash tree ([layer.Convert]). The
// diff service makes it while containerd unpacks an image: the blob is read once from containerd's content store, decompressed, hashed to its diff id
// and written as a disk, with no mount of it and no directory of files. Disks are kept by diff id, so that images share layers; a layer that is there
// already is not converted again if its blob was seen before. A container's snapshot holds no data at all: containers write in the guest. Its mount is
// a read-only bind of a directory with nothing but etc/passwd and etc/group, which containerd reads to resolve user names; beside it lies layers.json,
// which the shim reads ([github.com/cloister-cc/cloister/shim/rootfs]).
//
// # Below the root directory
//
//	metadata.db          containerd's own metadata store of snapshots
//	snapshots/<n>/view   the mount's source; layers.json beside it (containers), or layer, the diff id (layers)
//	layers/<hex>/        one directory a diff id: disks, facts.json, passwd and group as the layer has them
//	work/                conversions and removals under way; emptied at every start
//
// A directory gets its name below layers by one rename, after everything in it was synced; the reference to it is written after that, and the
// snapshot is committed after that. So a crash at any point leaves things that nothing refers to, and [Snapshotter.Cleanup], which runs at every
// start and after each of containerd's garbage collections, removes those.
//
// # Trust
//
// Layers come from registries: see package layer for what is refused. The node is not trusted by the guest in any case: a disk that is not what the
// policy names does not run. Sharing does not cross a border either: a layer is reused only for a namespace whose content store has the blob, which
// containerd fetched with the pod's own credentials. What fails closed: snapshots that another differ unpacked, encrypted layers, media types that are
// no layers, comparing snapshots.
package snapshotter
