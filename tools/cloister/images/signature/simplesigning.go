package signature

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	kjson "sigs.k8s.io/json"
)

// simpleType is what critical.type must be ("cosign signature specification", payloads).
const simpleType = "cosign container image signature"

// simpleSignature is a signature in cosign's first format: a simple-signing payload, and what belongs to it in annotations. None
// of the annotations is signed; they are only believed as far as they verify.
type simpleSignature struct {
	payload    []byte
	signature  []byte
	leaf       *x509.Certificate // nil: signed with a bare key
	chain      []*x509.Certificate
	entries    []*tlog.Entry
	timestamps [][]byte
}

// parseSimple takes the annotations apart. The payload is not looked at before its signature verified.
func parseSimple(payload []byte, annotations map[string]string) (s *simpleSignature, err error) {
	defer recoverAs(&err)
	for _, key := range []string{signatureKey, certificateKey, chainKey, logEntryKey, timestampKey} {
		if n := len(annotations[key]); n > maxAnnotation {
			return nil, fmt.Errorf("annotation %s: got %d bytes, want at most %d", key, n, maxAnnotation)
		}
	}
	s = &simpleSignature{payload: payload}
	text := annotations[signatureKey]
	if text == "" {
		return nil, fmt.Errorf("annotation %s is missing", signatureKey)
	}
	if s.signature, err = base64.StdEncoding.Strict().DecodeString(text); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", signatureKey, err)
	}
	if text := annotations[certificateKey]; text != "" {
		certs, err := parseCertificates([]byte(text), maxChain)
		if err == nil && len(certs) != 1 {
			err = fmt.Errorf("got %d certificates, want 1", len(certs))
		}
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", certificateKey, err)
		}
		s.leaf = certs[0]
	}
	if text := annotations[chainKey]; text != "" {
		if s.chain, err = parseCertificates([]byte(text), maxChain); err != nil {
			return nil, fmt.Errorf("annotation %s: %w", chainKey, err)
		}
	}
	if text := annotations[logEntryKey]; text != "" {
		entry, err := parseLogEntry([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", logEntryKey, err)
		}
		s.entries = []*tlog.Entry{entry}
	}
	if text := annotations[timestampKey]; text != "" {
		var t struct{ SignedRFC3161Timestamp []byte }
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			return nil, fmt.Errorf("annotation %s: %w", timestampKey, err)
		}
		s.timestamps = [][]byte{t.SignedRFC3161Timestamp}
	}
	return s, nil
}

// parseLogEntry reads a Rekor entry with its promise of inclusion.
func parseLogEntry(raw []byte) (*tlog.Entry, error) {
	var b struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		return nil, err
	}
	var version struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(b.Payload.Body, &version); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	id, err := hex.DecodeString(b.Payload.LogID)
	if err != nil {
		return nil, fmt.Errorf("logID: %w", err)
	}
	if len(b.SignedEntryTimestamp) == 0 || b.Payload.IntegratedTime <= 0 {
		return nil, errors.New("SignedEntryTimestamp or integratedTime is missing")
	}
	return tlog.ParseTransparencyLogEntry(&protorekor.TransparencyLogEntry{
		LogIndex:          b.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: version.Kind, Version: version.APIVersion},
		IntegratedTime:    b.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: b.SignedEntryTimestamp},
		CanonicalizedBody: b.Payload.Body,
	})
}

// signedDigest reads a payload whose signature verified: the digest of the manifest that it is a signature of. Of critical
// everything must be understood; optional may hold anything.
func signedDigest(payload []byte) (string, error) {
	var outer struct {
		Critical json.RawMessage `json:"critical"`
	}
	if problems, err := kjson.UnmarshalStrict(payload, &outer, kjson.DisallowDuplicateFields); err != nil || len(problems) > 0 {
		return "", fmt.Errorf("payload: %w", errors.Join(append(problems, err)...))
	}
	var critical struct {
		Identity struct {
			Reference string `json:"docker-reference"` // "is ignored", says the specification: the digest names the image
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	}
	if problems, err := kjson.UnmarshalStrict(outer.Critical, &critical); err != nil || len(problems) > 0 {
		return "", fmt.Errorf("payload: critical: %w", errors.Join(append(problems, err)...))
	}
	if critical.Type != simpleType {
		return "", fmt.Errorf("payload: critical.type: got %s, want %q", quote(critical.Type), simpleType)
	}
	if critical.Image.Digest == "" {
		return "", errors.New("payload: critical.image.docker-manifest-digest is missing")
	}
	return critical.Image.Digest, nil
}

// simpleEntity shows a simple signature to sigstore-go: a message signature over the payload.
type simpleEntity struct {
	verify.BaseSignedEntity
	s *simpleSignature
}

func (e *simpleEntity) HasInclusionPromise() bool { return len(e.s.entries) > 0 }

func (e *simpleEntity) SignatureContent() (verify.SignatureContent, error) {
	sum := sha256.Sum256(e.s.payload)
	return bundle.NewMessageSignature(sum[:], "SHA2_256", e.s.signature), nil
}

func (e *simpleEntity) VerificationContent() (verify.VerificationContent, error) {
	if e.s.leaf == nil {
		return nil, errors.New("no certificate: it was signed with a bare key")
	}
	leaf := *e.s.leaf // sigstore-go edits it, and a bundle of the user's is judged for several images at a time
	return certified{bundle.NewCertificate(&leaf), e.s.chain}, nil
}

func (e *simpleEntity) Timestamps() ([][]byte, error)       { return e.s.timestamps, nil }
func (e *simpleEntity) TlogEntries() ([]*tlog.Entry, error) { return e.s.entries, nil }
func (e *simpleEntity) Version() (string, error)            { return "v0.1", nil }
func (e *simpleEntity) artifact() verify.ArtifactPolicyOption {
	return verify.WithArtifact(bytes.NewReader(e.s.payload))
}

// certified adds the intermediates that came with a signature. They lead somewhere only if the root is trusted.
type certified struct {
	verify.VerificationContent
	chain []*x509.Certificate
}

func (c certified) Intermediates() []*x509.Certificate { return c.chain }

// parseCertificates reads PEM certificates and nothing else.
func parseCertificates(text []byte, most int) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for len(bytes.TrimSpace(text)) > 0 {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("want PEM blocks CERTIFICATE")
		}
		if len(certs) == most {
			return nil, fmt.Errorf("got more than %d certificates", most)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
		text = rest
	}
	return certs, nil
}

// recoverAs makes a panic of a library over a stranger's bytes an error: a signature that cannot be read.
func recoverAs(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("cannot be read: %v", r)
	}
}
