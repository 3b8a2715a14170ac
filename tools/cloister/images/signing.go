package images

import (
	"context"
	"errors"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// SignatureRequest is an image whose signatures are to be checked. All members but Store and Recorded are facts: the digests
// are of bytes that were read.
type SignatureRequest struct {
	Reference  string // as the document writes it
	Repository string // "docker.io/library/nginx": what a signature may be bound to
	Tag        string // "" when the reference has none but a digest
	// Digest is of the image's manifest, "sha256:…". It is "" for archives that have none: no signature can name such an image.
	Digest string
	// Index is the digest of the index through which the platform's manifest was found, "" when there was none. A signature
	// over it covers the manifest, since the index names it by digest.
	Index string
	// Store is where the image was found. With Options.Locked it is one that answers ErrLocked to everything.
	Store Store
	// Recorded are the signers in the lock file, set only with Options.Locked: whoever requires a signature takes those of
	// them that it would take from a signature, or verifies a bundle of its own against Digest.
	Recorded []Signer
}

// Store reads what lies beside an image: signatures, certificates, attestations. Sizes are bounded, and bytes have the digest
// that they were asked by.
type Store interface {
	// Manifest reads a manifest by tag or digest ("sha256-….sig", "sha256:…"). ErrNotFound says that there is none.
	Manifest(ctx context.Context, reference string) (v1.Descriptor, []byte, error)
	// Blob reads a small blob that a manifest names.
	Blob(ctx context.Context, d v1.Descriptor) ([]byte, error)
	// Referrers are the manifests whose subject is the digest; none is no error.
	Referrers(ctx context.Context, digest string) ([]v1.Descriptor, error)
}

// ErrNotFound says that a place does not have what it was asked for.
var ErrNotFound = errors.New("not found")

// ErrLocked says that only the lock file may be asked.
var ErrLocked = errors.New("nothing is looked up with --locked")
