package idblock

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-sev-guest/abi"

	"github.com/cloister-cc/cloister/snp/measure"
)

type vector struct {
	Name, Source    string
	IDKey           string `json:"id_key"`
	AuthorKey       string `json:"author_key"`
	LaunchDigest    string `json:"launch_digest"`
	GuestSVN        uint32 `json:"guest_svn"`
	Policy          string `json:"policy"`
	IDBlock         string `json:"id_block"`
	IDKeyDigest     string `json:"id_key_digest"`
	AuthorKeyDigest string `json:"author_key_digest"`
	// Numbers as the ABI has them, little endian.
	IDKeySignature *struct{ R, S string } `json:"id_key_signature"`
	BlockSignature *struct{ R, S string } `json:"block_signature"`
}

func vectors(t *testing.T) []vector {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "tests", "vectors", "measure", "idblock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ Cases []vector }
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Cases) != 2 {
		t.Fatalf("got %d cases, want 2", len(v.Cases))
	}
	return v.Cases
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func point(t *testing.T, s string) *ecdsa.PublicKey {
	t.Helper()
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P384(), unhex(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestVectors are blocks and key digests that other tools make, and signatures that they made.
func TestVectors(t *testing.T) {
	signed := 0
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			policy, err := strconv.ParseUint(v.Policy, 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			b := Block{LaunchDigest: measure.Digest(unhex(t, v.LaunchDigest)), GuestSVN: v.GuestSVN, Policy: policy}
			if got := Text(b.Marshal()); got != v.IDBlock {
				t.Errorf("id block: got %s, want %s", got, v.IDBlock)
			}
			for key, want := range map[string]string{v.IDKey: v.IDKeyDigest, v.AuthorKey: v.AuthorKeyDigest} {
				if got, err := KeyDigest(point(t, key)); err != nil || got.String() != want {
					t.Errorf("digest of key %.16s: got %s %v, want %s", key, got, err, want)
				}
			}
			if v.IDKeySignature == nil {
				return
			}
			signed++
			a := &Auth{IDKey: point(t, v.IDKey), AuthorKey: point(t, v.AuthorKey)}
			put := func(to *signature, r, s string) {
				copy(to[:], unhex(t, r))
				copy(to[numberSize:], unhex(t, s))
			}
			put(&a.idKey, v.IDKeySignature.R, v.IDKeySignature.S)
			put(&a.block, v.BlockSignature.R, v.BlockSignature.S)
			if err := a.verifyAuthor(); err != nil {
				t.Error(err)
			}
			if err := a.Verify(&b); err != nil {
				t.Error(err)
			}
		})
	}
	if signed == 0 {
		t.Error("no vector has signatures")
	}
}

// TestKeyFormAgreesWithGoSEVGuest compares the key's form with the library's.
func TestKeyFormAgreesWithGoSEVGuest(t *testing.T) {
	for _, v := range vectors(t) {
		key := point(t, v.IDKey)
		want, err := abi.EcdsaPublicKeyToBytes(key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := newPublicKey(key); err != nil || string(got[:]) != string(want) {
			t.Errorf("%s: got %x %v, want %x", v.Name, got, err, want)
		}
	}
}
