package maa

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
)

// Evidence is what the service judges.
type Evidence struct {
	Report       []byte   // the raw attestation report
	Chain        []byte   // PEM: VCEK or VLEK, then AMD's certificates
	Endorsements [][]byte // COSE_Sign1 documents of the utility VM
}

// Request is the document that the service takes (Azure services contract, section 1.7, step 3). Its values are base64url with padding.
type Request struct {
	Report       string      `json:"report"`
	RuntimeData  RuntimeData `json:"runtimeData"`
	InitTimeData RuntimeData `json:"initTimeData"`
	Nonce        json.Number `json:"nonce,omitempty"`
}

// RuntimeData is data that the report names by its digest.
type RuntimeData struct {
	Data string `json:"data"`
	Type string `json:"dataType"`
}

type reportDocument struct {
	SnpReport     string
	VcekCertChain string
	Endorsements  string `json:",omitempty"`
}

type endorsementsDocument struct{ Uvm []string }

var padded = base64.URLEncoding

// NewRequest writes the request for evidence over runtime, a JSON document whose SHA-256 begins REPORT_DATA. A nonce of 0 is none.
func NewRequest(e Evidence, runtime []byte, nonce uint64) (*Request, error) {
	document := reportDocument{SnpReport: padded.EncodeToString(e.Report), VcekCertChain: padded.EncodeToString(e.Chain)}
	if len(e.Endorsements) > 0 {
		var all endorsementsDocument
		for _, cose := range e.Endorsements {
			all.Uvm = append(all.Uvm, padded.EncodeToString(cose))
		}
		text, err := json.Marshal(all)
		if err != nil {
			return nil, fmt.Errorf("attestation request: %w", err)
		}
		document.Endorsements = padded.EncodeToString(text)
	}
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("attestation request: %w", err)
	}
	r := &Request{Report: padded.EncodeToString(text), RuntimeData: RuntimeData{padded.EncodeToString(runtime), "JSON"}}
	if nonce != 0 {
		r.Nonce = json.Number(fmt.Sprint(nonce))
	}
	return r, nil
}

// WrappingKeys is the JSON Web Key set with the one key that a released key is to be wrapped for, in the bytes that are hashed: members in order, no space.
func WrappingKeys(key *rsa.PublicKey) []byte {
	n := base64.RawURLEncoding.EncodeToString(key.N.Bytes())
	e := base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())
	// RFC 7638: the required members in lexical order.
	thumbprint := sha256.Sum256([]byte(`{"e":"` + e + `","kty":"RSA","n":"` + n + `"}`))
	kid := base64.RawURLEncoding.EncodeToString(thumbprint[:])
	return []byte(`{"keys":[{"e":"` + e + `","key_ops":["encrypt"],"kid":"` + kid + `","kty":"RSA","n":"` + n + `"}]}`)
}
