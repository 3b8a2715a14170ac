package images

import (
	"context"

	"github.com/cloister-cc/cloister/verity/layer"
)

// Options say where images may be looked for. The order is fixed: the lock file, layouts and archives, containerd, the
// registry. Nothing is asked that is not named here.
type Options struct {
	// Lock is the path of the lock file; "" or a file that is not there is an empty one.
	Lock string
	// Locked forbids to look anything up: what the lock file lacks is an error.
	Locked bool
	// Update takes a changed image for its reference and replaces the entry. Without it a change is an error.
	Update bool

	// Layouts are OCI image layouts (directories, or tar files of one), each with several images or with a layout per image in
	// a subdirectory of the image's repository.
	Layouts []string
	// Archives are archives (`docker save` in both forms, OCI layout) or layouts by the reference that they are to answer; the
	// key "" is an archive whose images are found by the names in it.
	Archives map[string]string
	// ArchiveFiles are more archives whose images are found by the names in them.
	ArchiveFiles []string

	// Containerd is the socket of containerd, or a directory of its content store; "" asks neither. A directory knows digests
	// only.
	Containerd string
	// Namespace is containerd's; "" is $CONTAINERD_NAMESPACE, or both "k8s.io" and "default".
	Namespace string

	// Registry allows the network. Credentials come from Docker's configuration and its helpers.
	Registry bool
	// Mirrors are asked before a registry, in order: "docker.io" -> ["mirror.example/hub", …]. Credentials are each host's own.
	Mirrors map[string][]string
	// PlainHTTP are hosts, with port if one is written, that may be spoken to without TLS. The loopback always may.
	PlainHTTP []string

	// Platform is os/architecture[/variant]; "" is linux/amd64.
	Platform string
	// Formats are those whose roots are wanted; none is ext4.
	Formats []layer.Format
	// Workers bounds how many layers are read at a time; 0 is a layer a core.
	Workers int
	// Cache is the directory of known roots; "" is cloister/roots in the user's cache directory, "-" is none.
	Cache string

	// Verify checks the signatures of an image before its roots are used; nil asks for none. With it, and without Locked, the
	// roots of a lock file count only if the image's layers give the same.
	Verify func(ctx context.Context, r SignatureRequest) ([]Signer, error)
	// Progress is told of each layer that is read. It is called from several goroutines and must not block.
	Progress func(Progress)
}

// Progress is how far one layer is.
type Progress struct {
	Reference string // of the image for which it is read first
	Layer     string // diff id
	Read      int64  // bytes of the blob, as it is stored
	Size      int64
	Done      bool
}
