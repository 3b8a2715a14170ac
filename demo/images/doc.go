// Command images makes the two OCI images of the demo from Debian packages: nginx serving a page, and a client with busybox
// and our report program. Nothing is pulled from a registry.
//
//	go run ./demo/images -o DIR
//
// DIR/nginx and DIR/client become OCI layouts. The packages are named by version and SHA-256 in packages.lock; a .deb with
// other bytes is refused, wherever it came from. The same source and Go version give the same bytes: entries are sorted,
// times are zero, and nothing of the build machine but the unpacked packages is read.
//
// The images hold what real ones do and simple ones do not: several layers, whiteouts, an opaque directory, hard links,
// user attributes and a file capability, so that converting, measuring and mounting layers is exercised by the demo.
package main
