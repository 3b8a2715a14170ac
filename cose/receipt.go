package cose

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"
)

// ccfLedger is the verifiable data structure of CCF ledgers, inclusionProofs the one proof type it has here.
const (
	ccfLedger       = 2
	inclusionProofs = -1
	proofLeaf       = 1
	proofPath       = 2
)

// understoodInReceipt are the labels that a receipt's crit entry may name.
var understoodInReceipt = []int64{labelAlgorithm, labelCritical, labelKeyID, labelCWTClaims, labelVDS}

// Receipt is a ledger's statement that it holds a message.
type Receipt struct {
	// Issuer is the ledger that the receipt claims to be of.
	Issuer string
	// KID names the ledger's key.
	KID string

	message *Sign1
	proofs  []proof
}

// proof leads from a leaf to the root of the ledger's Merkle tree.
type proof struct {
	transaction [sha256.Size]byte
	evidence    string
	data        [sha256.Size]byte
	path        []step
}

type step struct {
	left bool
	hash [sha256.Size]byte
}

// VerifiedReceipt is a receipt whose ledger's key verified it.
type VerifiedReceipt struct {
	Issuer string
	KID    string
	// Subjects are those of the trust lists that hold the key, sorted.
	Subjects []string
}

// Receipts takes the receipts of a message apart. Problems are of single receipts, which are then left out.
func (m *Sign1) Receipts() (receipts []*Receipt, problems []error) {
	raw, ok := m.unprotected.ints[labelReceipts]
	if !ok {
		return nil, nil
	}
	items, err := readArray(raw, "receipts", 1, MaxReceipts)
	if err != nil {
		return nil, []error{failf(ErrReceipt, "%w", err)}
	}
	for i, item := range items {
		r, err := parseReceiptItem(item)
		if err != nil {
			problems = append(problems, failf(ErrReceipt, "%d: %w", i, err))
			continue
		}
		receipts = append(receipts, r)
	}
	return receipts, problems
}

// VerifyReceipts returns the receipts of a message that a key of the lists verifies. A key counts only for the ledger it is listed under,
// and that must be the ledger the receipt claims: otherwise one ledger could speak for another. A message should be verified first.
func (m *Sign1) VerifyReceipts(lists ...*TrustList) (verified []VerifiedReceipt, problems []error) {
	receipts, problems := m.Receipts()
	digest := m.Digest()
	for _, r := range receipts {
		v, err := r.verifyWith(digest, lists)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		same := func(o VerifiedReceipt) bool { return o.Issuer == v.Issuer && o.KID == v.KID }
		if at := slices.IndexFunc(verified, same); at >= 0 {
			continue
		}
		verified = append(verified, v)
	}
	return verified, problems
}

func (r *Receipt) verifyWith(digest [sha256.Size]byte, lists []*TrustList) (VerifiedReceipt, error) {
	out := VerifiedReceipt{Issuer: r.Issuer, KID: r.KID}
	last := failf(ErrReceipt, "no trust list has a key %q of ledger %q", clip(r.KID), clip(r.Issuer))
	found := false
	for _, l := range lists {
		for _, k := range l.Ledgers[r.Issuer] {
			if k.KID != r.KID {
				continue
			}
			if err := r.Verify(digest, k); err != nil {
				last = err
				continue
			}
			found = true
			out.Subjects = append(out.Subjects, l.Subject)
		}
	}
	if !found {
		return VerifiedReceipt{}, last
	}
	slices.Sort(out.Subjects)
	out.Subjects = slices.Compact(out.Subjects)
	return out, nil
}

// Digest is what ledgers commit to: the SHA-256 of the message with its unprotected header emptied.
func (m *Sign1) Digest() [sha256.Size]byte {
	return sha256.Sum256(m.wire.bare())
}

// Verify checks the receipt against the digest of a message and a key. The caller vouches that the key is of the ledger r.Issuer.
func (r *Receipt) Verify(digest [sha256.Size]byte, key Key) error {
	want := map[int64]elliptic.Curve{ES256: elliptic.P256(), ES384: elliptic.P384()}[r.message.Algorithm]
	if want == nil || key.Public == nil || key.Public.Curve != want {
		return failf(ErrReceipt, "of ledger %q: algorithm %d does not fit key %q", clip(r.Issuer), r.message.Algorithm, clip(key.KID))
	}
	for _, p := range r.proofs {
		if p.data != digest {
			return failf(ErrReceipt, "of ledger %q: got a proof for digest %x, want %x", clip(r.Issuer), p.data, digest)
		}
		root := p.root()
		if err := r.message.verifySignature(key.Public, root[:]); err != nil {
			return failf(ErrReceipt, "of ledger %q: %w", clip(r.Issuer), err)
		}
	}
	return nil
}

// root computes the tree's root. A leaf is hashed from 96 bytes and a node from 64, so that neither can stand for the other without
// the prefixes that other trees use.
func (p proof) root() [sha256.Size]byte {
	evidence := sha256.Sum256([]byte(p.evidence))
	h := sha256.Sum256(slices.Concat(p.transaction[:], evidence[:], p.data[:]))
	for _, s := range p.path {
		if s.left {
			h = sha256.Sum256(slices.Concat(s.hash[:], h[:]))
		} else {
			h = sha256.Sum256(slices.Concat(h[:], s.hash[:]))
		}
	}
	return h
}

