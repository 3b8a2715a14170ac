// Package layer turns an OCI layer (a tar, plain or compressed) into a verity disk: ext4, superblock, hash tree.
//
// The disk is a function of the tar's bytes alone: the same layer gives the same root hash on a laptop, in CI and on the
// node, and the same root that ACI's tools compute (4 KiB blocks, whiteouts converted for overlayfs, room for 128 GiB,
// salt of 32 zero bytes). A policy names that root, so a change of one byte in this package's output is a breaking change;
// golden roots in the tests hold it still.
//
// A layer comes from a registry or from a directory the caller does not control. [Cache] takes nothing under a diff id
// whose stream did not have that SHA-256, and the stream's size is bounded while it is read.
package layer
