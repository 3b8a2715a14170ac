// Package guest builds the image of the utility VM: a kernel, one initrd that is the root file system, and the kernel
// command line, with the digests a launch measurement is predicted from.
//
// What it trusts: the recipe (modules.list, packages.lock) and the module's own source. A .deb is taken only when its
// SHA-256 is the locked one, wherever it came from; mirrors, caches and a directory given by the user are not trusted.
// What the build machine may change: nothing. Time, time zone, umask, user, working directory, path of the checkout and
// order of files do not reach the output, so that whoever rebuilds an image from a release gets the measured bytes.
// What fails closed: a module of the production list that the kernel lacks, a library that no locked package holds, a
// package with other bytes than the locked ones, an entry that two sources claim.
package guest
