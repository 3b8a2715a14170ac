package idblock

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/cloister-cc/cloister/snp/measure"
)

// Forms of the ABI: numbers are little endian in 72 bytes, of which P-384 uses 48.
const (
	numberSize    = 72
	coordinate    = 48
	keySize       = 0x404
	signatureSize = 0x200
	curveP384     = 2
	ecdsaSHA384   = 1 // ECDSA P-384 with SHA-384
)

// publicKey is a key in the ABI's form: curve, X, Y, zeros.
type publicKey [keySize]byte

func newPublicKey(key *ecdsa.PublicKey) (publicKey, error) {
	var out publicKey
	if key == nil || key.Curve != elliptic.P384() {
		return out, errors.New("id key: want an ECDSA key on P-384")
	}
	point, err := key.Bytes()
	if err != nil {
		return out, fmt.Errorf("id key: %w", err)
	}
	binary.LittleEndian.PutUint32(out[:], curveP384)
	putNumber(out[4:], point[1:1+coordinate])
	putNumber(out[4+numberSize:], point[1+coordinate:])
	return out, nil
}

// key reads the form; a point that is not on the curve is an error.
func (p *publicKey) key() (*ecdsa.PublicKey, error) {
	if c := binary.LittleEndian.Uint32(p[:]); c != curveP384 {
		return nil, fmt.Errorf("id key: got curve %d, want %d (P-384)", c, curveP384)
	}
	x, errX := number(p[4:])
	y, errY := number(p[4+numberSize:])
	if err := errors.Join(errX, errY, zeros(p[4+2*numberSize:])); err != nil {
		return nil, fmt.Errorf("id key: %w", err)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P384(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, fmt.Errorf("id key: %w", err)
	}
	return key, nil
}

// KeyDigest is how reports name a key, in id_key_digest and author_key_digest: SHA-384 over the key in the ABI's form.
func KeyDigest(key *ecdsa.PublicKey) (measure.Digest, error) {
	p, err := newPublicKey(key)
	if err != nil {
		return measure.Digest{}, err
	}
	return sha512.Sum384(p[:]), nil
}

// signature is R, S, zeros.
type signature [signatureSize]byte

// sign signs with the nonce of RFC 6979.
func sign(key *ecdsa.PrivateKey, message []byte) (signature, error) {
	var out signature
	digest := sha512.Sum384(message)
	der, err := key.Sign(nil, digest[:], sha384)
	if err != nil {
		return out, err
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		return out, err
	}
	putNumber(out[:], rs.R.FillBytes(make([]byte, coordinate)))
	putNumber(out[numberSize:], rs.S.FillBytes(make([]byte, coordinate)))
	return out, nil
}

func (s *signature) verify(key *ecdsa.PublicKey, message []byte) error {
	r, errR := number(s[:])
	t, errS := number(s[numberSize:])
	if err := errors.Join(errR, errS, zeros(s[2*numberSize:])); err != nil {
		return err
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(t)})
	if err != nil {
		return err
	}
	digest := sha512.Sum384(message)
	if !ecdsa.VerifyASN1(key, digest[:], der) {
		return errors.New("does not verify")
	}
	return nil
}

// putNumber writes a big-endian number of P-384 in the ABI's form.
func putNumber(to, number []byte) {
	for i, b := range number {
		to[len(number)-1-i] = b
	}
}

// number reads one, big endian.
func number(from []byte) ([]byte, error) {
	if err := zeros(from[coordinate:numberSize]); err != nil {
		return nil, err
	}
	out := slices.Clone(from[:coordinate])
	slices.Reverse(out)
	return out, nil
}

func zeros(b []byte) error {
	if i := slices.IndexFunc(b, func(b byte) bool { return b != 0 }); i >= 0 {
		return fmt.Errorf("reserved byte %d is %#x, want 0", i, b[i])
	}
	return nil
}
