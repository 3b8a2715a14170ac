package initdata

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"regexp"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
)

const (
	// Version is the one document version there is.
	Version = "0.1.0"
	// MaxUnpacked bounds the document in memory.
	MaxUnpacked = 64 << 20
	// MaxEntries bounds the keys of [data]: a policy and its fragments are far fewer.
	MaxEntries = 1024
	// PolicyKey is the entry that holds the policy.
	PolicyKey = "policy.rego"
)

// HostDataSize is the size of the HOST_DATA field of an SNP report.
const HostDataSize = 32

// ErrMalformed is in the chain of every error about the content of a disk or document.
var ErrMalformed = errors.New("malformed initdata")

// maxKey is the length of an entry's name, in bytes.
const maxKey = 128

// keyForm keeps entries usable as plain file names by other guests of the same format, and free of path tricks.
var keyForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`) // and at most maxKey bytes

// Document is one launch document.
type Document struct {
	Version   string
	Algorithm string
	Data      map[string]string
	// Raw is the document as it was hashed; encoding matters, so it is never written anew from the fields.
	Raw []byte
	// Digest is the Algorithm's hash of Raw, whole.
	Digest []byte
}

// HostData is what the launcher must have put into HOST_DATA: the first 32 bytes of the digest.
func (d *Document) HostData() [HostDataSize]byte {
	return [HostDataSize]byte(d.Digest[:HostDataSize])
}

// wireDocument is the TOML shape; unknown fields are refused.
type wireDocument struct {
	Version   string            `toml:"version"`
	Algorithm string            `toml:"algorithm"`
	Data      map[string]string `toml:"data"`
}

// Parse reads a document from its raw bytes, which it keeps.
func Parse(raw []byte) (*Document, error) {
	if len(raw) > MaxUnpacked {
		return nil, fmt.Errorf("parse initdata: got %d bytes, want at most %d: %w", len(raw), MaxUnpacked, ErrMalformed)
	}
	if !utf8.Valid(raw) {
		return nil, fmt.Errorf("parse initdata: not UTF-8: %w", ErrMalformed)
	}
	if n := countItems(raw); n > maxItems {
		return nil, fmt.Errorf("parse initdata: more than %d TOML items: %w", maxItems, ErrMalformed)
	}
	var wire wireDocument
	if err := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields().Decode(&wire); err != nil {
		// The parser's own text quotes the document, which may hold the owner's secrets: it stays out.
		return nil, fmt.Errorf("parse initdata: not the TOML form of version %s: %w", Version, ErrMalformed)
	}
	if wire.Version != Version {
		return nil, fmt.Errorf("parse initdata: version got %.32q, want %q: %w", wire.Version, Version, ErrMalformed)
	}
	h, err := newHash(wire.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("parse initdata: %w", err)
	}
	if len(wire.Data) > MaxEntries {
		return nil, fmt.Errorf("parse initdata: got %d entries, want at most %d: %w", len(wire.Data), MaxEntries, ErrMalformed)
	}
	for key := range wire.Data {
		if len(key) > maxKey || !keyForm.MatchString(key) {
			return nil, fmt.Errorf("parse initdata: entry name %.128q: want a plain file name: %w", key, ErrMalformed)
		}
	}
	h.Write(raw)
	return &Document{Version: wire.Version, Algorithm: wire.Algorithm, Data: wire.Data, Raw: raw, Digest: h.Sum(nil)}, nil
}

// newHash knows the three algorithms of the format and nothing else: a name from the host must not select a weaker one.
func newHash(algorithm string) (hash.Hash, error) {
	switch algorithm {
	case "sha256":
		return sha256.New(), nil
	case "sha384":
		return sha512.New384(), nil
	case "sha512":
		return sha512.New(), nil
	}
	return nil, fmt.Errorf("algorithm got %.32q, want sha256, sha384 or sha512: %w", algorithm, ErrMalformed)
}
