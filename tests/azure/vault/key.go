package vault

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/cloister-cc/cloister/snp/azure/keyvault"
)

// maxOct is the longest symmetric key, in bytes.
const maxOct = 64

// key is one version of a key.
type key struct {
	id, version string
	kty         string
	ops         []string
	n, e        string // of an RSA key, as it was imported
	crv, x, y   string // of an EC key
	secret      []byte // a symmetric key's bytes, a pair's PKCS #8 document
	policyText  []byte
	policy      *keyvault.Policy
	immutable   bool
	created     int64 // Unix time
}

// imported is the body of an import.
type imported struct {
	Key        json.RawMessage `json:"key"`
	Attributes struct {
		Exportable bool `json:"exportable"`
	} `json:"attributes"`
	Policy *struct {
		Data      string `json:"data"`
		Immutable bool   `json:"immutable"`
	} `json:"release_policy"`
}

// members are those of a JSON Web Key that the vault itself looks at.
type members struct {
	KTY string   `json:"kty"`
	Ops []string `json:"key_ops"`
	K   string   `json:"k"`
	N   string   `json:"n"`
	E   string   `json:"e"`
	CRV string   `json:"crv"`
	X   string   `json:"x"`
	Y   string   `json:"y"`
}

func (in *imported) key() (*key, error) {
	switch {
	case in.Attributes.Exportable && in.Policy == nil:
		return nil, badParameter("AKV.SKR.1004", "an exportable key needs a release policy")
	case !in.Attributes.Exportable && in.Policy != nil:
		return nil, badParameter("AKV.SKR.1005", "a key that is not exportable must not have a release policy")
	case in.Policy == nil:
		return nil, badParameter("", "this emulator keeps exportable keys only")
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(in.Policy.Data, "="))
	if err != nil {
		return nil, badParameter("", "release_policy.data is not base64url")
	}
	policy, err := keyvault.ParsePolicy(text)
	if err != nil {
		return nil, badParameter("", "%v", err)
	}
	k := &key{policyText: text, policy: policy, immutable: in.Policy.Immutable}
	return k, k.read(in.Key)
}

func (k *key) read(text json.RawMessage) error {
	var m members
	if err := json.Unmarshal(text, &m); err != nil {
		return badParameter("", "key is not a JSON Web Key")
	}
	kind := strings.TrimSuffix(m.KTY, "-HSM")
	k.kty, k.ops, k.n, k.e, k.crv, k.x, k.y = kind+"-HSM", m.Ops, m.N, m.E, m.CRV, m.X, m.Y
	if kind == "oct" {
		secret, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(m.K, "="))
		if err != nil || len(secret) == 0 {
			return badParameter("", "JSON Web Key: k property of oct key is not base64url")
		}
		if len(secret) > maxOct {
			return badParameter("", "JSON Web Key: k property of oct key is too large, maximum size is %d", maxOct)
		}
		k.secret = secret
		return nil
	}
	if kind != "RSA" && kind != "EC" {
		return badParameter("", "key.kty: got %.32q, want oct, RSA or EC, with or without -HSM", m.KTY)
	}
	var pair jose.JSONWebKey
	plain := bytes.Replace(text, []byte(`"`+m.KTY+`"`), []byte(`"`+kind+`"`), 1)
	if err := json.Unmarshal(plain, &pair); err != nil || !pair.Valid() || pair.IsPublic() {
		return badParameter("", "key is not a pair with its secret members")
	}
	var err error
	if k.secret, err = x509.MarshalPKCS8PrivateKey(pair.Key); err != nil {
		return badParameter("", "key: a pair of this kind is not kept")
	}
	return nil
}

// public is what the service tells of a key.
func (k *key) public() any {
	web := map[string]any{"kid": k.id, "kty": k.kty, "key_ops": k.ops}
	for name, value := range map[string]string{"n": k.n, "e": k.e, "crv": k.crv, "x": k.x, "y": k.y} {
		if value != "" {
			web[name] = value
		}
	}
	return map[string]any{
		"key":            web,
		"attributes":     map[string]any{"enabled": true, "exportable": true, "created": k.created, "updated": k.created, "recoveryLevel": "Recoverable+Purgeable"},
		"release_policy": map[string]any{"contentType": "application/json; charset=utf-8", "data": base64.RawURLEncoding.EncodeToString(k.policyText), "immutable": k.immutable},
	}
}
