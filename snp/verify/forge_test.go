package verify_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

var amdArc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}

func amdOID(tail ...int) asn1.ObjectIdentifier { return append(slices.Clone(amdArc), tail...) }

// leaf is the certificate of the sample's endorsement key.
func (s *sample) leaf() *x509.Certificate {
	s.t.Helper()
	cert, err := x509.ParseCertificate(s.params.Chain[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return cert
}

// issuer is "ask" or "asvk", whichever signs keys of the sample's kind.
func (s *sample) issuer() string {
	if s.params.VLEK {
		return "asvk"
	}
	return "ask"
}

func (s *sample) guid() snp.GUID {
	if s.params.VLEK {
		return snp.GUIDVLEK
	}
	return snp.GUIDVCEK
}

// reissued is the certificate of the sample's key, edited and issued anew.
func (s *sample) reissued(issuer string, edit func(*x509.Certificate)) []byte {
	s.t.Helper()
	return s.reissuedBy(issuerCert(s.t, issuer), issuerKey(s.t, issuer), edit)
}

func (s *sample) reissuedBy(issuer *x509.Certificate, key *rsa.PrivateKey, edit func(*x509.Certificate)) []byte {
	s.t.Helper()
	old := s.leaf()
	tmpl := &x509.Certificate{
		SerialNumber: old.SerialNumber, Subject: old.Subject, NotBefore: old.NotBefore, NotAfter: old.NotAfter,
		SignatureAlgorithm: x509.SHA384WithRSAPSS, PublicKey: old.PublicKey,
	}
	for _, e := range old.Extensions {
		if len(e.Id) > len(amdArc) && e.Id[:len(amdArc)].Equal(amdArc) {
			tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, e)
		}
	}
	if edit != nil {
		edit(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, tmpl.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	return der
}

// with is evidence with another certificate of the endorsement key in the table.
func (s *sample) with(leaf []byte) verify.Evidence {
	ev := s.evidence()
	ev.Table = s.table(s.guid(), leaf)
	return ev
}

// table is the sample's table with one entry replaced, added, or (nil) left out.
func (s *sample) table(guid snp.GUID, data []byte) []byte {
	certs := slices.DeleteFunc(slices.Clone(s.certs), func(c snp.Cert) bool { return c.GUID == guid })
	if data != nil {
		certs = append(certs, snp.Cert{GUID: guid, Data: data})
	}
	return snp.MarshalCerts(certs)
}

func setExtension(c *x509.Certificate, value []byte, tail ...int) {
	id := amdOID(tail...)
	c.ExtraExtensions = slices.DeleteFunc(c.ExtraExtensions, func(e pkix.Extension) bool { return e.Id.Equal(id) })
	if value != nil {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Value: value})
	}
}

func der(t testing.TB, v any, params string) []byte {
	t.Helper()
	b, err := asn1.MarshalWithParams(v, params)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// revocationList is a list of the software processor's root.
func revocationList(t testing.TB, from, to time.Time, revoked ...*big.Int) []byte {
	t.Helper()
	return revocationListBy(t, issuerCert(t, "ark"), issuerKey(t, "ark"), from, to, nil, revoked...)
}

func revocationListBy(t testing.TB, issuer *x509.Certificate, key *rsa.PrivateKey, from, to time.Time, edit func(*x509.RevocationList), revoked ...*big.Int) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: from, NextUpdate: to, SignatureAlgorithm: x509.SHA384WithRSAPSS}
	for _, serial := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: from})
	}
	if edit != nil {
		edit(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// currentList is a list that is good for a month.
func currentList(t testing.TB, revoked ...*big.Int) []byte {
	t.Helper()
	return revocationList(t, time.Now().AddDate(0, 0, -15), time.Now().AddDate(0, 0, 15), revoked...)
}

func flipped(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i] ^= 1
	return b
}
