package fragmentgen

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/enforcer/fragment"
)

// Report is what there is to know of a signed document. Everything but Size and SHA256 is the document's own word, and worth something only
// if Valid is set: then the signer said it.
type Report struct {
	Size   int    `json:"bytes"`
	SHA256 string `json:"sha256"` // of the document, hex
	// MediaType is how guests and registries know such a document, ContentType what its header says of the payload.
	MediaType   string `json:"media_type"`
	ContentType string `json:"content_type,omitempty"`
	Algorithm   string `json:"algorithm"`
	// Valid says that chain, signature, issuer and first line are as a guest wants them; Problem is what is not.
	Valid   bool   `json:"valid"`
	Problem string `json:"problem,omitempty"`
	// Loads says that a policy which allows the issuer and feed accepts it; Refused is why not.
	Loads   bool   `json:"loads"`
	Refused string `json:"refused,omitempty"`

	Issuer    string `json:"issuer,omitempty"`
	Feed      string `json:"feed,omitempty"`
	HeaderSVN *int64 `json:"header_svn,omitempty"`
	// SVN is the one that a policy compares.
	SVN string `json:"svn,omitempty"`

	Namespace        string `json:"namespace,omitempty"`
	FrameworkVersion string `json:"framework_version,omitempty"`
	// Unread says why the lists are not known, of a text that only loading evaluates.
	Unread     string         `json:"unread,omitempty"`
	Containers []Container    `json:"containers"`
	Lists      map[string]int `json:"lists"` // entries of each list that is there
	Entries    []Entry        `json:"fragments,omitempty"`

	Chain    []Certificate `json:"chain"`
	DIDs     []string      `json:"did_x509"`
	Receipts []Receipt     `json:"receipts,omitempty"`
	// ReceiptProblems are of receipts that cannot be read.
	ReceiptProblems []string `json:"receipt_problems,omitempty"`

	Text string `json:"-"`
}

// Container is one of the fragment's, in short.
type Container struct {
	Name    string   `json:"name,omitempty"`
	ID      string   `json:"id,omitempty"`
	Command []string `json:"command"`
	Layers  []string `json:"layers"`
}

// Certificate is one of the chain.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"` // hex
	Key       string    `json:"key"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"` // fingerprint, hex
}

// Receipt is what a ledger's receipt claims. Nobody verified it here: that takes a trust list.
type Receipt struct {
	Ledger string `json:"ledger"`
	KID    string `json:"kid"`
}

// Inspect takes a document apart. The error is of bytes that are no COSE_Sign1 message with a chain; whatever else is wrong is in the report.
func Inspect(ctx context.Context, raw []byte) (*Report, error) {
	m, err := cose.Parse(raw, cose.Options{})
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(raw)
	r := &Report{
		Size: len(raw), SHA256: hex.EncodeToString(digest[:]), MediaType: fragment.MediaTypeRego, ContentType: m.ContentType, Algorithm: AlgorithmName(m.Algorithm),
		Text: string(m.Payload), Containers: []Container{}, Lists: map[string]int{}, DIDs: DIDs(m.Chain),
	}
	for _, c := range m.Chain {
		r.Chain = append(r.Chain, certificate(c))
	}
	if c, err := m.Claims(); err == nil {
		r.Issuer, r.Feed, r.HeaderSVN = c.Issuer, c.Feed, c.SVN
	}
	found, wrong := m.Receipts()
	for _, receipt := range found {
		r.Receipts = append(r.Receipts, Receipt{receipt.Issuer, receipt.KID})
	}
	for _, err := range wrong {
		r.ReceiptProblems = append(r.ReceiptProblems, err.Error())
	}
	if r.Namespace, err = fragment.Namespace(r.Text); err != nil {
		r.Namespace = ""
	}
	if _, err := fragment.Open(raw); err != nil {
		r.Problem = err.Error()
		return r, nil
	}
	r.Valid = true
	r.read(ctx)
	if r.SVN, err = Load(ctx, raw); err != nil {
		r.Refused = err.Error()
		return r, ctx.Err()
	}
	r.Loads = true
	return r, nil
}

// read fills in what the text says. It is looked at only once the signature holds.
func (r *Report) read(ctx context.Context) {
	doc, err := Check(ctx, []byte(r.Text))
	if doc == nil {
		r.Unread = err.Error()
		return
	}
	r.FrameworkVersion = doc.FrameworkVersion
	for name, v := range doc.Lists() {
		if l, ok := v.([]any); ok {
			r.Lists[name] = len(l)
		}
	}
	for _, c := range doc.Containers {
		r.Containers = append(r.Containers, Container{c.Name, c.ID, c.Command, c.Layers})
	}
	for _, f := range doc.Fragments {
		r.Entries = append(r.Entries, Entry{f.Issuer, f.Feed, f.MinimumSVN, f.Includes})
	}
}

func certificate(c *x509.Certificate) Certificate {
	print := sha256.Sum256(c.Raw)
	return Certificate{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: c.SerialNumber.Text(16), Key: keyName(c.PublicKey),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), SHA256: hex.EncodeToString(print[:]),
	}
}

func keyName(key any) string {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", key)
}