func parseReceiptItem(item cbor.RawMessage) (*Receipt, error) {
	raw, err := readBytes(item, "receipt", MaxReceipt)
	if err != nil {
		return nil, err
	}
	return ParseReceipt(raw)
}

// ParseReceipt takes one receipt apart. It believes nothing.
func ParseReceipt(raw []byte) (*Receipt, error) {
	m, err := split(raw, MaxReceipt, understoodInReceipt)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(m.wire.payload, []byte{cborNull}) {
		// The root must come from the proof. A payload would tempt readers to believe it instead.
		return nil, failf(ErrReceipt, "got a payload, want it detached")
	}
	r := &Receipt{message: m}
	if err := r.readProtected(); err != nil {
		return nil, err
	}
	if err := r.readProofs(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Receipt) readProtected() error {
	raw, ok := r.message.protected.ints[labelVDS]
	if !ok {
		return failf(ErrReceipt, "no verifiable data structure (label %d)", labelVDS)
	}
	vds, err := readInt(raw, "verifiable data structure")
	if err != nil {
		return err
	}
	if vds != ccfLedger {
		return failf(ErrReceipt, "verifiable data structure: got %d, want %d (CCF ledger)", vds, ccfLedger)
	}
	if raw, ok = r.message.protected.ints[labelKeyID]; !ok {
		return failf(ErrReceipt, "no kid (label %d)", labelKeyID)
	}
	kid, err := readBytes(raw, "kid", MaxFeed)
	if err != nil {
		return err
	}
	r.KID = string(kid)
	cwt, err := r.message.cwt()
	if err != nil {
		return err
	}
	if raw, ok = cwt.ints[claimIssuer]; !ok {
		return failf(ErrReceipt, "no iss in the CWT claims")
	}
	r.Issuer, err = readText(raw, "iss", MaxIssuer)
	if err == nil && (r.Issuer == "" || r.KID == "") {
		err = failf(ErrReceipt, "iss or kid is empty")
	}
	return err
}

func (r *Receipt) readProofs() error {
	raw, ok := r.message.unprotected.ints[labelVDP]
	if !ok {
		return failf(ErrReceipt, "no proofs (label %d)", labelVDP)
	}
	kinds, err := readTable(raw, "proofs")
	if err != nil {
		return err
	}
	list, ok := kinds.ints[inclusionProofs]
	if !ok || len(kinds.ints)+len(kinds.texts) != 1 {
		return failf(ErrReceipt, "got other proofs, want inclusion proofs (%d) only", inclusionProofs)
	}
	items, err := readArray(list, "inclusion proofs", 1, MaxProofs)
	if err != nil {
		return err
	}
	for i, item := range items {
		raw, err := readBytes(item, fmt.Sprintf("inclusion proof %d", i), MaxReceipt)
		if err != nil {
			return err
		}
		p, err := readProof(raw)
		if err != nil {
			return err
		}
		r.proofs = append(r.proofs, p)
	}
	return nil
}

func readProof(raw []byte) (proof, error) {
	t, err := readTable(raw, "inclusion proof")
	if err != nil {
		return proof{}, err
	}
	if len(t.ints) != 2 || len(t.texts) != 0 || t.ints[proofLeaf] == nil || t.ints[proofPath] == nil {
		return proof{}, failf(ErrReceipt, "inclusion proof: want leaf (%d) and path (%d)", proofLeaf, proofPath)
	}
	leaf, err := readArray(t.ints[proofLeaf], "leaf", 3, 3)
	if err != nil {
		return proof{}, err
	}
	var p proof
	if p.transaction, err = readHash(leaf[0], "internal transaction hash"); err != nil {
		return proof{}, err
	}
	if p.evidence, err = readText(leaf[1], "internal evidence", MaxEvidence); err != nil {
		return proof{}, err
	}
	if p.evidence == "" {
		return proof{}, failf(ErrReceipt, "internal evidence is empty")
	}
	if p.data, err = readHash(leaf[2], "data hash"); err != nil {
		return proof{}, err
	}
	steps, err := readArray(t.ints[proofPath], "path", 1, MaxPath)
	if err != nil {
		return proof{}, err
	}
	for _, item := range steps {
		s, err := readStep(item)
		if err != nil {
			return proof{}, err
		}
		p.path = append(p.path, s)
	}
	return p, nil
}

func readStep(item cbor.RawMessage) (step, error) {
	parts, err := readArray(item, "path element", 2, 2)
	if err != nil {
		return step{}, err
	}
	var s step
	switch {
	case bytes.Equal(parts[0], []byte{0xf5}):
		s.left = true
	case bytes.Equal(parts[0], []byte{0xf4}):
	default:
		return step{}, failf(ErrReceipt, "path element: want a boolean first")
	}
	s.hash, err = readHash(parts[1], "path element")
	return s, err
}

func readHash(item cbor.RawMessage, what string) (h [sha256.Size]byte, err error) {
	b, err := readBytes(item, what, sha256.Size)
	if err != nil {
		return h, err
	}
	if len(b) != sha256.Size {
		return h, failf(ErrReceipt, "%s: got %d bytes, want %d", what, len(b), sha256.Size)
	}
	return [sha256.Size]byte(b), nil
}

// Key is a ledger's key.
type Key struct {
	KID    string
	Public *ecdsa.PublicKey
}
