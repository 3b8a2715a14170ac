// Package images finds the images that a deployment names, in a registry, an OCI layout, an archive, containerd's store or a
// lock file, and tells what a policy needs of them: the configuration and the layers' dm-verity roots.
//
// A blob counts only if it has the digest that names it, a layer only if its uncompressed bytes have the diff id that the
// configuration names. A registry is a stranger: sizes are bounded before anything is kept, and what was found once is in the
// lock file, so that the next run finds the same or says what changed.
package images
