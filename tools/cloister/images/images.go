package images

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image is what a policy needs to know of an image for one platform.
type Image struct {
	Reference string    // as the document writes it
	Digest    string    // of the manifest, "sha256:…"; "" where the source has none
	Platform  string    // "linux/amd64"
	Config    v1.Config // environment, entry point, user, working directory, stop signal
	Layers    []Layer   // base first
	Signers   []Signer  // whose signatures were checked
}

// Layer is one layer: what it is, its root hash in each format that was asked for.
type Layer struct {
	DiffID string // "sha256:…" of the uncompressed tar; "" where a lock file has roots only
	Ext4   string // root hash, 64 lower-case hex digits; "" when it was not asked for
	EROFS  string
}

// Signer is somebody whose signature over the image's manifest was verified.
type Signer struct {
	Kind     string `json:"kind"`     // "cosign" or "notation"
	Identity string `json:"identity"` // subject of the certificate, or "key:sha256:…" of the public key
}

// Source finds images. It is asked once for each reference.
type Source interface {
	Image(ctx context.Context, reference string) (*Image, error)
}
