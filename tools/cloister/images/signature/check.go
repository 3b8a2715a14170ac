package signature

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

// check is a requirement with the material that it trusts.
type check interface {
	// String says what is wanted.
	String() string
	// judge tells whose signature a candidate is, if it is one that is wanted over the target. errOther says that it is not a
	// signature of this kind at all.
	judge(ctx context.Context, c candidate, t *target) (images.Signer, error)
	// takes tells whether a signer of an earlier run, recorded in the lock file, is one that judge would have answered.
	takes(s images.Signer) bool
}

var errOther = errors.New("another kind of signature")

// target is what must have been signed.
type target struct {
	digests []string // of the manifest, and of the index through which it was found
	store   images.Store
}

// names finds the digest that a signature names.
func (t *target) names(digest string) error {
	if !slices.Contains(t.digests, digest) {
		return fmt.Errorf("is of %s, not of %s", quote(digest), strings.Join(t.digests, " or "))
	}
	return nil
}

// manifest reads the bytes that a digest names.
func (t *target) manifest(ctx context.Context, digest string) (v1.Descriptor, []byte, error) {
	if t.store == nil {
		return v1.Descriptor{}, nil, errors.New("read the manifest that is signed: there is no place to ask")
	}
	d, raw, err := t.store.Manifest(ctx, digest)
	if err != nil {
		return d, nil, fmt.Errorf("read the manifest that is signed: %w", err)
	}
	if sum := fmt.Sprintf("sha256:%x", sha256.Sum256(raw)); sum != digest {
		return d, nil, fmt.Errorf("manifest: its bytes have the digest %s, want %s", sum, digest)
	}
	return d, raw, nil
}

// parseDigest takes a SHA-256 digest apart: nothing else names an image here.
func parseDigest(digest string) ([]byte, error) {
	text, ok := strings.CutPrefix(digest, "sha256:")
	raw, err := hex.DecodeString(text)
	if !ok || err != nil || len(raw) != 32 || strings.ToLower(text) != text {
		return nil, fmt.Errorf("digest %s: want sha256: and 64 lower-case hex digits", quote(digest))
	}
	return raw, nil
}
