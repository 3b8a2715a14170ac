package cose

import "crypto/x509"

// Keys of CWT claims, RFC 8392.
const (
	claimIssuer  = 1
	claimSubject = 2
)

// Claims are what the signer says of a document.
type Claims struct {
	// Issuer is the did:x509 the signer goes by.
	Issuer string
	// Feed names the document among the issuer's.
	Feed string
	// SVN is the security version, nil if the header has none.
	SVN *int64
}

// Claims reads issuer, feed and SVN. Issuer and feed come from the CWT claims, else from the text labels "iss" and "feed".
func (m *Sign1) Claims() (Claims, error) {
	cwt, err := m.cwt()
	if err != nil {
		return Claims{}, err
	}
	var c Claims
	if c.Issuer, err = m.claim(cwt, claimIssuer, "iss", MaxIssuer); err != nil {
		return Claims{}, err
	}
	if c.Feed, err = m.claim(cwt, claimSubject, "feed", MaxFeed); err != nil {
		return Claims{}, err
	}
	if raw, ok := cwt.texts["svn"]; ok {
		svn, err := readInt(raw, "svn")
		if err != nil {
			return Claims{}, failf(ErrClaims, "%w", err)
		}
		if svn < 0 {
			return Claims{}, failf(ErrClaims, "svn: got %d, want 0 or more", svn)
		}
		c.SVN = &svn
	}
	return c, nil
}

func (m *Sign1) cwt() (table, error) {
	raw, ok := m.protected.ints[labelCWTClaims]
	if !ok {
		return table{}, nil
	}
	t, err := readTable(raw, "CWT claims")
	if err != nil {
		return table{}, failf(ErrClaims, "%w", err)
	}
	return t, nil
}

func (m *Sign1) claim(cwt table, key int64, label string, most int) (string, error) {
	raw, ok := cwt.ints[key]
	if !ok {
		raw, ok = m.protected.texts[label]
	}
	if !ok {
		return "", failf(ErrClaims, "no %s: neither CWT claim %d nor the label %q is in the protected header", label, key, label)
	}
	s, err := readText(raw, label, most)
	if err != nil {
		return "", failf(ErrClaims, "%w", err)
	}
	if s == "" {
		return "", failf(ErrClaims, "%s is empty", label)
	}
	return s, nil
}

// Document is a message that was verified and whose issuer is who signed it.
type Document struct {
	Claims
	ContentType string
	Payload     []byte
	Chain       []*x509.Certificate
	// Message is there for its receipts.
	Message *Sign1
}

// Open parses a message, verifies chain and signature, reads the claims and resolves the issuer against the chain: all that can be
// said of a document without knowing whom to trust. Compare Issuer, Feed and SVN next.
func Open(raw []byte, o Options) (*Document, error) {
	m, err := Parse(raw, o)
	if err != nil {
		return nil, err
	}
	if err := m.Verify(); err != nil {
		return nil, err
	}
	c, err := m.Claims()
	if err != nil {
		return nil, err
	}
	if err := resolve(c.Issuer, m.Chain); err != nil {
		return nil, err
	}
	return &Document{Claims: c, ContentType: m.ContentType, Payload: m.Payload, Chain: m.Chain, Message: m}, nil
}
