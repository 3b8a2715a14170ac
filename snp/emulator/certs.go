package emulator

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/cloister-cc/cloister/snp"
)

// Validity as AMD has it: 25 years for the authorities, 7 for a VCEK, 1 for a VLEK.
const (
	day      = 24 * time.Hour
	caLife   = 25 * 365 * day
	vcekLife = 7 * 365 * day
	vlekLife = 365 * day
)

// backdate lets a verifier whose clock is a little behind accept a fresh certificate.
const backdate = day

func template(role string, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject: pkix.Name{
			Organization:       []string{Subject},
			OrganizationalUnit: []string{"Software SNP processor"},
			CommonName:         Subject + " (" + strings.ToUpper(role) + ")",
		},
		NotBefore:          now.Add(-backdate),
		NotAfter:           now.Add(life),
		SignatureAlgorithm: x509.SHA384WithRSAPSS,
	}, nil
}

// caCert makes an authority's certificate, signed by the root or, for the root itself, by its own key.
func caCert(role string, key *rsa.PrivateKey, root *issuer) (*x509.Certificate, error) {
	t, err := template(role, caLife)
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	parent := root.cert
	if parent == nil {
		parent = t
	}
	return sign(t, parent, key.Public(), root.key)
}

func sign(t, parent *x509.Certificate, pub crypto.PublicKey, key *rsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate %q: %w", t.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

// Certify issues the certificate of a processor's endorsement key, in DER.
func (a *Authority) Certify(id Identity) ([]byte, error) {
	if err := id.check(); err != nil {
		return nil, err
	}
	return a.certify(id)
}

// HWID is the identity of the authority's chip as certificates and key servers write it: 64 bytes, or the 8 that Turin has.
func (a *Authority) HWID(line snp.Line) []byte { return bytes.Clone(hwid(line, a.chipID)) }

// certify issues the certificate of the chip's or the cloud's key for one TCB, in DER.
func (a *Authority) certify(id Identity) ([]byte, error) {
	role, life, by := "vcek", vcekLife, a.ask
	if id.VLEK {
		role, life, by = "vlek", vlekLife, a.asvk
	}
	key, err := a.endorsementKey(id)
	if err != nil {
		return nil, err
	}
	t, err := template(role, life)
	if err != nil {
		return nil, err
	}
	if t.ExtraExtensions, err = a.extensions(id); err != nil {
		return nil, err
	}
	cert, err := sign(t, by.cert, key.Public(), by.key)
	if err != nil {
		return nil, err
	}
	return cert.Raw, nil
}

// endorsementKey is the chip's or the cloud's key of one TCB: as AMD's, it changes with the firmware. It is derived, so that a key server knows it too.
func (a *Authority) endorsementKey(id Identity) (*ecdsa.PrivateKey, error) {
	base, kind := a.vcek, "VCEK"
	if id.VLEK {
		base, kind = a.vlek, "VLEK"
	}
	tcb := id.TCB.Bytes(id.Line)
	// 16 bytes more than the order has: what taking the remainder favours is then beyond notice.
	seed, err := expand(base, fmt.Sprintf("endorsement key %s %s %x", kind, id.Line, tcb[:]), 48+16)
	if err != nil {
		return nil, err
	}
	one, order := big.NewInt(1), elliptic.P384().Params().N
	d := new(big.Int).SetBytes(seed)
	d.Mod(d, new(big.Int).Sub(order, one)).Add(d, one) // 1 to order-1
	return ecdsa.ParseRawPrivateKey(elliptic.P384(), d.FillBytes(make([]byte, 48)))
}

// chipRoot is what keys derived from the chip begin with. It is the same for all TCBs: what a guest sealed can be opened after an update.
func (a *Authority) chipRoot() ([32]byte, error) {
	root, err := expand(a.vcek, "chip root", 32)
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(root), nil
}

func expand(key *ecdsa.PrivateKey, use string, size int) ([]byte, error) {
	scalar, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha512.New384, scalar, nil, "cloister emulator "+use, size)
}

// Chain returns the certificates above an endorsement key's, in DER: the intermediate of VCEKs (ASK) or VLEKs (ASVK), and the root (ARK).
func (a *Authority) Chain(vlek bool) [][]byte {
	by := a.ask
	if vlek {
		by = a.asvk
	}
	return [][]byte{by.cert.Raw, a.ark.cert.Raw}
}

// AMD's extension arc.
var kdsArc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}

func kdsOID(tail ...int) asn1.ObjectIdentifier {
	return append(append(asn1.ObjectIdentifier(nil), kdsArc...), tail...)
}

func (a *Authority) extensions(id Identity) ([]pkix.Extension, error) {
	var exts []pkix.Extension
	var failed error
	add := func(oid asn1.ObjectIdentifier, v any, params string) {
		der, err := asn1.MarshalWithParams(v, params)
		if err != nil {
			failed = err
		}
		exts = append(exts, pkix.Extension{Id: oid, Value: der})
	}
	product := string(id.Line)
	if !id.VLEK && id.Line != snp.Turin {
		product += "-B1"
	}
	add(kdsOID(1), 0, "")
	add(kdsOID(2), product, "ia5")
	add(kdsOID(3, 1), int(id.TCB.BootLoader), "")
	add(kdsOID(3, 2), int(id.TCB.TEE), "")
	add(kdsOID(3, 3), int(id.TCB.SNP), "")
	for spl := 4; spl <= 7; spl++ {
		add(kdsOID(3, spl), 0, "")
	}
	add(kdsOID(3, 8), int(id.TCB.Microcode), "")
	if id.Line == snp.Turin {
		add(kdsOID(3, 9), int(id.TCB.FMC), "")
	}
	if id.VLEK {
		add(kdsOID(5), Subject, "ia5")
	} else {
		// AMD puts the raw bytes here, without a DER header.
		exts = append(exts, pkix.Extension{Id: kdsOID(4), Value: hwid(id.Line, a.chipID)})
	}
	return exts, failed
}

// hwid is the chip's identity as long as the line has it: Turin uses 8 of the 64 bytes.
func hwid(line snp.Line, chip [64]byte) []byte {
	if line == snp.Turin {
		return chip[:8]
	}
	return chip[:]
}
