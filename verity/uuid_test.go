package verity_test

import (
	"crypto/sha256"
	"testing"

	"github.com/cloister-cc/cloister/verity"
)

// The superblock's UUID follows from the root and says of itself that it was made by a rule of its maker's (RFC 9562: version 8,
// and the variant of that RFC and RFC 4122).
func TestUUIDFollowsFromTheRoot(t *testing.T) {
	_, one := sealed(t, fakeExt4(3, 1))
	_, same := sealed(t, fakeExt4(3, 1))
	_, other := sealed(t, fakeExt4(3, 2))
	if one.Superblock.UUID != same.Superblock.UUID {
		t.Errorf("one root, two UUIDs: %x and %x", one.Superblock.UUID, same.Superblock.UUID)
	}
	if one.Superblock.UUID == other.Superblock.UUID {
		t.Errorf("two roots, one UUID: %x", one.Superblock.UUID)
	}
	want := sha256.Sum256(append([]byte("cloister verity uuid\x00"), one.Root[:]...))
	got := one.Superblock.UUID
	if version, variant := got[6]>>4, got[8]>>6; version != 8 || variant != 2 {
		t.Errorf("got version %d, variant %d, want 8 and 2", version, variant)
	}
	for i := range got {
		if i != 6 && i != 8 && got[i] != want[i] {
			t.Errorf("byte %d: got %x, want %x", i, got[i], want[i])
		}
	}
	if sb := verity.NewSuperblock(one.Root, 3); sb.UUID != got {
		t.Errorf("NewSuperblock: got %x, want %x", sb.UUID, got)
	}
}
