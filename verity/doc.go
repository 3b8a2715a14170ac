// Package verity reads, builds and activates dm-verity disks.
//
// A layer is one read-only disk: a file system, then one block that holds the verity superblock, then the hash tree with
// its top block first. The host supplies the disk and may change any byte of it at any moment, also between two reads of
// the same block.
//
// What this package trusts: the guest kernel's dm-verity target and the root hash that a policy approved. Nothing on the
// disk is trusted. Four rules follow.
//
//   - One read, one struct: [Inspect] reads the file system's and the verity superblock once, and everything later (the
//     root hash that is judged, the table that is loaded) comes from the [Image] it returned, never from the disk again.
//   - All parameters are pinned: SHA-256, version 1, 4096-byte blocks, the tree right after the superblock, the data area
//     exactly as long as the file system says. A disk that wants anything else is refused, not interpreted.
//   - The root hash is computed, never taken from the host: SHA-256 over salt and top tree block.
//   - After activation the table is read back from the kernel, and the file system's superblock is read through dm-verity
//     and compared with the one that [Inspect] saw. Any difference undoes the activation.
//
// The tree builders are for the side that makes layers: [Build] and [Seal] over a file system that is there, [TreeHasher] over
// one that is being written. They need no privilege and give the roots that veritysetup gives; every byte they write
// follows from data and salt.
package verity
