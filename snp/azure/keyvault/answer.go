package keyvault

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxAnswer bounds the service's signed answer, in bytes.
const maxAnswer = 256 << 10

// Answer is what the service says when it releases a key: who the key is, what may be done with it, and the key itself, wrapped for the attested guest.
type Answer struct {
	KeyID      string   // URL with name and version
	Type       string   // kty: "oct", "RSA", "EC", or these with "-HSM"
	Operations []string // key_ops
	Wrap       Wrap     // how Ciphertext came to be
	Ciphertext []byte
	Policy     []byte // the release policy's text
}

// Trust is whose signature on an answer is believed.
type Trust struct {
	Roots *x509.CertPool // nil: the system's
	Host  string         // the service's DNS name, which its certificate must have
	Now   time.Time
}

// answerPayload is the signed document (Azure services contract, section 1.7, step 7).
type answerPayload struct {
	Response struct {
		Key struct {
			Key struct {
				KID    string   `json:"kid"`
				KTY    string   `json:"kty"`
				KeyOps []string `json:"key_ops"`
				KeyHSM string   `json:"key_hsm"`
			} `json:"key"`
			ReleasePolicy struct {
				Data string `json:"data"`
			} `json:"release_policy"`
		} `json:"key"`
	} `json:"response"`
}

// wrappedKey is what key_hsm is, in base64url.
type wrappedKey struct {
	SchemaVersion string `json:"schema_version"`
	Header        struct {
		KID string `json:"kid"`
		Alg string `json:"alg"`
		Enc string `json:"enc"`
	} `json:"header"`
	Ciphertext string `json:"ciphertext"`
}

var answerAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512,
}

// ReadAnswer checks the signature of a release and its certificate chain, and reads it.
func ReadAnswer(jws string, trust Trust) (*Answer, error) {
	a, err := readAnswer(jws, trust)
	if err != nil {
		return nil, fmt.Errorf("released key: %w", err)
	}
	return a, nil
}

func readAnswer(jws string, trust Trust) (*Answer, error) {
	if len(jws) > maxAnswer {
		return nil, fmt.Errorf("got %d bytes, want at most %d", len(jws), maxAnswer)
	}
	if trust.Host == "" {
		return nil, errors.New("no host whose certificate it must be")
	}
	signed, err := jose.ParseSignedCompact(jws, answerAlgorithms)
	if err != nil {
		return nil, err
	}
	chains, err := signed.Signatures[0].Protected.Certificates(x509.VerifyOptions{DNSName: trust.Host, Roots: trust.Roots, CurrentTime: trust.Now})
	if err != nil {
		return nil, fmt.Errorf("certificate of its signer: %w", err)
	}
	payload, err := signed.Verify(chains[0][0].PublicKey)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	var p answerPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	key := p.Response.Key.Key
	a := &Answer{KeyID: key.KID, Type: key.KTY, Operations: key.KeyOps}
	if a.Policy, err = decode(p.Response.Key.ReleasePolicy.Data); err != nil {
		return nil, fmt.Errorf("release_policy.data: %w", err)
	}
	return a, a.unpack(key.KeyHSM)
}

func (a *Answer) unpack(keyHSM string) error {
	raw, err := decode(keyHSM)
	if err != nil {
		return fmt.Errorf("key_hsm: %w", err)
	}
	var w wrappedKey
	if err := json.Unmarshal(raw, &w); err != nil {
		return fmt.Errorf("key_hsm: %w", err)
	}
	if w.Header.Alg != "dir" {
		return fmt.Errorf("key_hsm.header.alg: got %.32q, want \"dir\"", w.Header.Alg)
	}
	a.Wrap = Wrap(w.Header.Enc)
	if err := a.Wrap.validate(); err != nil {
		return fmt.Errorf("key_hsm.header.enc: %w", err)
	}
	if a.Ciphertext, err = decode(w.Ciphertext); err != nil || len(a.Ciphertext) == 0 {
		return errors.Join(errors.New("key_hsm.ciphertext: not base64url"), err)
	}
	return nil
}

// decode reads base64url with and without padding: the services write either.
func decode(s string) ([]byte, error) {
	for len(s) > 0 && s[len(s)-1] == '=' {
		s = s[:len(s)-1]
	}
	return base64.RawURLEncoding.DecodeString(s)
}
