package images

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	dockerHub = "docker.io"
	// maxReference is more than a host, a repository, a tag and a digest at their longest.
	maxReference = 1024
	// refNameAnnotation names an image in an OCI layout: in full, or with its tag only.
	refNameAnnotation = "org.opencontainers.image.ref.name"
	// imageNameAnnotation is the full name that docker and containerd add when they export.
	imageNameAnnotation = "io.containerd.image.name"
)

// reference is an image reference taken apart as Docker does it: "nginx" is docker.io/library/nginx:latest.
type reference struct {
	text    string // as the document writes it
	parsed  name.Reference
	written string // the repository as written: without tag and digest
	tag     string // "" beside a digest
	digest  v1.Hash
}

func parseReference(text string) (reference, error) {
	if len(text) > maxReference {
		return reference{}, fmt.Errorf("image reference %s: got %d bytes, want at most %d", quote(text), len(text), maxReference)
	}
	parsed, err := name.ParseReference(text)
	if err != nil {
		return reference{}, fmt.Errorf("image reference %s: %w", quote(text), err)
	}
	r := reference{text: text, parsed: parsed}
	r.written, _, _ = strings.Cut(text, "@")
	if colon := strings.LastIndexByte(r.written, ':'); colon > strings.LastIndexByte(r.written, '/') {
		r.written = r.written[:colon]
	}
	switch p := parsed.(type) {
	case name.Digest:
		if r.digest, err = parseDigest(p.DigestStr()); err != nil {
			return reference{}, fmt.Errorf("image reference %s: %w", quote(text), err)
		}
	case name.Tag:
		r.tag = p.TagStr()
	}
	return r, nil
}

// repository is the full name without tag and digest.
func (r reference) repository() string {
	host := r.parsed.Context().RegistryStr()
	if host == name.DefaultRegistry {
		host = dockerHub
	}
	return host + "/" + r.parsed.Context().RepositoryStr()
}

// canonical is the same text for all spellings of one reference.
func (r reference) canonical() string {
	if r.hasDigest() {
		return r.repository() + "@" + r.digest.String()
	}
	return r.repository() + ":" + r.tag
}

func (r reference) hasDigest() bool { return r.digest != v1.Hash{} }

// isNamed tells whether the text is another spelling of this reference.
func (r reference) isNamed(text string) bool {
	if text == "" {
		return false
	}
	other, err := parseReference(text)
	return err == nil && other.canonical() == r.canonical()
}

// parseDigest takes SHA-256 only: nothing else names layers in a policy.
func parseDigest(s string) (v1.Hash, error) {
	h, err := v1.NewHash(s)
	if err != nil || h.Algorithm != "sha256" || strings.ToLower(h.Hex) != h.Hex {
		return v1.Hash{}, fmt.Errorf("digest %s: want sha256: and 64 lower-case hex digits", quote(s))
	}
	return h, nil
}

// quote shows foreign text, cut to a length that fits a line.
func quote(s string) string {
	const most = 128
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
