package verity

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// HashSize is the length of a digest in bytes. SHA-256 is the only algorithm.
const HashSize = sha256.Size

// Hash is a SHA-256 digest: a root hash or an entry of the tree.
type Hash [HashSize]byte

// ParseHash reads 64 lower-case hex digits. Upper case is refused: policies compare root hashes as strings, so that one
// root must have one spelling.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != hex.EncodedLen(HashSize) {
		return h, fmt.Errorf("parse root hash: got %d characters, want %d", len(s), hex.EncodedLen(HashSize))
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return h, fmt.Errorf("parse root hash: got %q at position %d, want lower-case hex", c, i)
		}
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("parse root hash: %w", err)
	}
	return h, nil
}

// String returns the digest as lower-case hex, the form policies use.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText makes a Hash a hex string in JSON.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is the strict reverse of MarshalText.
func (h *Hash) UnmarshalText(text []byte) error {
	parsed, err := ParseHash(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}
