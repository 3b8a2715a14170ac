package idblock

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/binary"
	"errors"
	"fmt"
)

const sha384 = crypto.SHA384

// Offsets in the ID authentication information.
const (
	atIDKeyAlgorithm     = 0x000
	atAuthorKeyAlgorithm = 0x004
	atBlockSignature     = 0x040
	atIDKey              = 0x240
	atIDKeySignature     = 0x680
	atAuthorKey          = 0x880
	atEnd                = atAuthorKey + keySize
)

// Auth is ID authentication information: who vouches for a block.
type Auth struct {
	// IDKey signed the block.
	IDKey *ecdsa.PublicKey
	// AuthorKey signed IDKey; nil if there is none.
	AuthorKey *ecdsa.PublicKey

	block, idKey signature
}

// Sign makes the authentication information of a block. The author's key may be nil: then the launch must not enable it, and reports have no author_key_digest.
func Sign(b *Block, idKey, authorKey *ecdsa.PrivateKey) (*Auth, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	if idKey == nil {
		return nil, errors.New("sign id block: no id key")
	}
	a := &Auth{IDKey: &idKey.PublicKey}
	public, err := newPublicKey(a.IDKey)
	if err != nil {
		return nil, fmt.Errorf("sign id block: %w", err)
	}
	if a.block, err = sign(idKey, b.Marshal()); err != nil {
		return nil, fmt.Errorf("sign id block: %w", err)
	}
	if authorKey != nil {
		a.AuthorKey = &authorKey.PublicKey
		if _, err := newPublicKey(a.AuthorKey); err != nil {
			return nil, fmt.Errorf("sign id key: author: %w", err)
		}
		if a.idKey, err = sign(authorKey, public[:]); err != nil {
			return nil, fmt.Errorf("sign id key: %w", err)
		}
	}
	return a, a.Verify(b)
}

// Marshal is the information as the firmware reads it, AuthSize bytes.
func (a *Auth) Marshal() ([]byte, error) {
	out := make([]byte, AuthSize)
	key, err := newPublicKey(a.IDKey)
	if err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint32(out[atIDKeyAlgorithm:], ecdsaSHA384)
	copy(out[atBlockSignature:], a.block[:])
	copy(out[atIDKey:], key[:])
	if a.AuthorKey == nil {
		return out, nil
	}
	if key, err = newPublicKey(a.AuthorKey); err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint32(out[atAuthorKeyAlgorithm:], ecdsaSHA384)
	copy(out[atIDKeySignature:], a.idKey[:])
	copy(out[atAuthorKey:], key[:])
	return out, nil
}

// ParseAuth reads authentication information. It believes no signature: see Verify.
func ParseAuth(raw []byte) (*Auth, error) {
	if len(raw) != AuthSize {
		return nil, fmt.Errorf("id auth: got %d bytes, want %d", len(raw), AuthSize)
	}
	reserved := errors.Join(zeros(raw[8:atBlockSignature]), zeros(raw[atIDKey+keySize:atIDKeySignature]), zeros(raw[atEnd:]))
	if reserved != nil {
		return nil, fmt.Errorf("id auth: %w", reserved)
	}
	if alg := binary.LittleEndian.Uint32(raw[atIDKeyAlgorithm:]); alg != ecdsaSHA384 {
		return nil, fmt.Errorf("id auth: id key algorithm: got %d, want %d", alg, ecdsaSHA384)
	}
	a := &Auth{block: signature(raw[atBlockSignature:])}
	key := publicKey(raw[atIDKey:])
	var err error
	if a.IDKey, err = key.key(); err != nil {
		return nil, fmt.Errorf("id auth: %w", err)
	}
	switch alg := binary.LittleEndian.Uint32(raw[atAuthorKeyAlgorithm:]); alg {
	case 0:
		if err := zeros(raw[atIDKeySignature:atEnd]); err != nil {
			return nil, fmt.Errorf("id auth: no author key: %w", err)
		}
	case ecdsaSHA384:
		key = publicKey(raw[atAuthorKey:])
		if a.AuthorKey, err = key.key(); err != nil {
			return nil, fmt.Errorf("id auth: author: %w", err)
		}
		a.idKey = signature(raw[atIDKeySignature:])
	default:
		return nil, fmt.Errorf("id auth: author key algorithm: got %d, want 0 or %d", alg, ecdsaSHA384)
	}
	return a, nil
}

// Verify checks that the id key signed the block and, if there is an author's key, that it signed the id key.
func (a *Auth) Verify(b *Block) error {
	if err := b.Check(); err != nil {
		return err
	}
	if err := a.block.verify(a.IDKey, b.Marshal()); err != nil {
		return fmt.Errorf("id auth: signature of the block: %w", err)
	}
	return a.verifyAuthor()
}

func (a *Auth) verifyAuthor() error {
	if a.AuthorKey == nil {
		return nil
	}
	key, err := newPublicKey(a.IDKey)
	if err != nil {
		return err
	}
	if err := a.idKey.verify(a.AuthorKey, key[:]); err != nil {
		return fmt.Errorf("id auth: signature of the id key: %w", err)
	}
	return nil
}
