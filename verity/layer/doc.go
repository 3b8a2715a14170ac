// Package layer turns an OCI layer (a tar, plain or compressed) into a verity disk: file system, superblock, hash tree.
//
// The disk is a function of the tar's bytes and the format alone: the same layer gives the same root hash on a laptop, in CI and
// on the node. In ext4, the default, it is the root that ACI's tools compute (4 KiB blocks, whiteouts converted for overlayfs,
// room for 128 GiB, salt of 32 zero bytes); EROFS, written by go-erofs, has one of its own. A policy names that root, so a change
// of one byte in this package's output is a breaking change; golden roots in the tests hold it still.
//
// [Root] and [Convert] read a layer once. Decompression, diff id, header checks, conversion and tree hashing run at the same
// time, a chunk of 512 KiB at a time, so that memory does not depend on the layer's length.
//
// A layer comes from a registry or from a directory the caller does not control. What is taken and what is not:
//
//   - [Cache] takes nothing under a diff id whose stream did not have that SHA-256.
//   - Refused with the entry's name: ".." in a path; entries below a symlink, a file or a whiteout; hard links to what is not there
//     before them, to directories and to whiteouts; owners, modes and device numbers that Linux has not; types that a layer has
//     not; AUFS's metadata; overlayfs's redirecting attributes; in EROFS what an image cannot hold (attributes outside user,
//     trusted and security, an opaque root). A stream that is cut, or compressed beyond [Limits], is refused as a whole.
//   - Contained: a leading slash means nothing; symlinks may point anywhere, since nobody follows them but a process in the
//     container; device nodes are kept, as OCI wants, and cannot be opened in the guest, which mounts layers and overlays nodev;
//     what follows the end of the archive is part of the diff id and of nothing else.
//   - Entries that come twice: directories are merged, of others the last counts in EROFS; in ext4 the converter takes what it
//     can replace and refuses the rest.
//
// The disk of a refused layer does not exist: Convert's file is to be thrown away.
package layer

// GCPercent is the garbage collector's setting ([runtime/debug.SetGCPercent]) for programs whose main work is here. The ext4 converter allocates 32 KiB a file and
// keeps little: at Go's own setting a layer of small files spends a tenth of its time on collections. Memory stays below 100 MiB.
const GCPercent = 400
