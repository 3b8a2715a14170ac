package verify

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"

	"github.com/cloister-cc/cloister/snp"
)

// given are the certificates that came with the evidence, by what they were said to be.
type given struct {
	leaf, ask, ark []byte   // of the host's table
	cpu            []byte   // of the host's table: the processor, which certifies nothing
	crl            []byte   // of the host's table
	more           [][]byte // besides
}

// others are the certificates but the table's endorsement key, sorted and each once: which chains there are depends on neither order nor repetition, so that a host
// which sends one chain in many ways takes one place of the cache.
func (g *given) others() [][]byte {
	all := make([][]byte, 0, 2+len(g.more))
	for _, list := range [...][][]byte{{g.ask, g.ark}, g.more} {
		for _, der := range list {
			if der != nil && !(g.leaf != nil && bytes.Equal(der, g.leaf)) {
				all = append(all, der)
			}
		}
	}
	slices.SortFunc(all, bytes.Compare)
	return slices.CompactFunc(all, bytes.Equal)
}

func kindOf(signer uint32) string {
	switch signer {
	case snp.SignerVCEK:
		return kindVCEK
	case snp.SignerVLEK:
		return kindVLEK
	}
	return ""
}

const wantTable = "well formed"

// collect takes the certificates apart without parsing one.
func collect(ev *Evidence, kind string) (g given, err error) {
	if len(ev.Certs) > maxCerts {
		return g, fmt.Errorf("got %d certificates beside the table, want at most %d", len(ev.Certs), maxCerts)
	}
	total := len(ev.Table)
	for i, c := range ev.Certs {
		if total += len(c); len(c) > maxCert {
			return g, fmt.Errorf("certificate %d: got %d bytes, want at most %d", i, len(c), maxCert)
		}
	}
	if total > maxCertData {
		return g, fmt.Errorf("got %d bytes of certificates, want at most %d", total, maxCertData)
	}
	g.more = ev.Certs
	table, err := snp.ParseCerts(ev.Table)
	if err != nil {
		return g, err
	}
	guid := snp.GUIDVCEK
	if kind == kindVLEK {
		guid = snp.GUIDVLEK
	}
	for _, c := range table {
		var to *[]byte
		limit := maxCert
		switch c.GUID {
		case guid:
			to = &g.leaf
		case snp.GUIDASK:
			to = &g.ask
		case snp.GUIDARK:
			to = &g.ark
		case snp.GUIDCPU:
			to = &g.cpu
		case snp.GUIDCRL:
			to, limit = &g.crl, maxCRL
		default:
			continue
		}
		if *to != nil {
			return g, fmt.Errorf("certificate table: got two entries %s, want one", c.GUID)
		}
		if len(c.Data) > limit {
			return g, fmt.Errorf("certificate table: entry %s: got %d bytes, want at most %d", c.GUID, len(c.Data), limit)
		}
		*to = c.Data
	}
	return g, nil
}

// hash is over everything that decides which chains there are: the kind of key and every certificate, whole, as parse takes them. A TCB that a certificate names, all parts of
// it, is so part of the key.
func (g *given) hash(kind string) (key [sha256.Size]byte) {
	h := sha256.New()
	h.Write([]byte(kind))
	hashOne(h, g.leaf)
	for _, b := range g.others() {
		hashOne(h, b)
	}
	h.Sum(key[:0])
	return key
}

func hashOne(h hash.Hash, b []byte) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(b)))
	h.Write(n[:])
	h.Write(b)
}

// endorsed is an endorsement key's certificate.
type endorsed struct {
	cert *x509.Certificate
	says *endorsement
}

// parse tells endorsement keys' certificates from authorities'. Where both kinds of key are at hand the report's will be taken, but what the host calls a VCEK must
// be one.
func (g *given) parse(kind string) (leaves []endorsed, others []*x509.Certificate, bad *failure) {
	if g.leaf != nil {
		cert, err := x509.ParseCertificate(g.leaf)
		if err != nil {
			return nil, nil, fail(checkCertificate, wantForm, err)
		}
		says, err := parseEndorsement(cert)
		if err != nil {
			return nil, nil, fail(checkCertificate, wantForm, err)
		}
		if says.kind() != kind {
			return nil, nil, &failure{checkSigner, kind, says.kind()}
		}
		leaves = append(leaves, endorsed{cert, says})
	}
	for _, der := range g.others() {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, fail(checkChain, wantChain, err)
		}
		if !hasAMDExtension(cert) {
			others = append(others, cert)
			continue
		}
		says, err := parseEndorsement(cert)
		if err != nil {
			return nil, nil, fail(checkCertificate, wantForm, err)
		}
		leaves = append(leaves, endorsed{cert, says})
	}
	ofKind := func(l endorsed) bool { return l.says.kind() == kind }
	if len(leaves) > 0 && !slices.ContainsFunc(leaves, ofKind) {
		return nil, nil, &failure{checkSigner, kind, leaves[0].says.kind()}
	}
	return leaves, others, nil
}
