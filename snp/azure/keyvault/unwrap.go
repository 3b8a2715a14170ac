package keyvault

import (
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"

	"github.com/tink-crypto/tink-go/v2/kwp/subtle"
)

// Wrap is how a released key is wrapped: an AES key by RSA-OAEP for the guest's key, and by the AES key, with RFC 5649's padding, the released key.
type Wrap string

// The three of the service; they differ in OAEP's hash.
const (
	WrapSHA1   Wrap = "CKM_RSA_AES_KEY_WRAP"
	WrapSHA256 Wrap = "RSA_AES_KEY_WRAP_256"
	WrapSHA384 Wrap = "RSA_AES_KEY_WRAP_384"
)

var wrapHashes = map[Wrap]func() hash.Hash{WrapSHA1: sha1.New, WrapSHA256: sha256.New, WrapSHA384: sha512.New384}

func (w Wrap) validate() error {
	if wrapHashes[w] == nil {
		return fmt.Errorf("got %.32q, want %s, %s or %s", string(w), WrapSHA1, WrapSHA256, WrapSHA384)
	}
	return nil
}

// errUnwrap says no more: what is wrong with a ciphertext is nothing its sender should learn.
var errUnwrap = errors.New("unwrap released key: it was not wrapped for this guest's key, or was changed")

// Unwrap returns the released key: the bytes of a symmetric key, the PKCS #8 document of a pair. The caller wipes them.
func (a *Answer) Unwrap(key *rsa.PrivateKey) ([]byte, error) {
	if err := a.Wrap.validate(); err != nil {
		return nil, fmt.Errorf("unwrap released key: %w", err)
	}
	size := key.Size()
	if len(a.Ciphertext) <= size {
		return nil, errUnwrap
	}
	aes, err := rsa.DecryptOAEP(wrapHashes[a.Wrap](), nil, key, a.Ciphertext[:size], nil)
	if err != nil {
		return nil, errUnwrap
	}
	defer clear(aes)
	wrapping, err := subtle.NewKWP(aes)
	if err != nil {
		return nil, errUnwrap
	}
	secret, err := wrapping.Unwrap(a.Ciphertext[size:])
	if err != nil {
		return nil, errUnwrap
	}
	return secret, nil
}
