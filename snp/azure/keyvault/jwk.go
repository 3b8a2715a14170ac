package keyvault

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
)

// jwk is a released key as JSON Web Key (RFC 7517, 7518), with the members in the order in which they are written.
type jwk struct {
	KTY string   `json:"kty"`
	KID string   `json:"kid,omitempty"`
	Ops []string `json:"key_ops,omitempty"`
	K   string   `json:"k,omitempty"`
	CRV string   `json:"crv,omitempty"`
	X   string   `json:"x,omitempty"`
	Y   string   `json:"y,omitempty"`
	N   string   `json:"n,omitempty"`
	E   string   `json:"e,omitempty"`
	D   string   `json:"d,omitempty"`
	P   string   `json:"p,omitempty"`
	Q   string   `json:"q,omitempty"`
	DP  string   `json:"dp,omitempty"`
	DQ  string   `json:"dq,omitempty"`
	QI  string   `json:"qi,omitempty"`
}

// JWK is an unwrapped key as JSON Web Key, with the operations that the service allows it. The caller wipes it.
func (a *Answer) JWK(secret []byte) ([]byte, error) {
	k := jwk{KTY: strings.TrimSuffix(a.Type, "-HSM"), KID: a.KeyID, Ops: a.Operations}
	var err error
	switch k.KTY {
	case "oct":
		k.K = base64.RawURLEncoding.EncodeToString(secret)
	case "RSA", "EC":
		err = k.pair(secret)
	default:
		err = fmt.Errorf("kty: got %.32q, want oct, RSA or EC", a.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("released key: %w", err)
	}
	return json.Marshal(k)
}

func (k *jwk) pair(pkcs8 []byte) error {
	key, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return fmt.Errorf("%s key: %w", k.KTY, err)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if k.KTY == "RSA" {
			return k.rsa(key)
		}
	case *ecdsa.PrivateKey:
		if k.KTY == "EC" {
			return k.ec(key)
		}
	}
	return fmt.Errorf("kty: got %q for a %T", k.KTY, key)
}

func (k *jwk) rsa(key *rsa.PrivateKey) error {
	if len(key.Primes) != 2 {
		return fmt.Errorf("RSA key: got %d primes, want 2", len(key.Primes))
	}
	key.Precompute()
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	k.N, k.E, k.D = number(key.N), number(big.NewInt(int64(key.E))), number(key.D)
	k.P, k.Q = number(key.Primes[0]), number(key.Primes[1])
	k.DP, k.DQ, k.QI = number(key.Precomputed.Dp), number(key.Precomputed.Dq), number(key.Precomputed.Qinv)
	return nil
}

func (k *jwk) ec(key *ecdsa.PrivateKey) error {
	public, err := key.PublicKey.Bytes() // 4, X, Y
	if err != nil {
		return err
	}
	private, err := key.Bytes()
	if err != nil {
		return err
	}
	half := (len(public) - 1) / 2
	k.CRV = key.Curve.Params().Name
	k.X, k.Y = base64.RawURLEncoding.EncodeToString(public[1:1+half]), base64.RawURLEncoding.EncodeToString(public[1+half:])
	k.D = base64.RawURLEncoding.EncodeToString(private)
	return nil
}
