package verify

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cloister-cc/cloister/snp"
)

const (
	maxRootFile  = 256 << 10
	maxRootFiles = 256
	minRSABits   = 4096 // AMD's roots and intermediates
	maxRSABits   = 8192 // what a check of a hostile key may cost
)

// Roots are the certificates a relying party trusts: self-signed ones as anchors, others as helpers that still have to chain to an anchor.
type Roots struct {
	anchors []*authority
	helpers []*authority
	leaves  []endorsed // endorsement keys' certificates, kept beside the roots
}

// amdFiles are AMD's public certificates: ARK, ASK and ASVK of each product line.
//
//go:embed roots/*.pem
var amdFiles embed.FS

// AMDRoots are AMD's root certificates and intermediates of Milan, Genoa and Turin. Each call gives roots of their own: what is added to them, no other has.
func AMDRoots() *Roots { return amdRoots().clone() }

// clone copies the lists; what is in them never changes.
func (r *Roots) clone() *Roots {
	return &Roots{anchors: slices.Clone(r.anchors), helpers: slices.Clone(r.helpers), leaves: slices.Clone(r.leaves)}
}

// amdRoots are never handed out.
var amdRoots = sync.OnceValue(func() *Roots {
	r := &Roots{}
	err := fs.WalkDir(amdFiles, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := amdFiles.ReadFile(path)
		if err != nil {
			return err
		}
		return r.Add(b)
	})
	if err != nil {
		panic("snp/verify: embedded roots: " + err.Error())
	}
	return r
})

// LoadRoots reads every *.pem, *.crt, *.cer and *.der file of a directory, one or more certificates each: ark.pem and ask.pem, or the
// cert_chain file of AMD's key server. At least one must be self-signed. They replace AMD's roots.
func LoadRoots(dir string) (*Roots, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("load roots: %w", err)
	}
	if len(entries) > maxRootFiles {
		return nil, fmt.Errorf("load roots %q: got %d files, want at most %d", dir, len(entries), maxRootFiles)
	}
	r := &Roots{}
	for _, e := range entries {
		if !slices.Contains([]string{".pem", ".crt", ".cer", ".der"}, filepath.Ext(e.Name())) {
			continue
		}
		b, err := readLimited(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("load roots: %w", err)
		}
		if err := r.Add(b); err != nil {
			return nil, fmt.Errorf("load roots %q: %w", filepath.Join(dir, e.Name()), err)
		}
	}
	if len(r.anchors) == 0 {
		return nil, fmt.Errorf("load roots %q: got no self-signed certificate, want an ARK", dir)
	}
	return r, nil
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRootFile+1))
	if err == nil && len(b) > maxRootFile {
		err = fmt.Errorf("read %q: got more than %d bytes", path, maxRootFile)
	}
	return b, err
}

// Add adds certificates, PEM or one DER. Verifiers made before do not see them.
func (r *Roots) Add(data []byte) error {
	ders, err := split(data)
	if err != nil {
		return err
	}
	for _, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		switch {
		case hasAMDExtension(cert):
			says, err := parseEndorsement(cert)
			if err != nil {
				return err
			}
			r.leaves = append(r.leaves, endorsed{cert, says})
		case selfIssued(cert) && signedBy(cert, cert) == nil:
			r.anchors = append(r.anchors, newAuthority(cert))
		default:
			r.helpers = append(r.helpers, newAuthority(cert))
		}
	}
	return nil
}

func split(data []byte) ([][]byte, error) {
	if !bytes.Contains(data, []byte("-----BEGIN")) {
		return [][]byte{data}, nil
	}
	var ders [][]byte
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			if len(ders) == 0 {
				return nil, errors.New("got no certificate")
			}
			return ders, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("got a PEM block %.32q, want only certificates", block.Type)
		}
		ders, data = append(ders, block.Bytes), rest
	}
}

// authority is a root or an intermediate, with what its name says it is for.
type authority struct {
	cert *x509.Certificate
	line snp.Line // "" if the name does not say: the software processor's vouch for every line
	kind string   // VCEK or VLEK for an intermediate, "" for a root and where the name does not say
}

// newAuthority reads AMD's names, ARK-Milan, SEV-Milan and SEV-VLEK-Milan, and those of the software processor, which end in the role.
func newAuthority(cert *x509.Certificate) *authority {
	a, name := &authority{cert: cert}, cert.Subject.CommonName
	switch {
	case strings.HasPrefix(name, "ARK-"):
		a.line = snp.Line(strings.TrimPrefix(name, "ARK-"))
	case strings.HasPrefix(name, "SEV-VLEK-"):
		a.line, a.kind = snp.Line(strings.TrimPrefix(name, "SEV-VLEK-")), kindVLEK
	case strings.HasPrefix(name, "SEV-"):
		a.line, a.kind = snp.Line(strings.TrimPrefix(name, "SEV-")), kindVCEK
	case strings.HasSuffix(name, "(ASK)"):
		a.kind = kindVCEK
	case strings.HasSuffix(name, "(ASVK)"):
		a.kind = kindVLEK
	}
	return a
}

// vouchesFor says whether the authority's name allows it to stand over a key of that line and kind.
func (a *authority) vouchesFor(line snp.Line, kind string) bool {
	return (a.line == "" || a.line == line) && (a.kind == "" || a.kind == kind)
}

func selfIssued(cert *x509.Certificate) bool { return bytes.Equal(cert.RawIssuer, cert.RawSubject) }

// signedBy checks that an authority of AMD's shape (RSA-4096, PSS with SHA-384, allowed to sign certificates) signed cert.
func signedBy(cert, by *x509.Certificate) error {
	key, ok := by.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minRSABits || key.N.BitLen() > maxRSABits {
		return fmt.Errorf("issuer %.128q: got a key that is not RSA of %d to %d bits", by.Subject.CommonName, minRSABits, maxRSABits)
	}
	if cert.SignatureAlgorithm != x509.SHA384WithRSAPSS {
		return fmt.Errorf("certificate %.128q: got signature algorithm %s, want %s", cert.Subject.CommonName, cert.SignatureAlgorithm, x509.SHA384WithRSAPSS)
	}
	if !bytes.Equal(cert.RawIssuer, by.RawSubject) {
		return fmt.Errorf("certificate %.128q: its issuer is not %.128q", cert.Subject.CommonName, by.Subject.CommonName)
	}
	if len(cert.UnhandledCriticalExtensions) > 0 {
		return fmt.Errorf("certificate %.128q: got critical extension %s, which has no meaning here", cert.Subject.CommonName, cert.UnhandledCriticalExtensions[0])
	}
	return cert.CheckSignatureFrom(by) // also: by is a CA and may sign certificates
}
